"""A subscriber's URL as a value: what to connect to and how a request to it begins.

Pure. URLs are complete here: ``natss.contract.uris`` has added a scheme and the cluster's domain
where a Subscription may omit them.
"""

import base64
import re
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import quote, unquote_to_bytes, urljoin

from natss.contract.uris import is_host, redact_value

_DEFAULT_PORTS = {"http": 80, "https": 443}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_UNSAFE = re.compile(r"[^\x21-\x7e]")
_SHOWN = 200


class InvalidTarget(ValueError):
    """A URL to which no event can be sent. The text says why, without userinfo and query."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; ``str()`` and ``repr()`` omit user and password."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)
    """The line ``Proxy-Authorization`` with its line end, if the URL has userinfo."""

    @classmethod
    def of(cls, target: "Target") -> Self:
        """Return the proxy at an ``http`` URL, whose path is ignored."""
        found = re.search(rb"\r\n(Authorization: [^\r]*\r\n)", target.request_prefix)
        return cls(target.host, target.port, b"Proxy-" + found[1] if found else b"")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to POST events to; made by ``Target.parse``.

    ``str()`` and ``repr()`` omit user and password. They include the query: logs hide it
    (``natss.process.log_writer``), and code that shows a target elsewhere must hide it itself.
    """

    origin: str
    """Scheme, host and port in normal form: connections may be shared by targets of one origin."""

    host: str
    """Lower case; an IPv6 address without brackets."""

    port: int
    tls: bool
    request_prefix: bytes = field(repr=False)
    """Request line, Host and, if the URL has userinfo, Authorization, each with its line end."""

    _authorization: bytes = field(repr=False, compare=False)
    """The last of these lines, or nothing."""

    _shown: str = field(repr=False, compare=False)

    namespace: str = ""
    """The owner of the target: name lookups count towards its share."""

    proxy: Proxy | None = None
    """The proxy through which it is called."""

    @classmethod
    def parse(cls, url: str, namespace: str = "") -> Self:
        """Read an absolute ``http`` or ``https`` URL.

        Path and query go into the request as they are written, and so do host and port into the
        Host header. A fragment is not sent (RFC 9110, 7.1). Userinfo becomes ``Authorization:
        Basic`` (RFC 7617).

        Raises:
            InvalidTarget: it is not such a URL, or has characters that must be percent-encoded.
        """
        scheme, authority, path = _split(url)
        userinfo, at, hostport = authority.rpartition("@")
        shown = f"{scheme}://{'***@' if at else ''}{hostport}{path}"
        host, port = _host_and_port(hostport, scheme, url)
        head = f"POST {path} HTTP/1.1\r\nHost: {hostport.removesuffix(':')}\r\n"
        authorization = f"Authorization: Basic {_basic(userinfo)}\r\n" if userinfo else ""
        bracketed = f"[{host}]" if ":" in host else host
        return cls(
            origin=f"{scheme}://{bracketed}:{port}",
            host=host,
            port=port,
            tls=scheme == "https",
            request_prefix=f"{head}{authorization}".encode("ascii"),
            _authorization=authorization.encode("ascii"),
            _shown=shown,
            namespace=namespace,
        )

    def through(self, proxy: Proxy) -> Self:
        """Return the same target as it is called through a proxy.

        A request by plain HTTP names its host in the first line (RFC 9112, 3.2.2); one by TLS goes
        through a tunnel, and stays the same.
        """
        if self.tls:
            return replace(self, proxy=proxy)
        method, path, rest = self.request_prefix.split(b" ", 2)
        line = b"%b %b%b %b" % (method, self.origin.encode("ascii"), path, rest)
        return replace(self, proxy=proxy, request_prefix=line + proxy.authorization)

    def redirected(self, location: bytes) -> Self:
        """Return the target that the value of a Location header leads to from here.

        User and password are kept within the same origin only, and those of ``location`` are never
        used. Characters that a URL cannot have are percent-encoded, as browsers do.

        Raises:
            InvalidTarget: it is not a URL, or leads from ``https`` to ``http``.
        """
        base = self._shown.replace("://***@", "://", 1)
        url = quote(location.strip(b" \t"), safe=_VISIBLE)
        try:
            url = urljoin(base, url)
        except ValueError as error:
            raise _invalid(url, str(error)) from None
        scheme, authority, path = _split(url)
        url = f"{scheme}://{authority.rpartition('@')[2]}{path}"
        target = self.parse(url, self.namespace)
        if self.tls and not target.tls:
            raise _invalid(url, "it would give up TLS")
        if target.origin != self.origin:
            return target
        prefix = target.request_prefix + self._authorization
        return replace(target, request_prefix=prefix, _authorization=self._authorization)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Target({self._shown!r})"


def _split(url: str) -> tuple[str, str, str]:
    """Return the scheme in lower case, the authority, and path with query, which is never empty."""
    unsafe = _UNSAFE.search(url)
    if unsafe is not None:
        raise _invalid(
            url, f"the character {unsafe[0]!a} is not allowed in a URL: percent-encode it"
        )
    match = _SCHEME.match(url)
    if match is None:
        raise _invalid(url, "it must begin with http:// or https://")
    scheme = match[1].lower()
    if scheme not in _DEFAULT_PORTS:
        raise _invalid(url, f"the scheme {scheme} is not supported: use http or https")
    rest = url[match.end() :].partition("#")[0]
    end = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    return scheme, authority, path if path.startswith("/") else f"/{path}"


def _host_and_port(hostport: str, scheme: str, url: str) -> tuple[str, int]:
    if hostport.startswith("["):
        host, bracket, port = hostport[1:].partition("]")
        if (
            not bracket
            or (port and not port.startswith(":"))
            or not is_host(host, in_brackets=True)
        ):
            raise _invalid(url, "its IPv6 address must look like [fd00::1]")
        port = port[1:]
    else:
        host, _, port = hostport.partition(":")
        if ":" in port:
            raise _invalid(url, "an IPv6 address needs brackets, and a host has one port")
        if not is_host(host, in_brackets=False):
            raise _invalid(url, "it has no valid host name" if host else "it has no host")
    return host.lower(), _port(port, scheme, url)


def _port(text: str, scheme: str, url: str) -> int:
    if not text:
        return _DEFAULT_PORTS[scheme]
    if not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise _invalid(url, "the port must be a number from 1 to 65535")
    return int(text)


def _basic(userinfo: str) -> str:
    user, _, password = userinfo.partition(":")
    credentials = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return base64.b64encode(credentials).decode("ascii")


def _invalid(url: str, reason: str) -> InvalidTarget:
    shown = redact_value(url)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "..."
    return InvalidTarget(f"{shown!a} cannot be used as a URL of a subscriber: {reason}")
