"""Which subscribers are called by a proxy, as ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` say.

Pure. The rules are those of Go's ``golang.org/x/net/http/httpproxy``, which the Go program used.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from dispatcher.egress.target import InvalidTarget, Proxy, Target
from natss.contract.uris import redact_value

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

_ROUTES = 4096
"""Number of targets whose route is cached."""


class InvalidProxy(ValueError):
    """A variable does not name a usable proxy. The text has no password."""


@dataclass(frozen=True, slots=True)
class _Exception:
    """One entry of ``NO_PROXY``."""

    port: int | None = None
    network: _Network | None = None
    suffix: str = ""
    """With the leading dot."""

    takes_domain: bool = False
    """Whether the name itself is meant too, not only those below it."""

    def covers(self, host: str, port: int, address: _Address | None) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address is not None and address in self.network
        is_below = bool(self.suffix) and host.endswith(self.suffix)
        return is_below or (self.takes_domain and host == self.suffix[1:])


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxies by scheme of the target; exceptions, ``localhost`` and loopback go without."""

    http: Proxy | None = None
    https: Proxy | None = None
    no_proxy: str = ""
    """As it was given."""

    _exceptions: tuple[_Exception, ...] = field(default=(), repr=False)
    _excepts_all: bool = field(default=False, repr=False)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Self:
        """Return what the variables say, in upper case or else in lower case.

        Raises:
            InvalidProxy: one of them does not name a usable proxy.
        """
        http, https = (_proxy(environ, f"{scheme}_PROXY") for scheme in ("HTTP", "HTTPS"))
        no_proxy = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
        entries = [entry for each in no_proxy.split(",") if (entry := each.strip().lower())]
        exceptions = tuple(each for each in map(_exception, entries) if each is not None)
        return cls(http, https, no_proxy, exceptions, "*" in entries)

    @property
    def are_used(self) -> bool:
        return self.http is not None or self.https is not None

    def route(self, target: Target) -> Target:
        """Return the target as it is called: through a proxy, or unchanged."""
        return _route(self, target)

    def proxy_of(self, target: Target) -> Proxy | None:
        proxy = self.https if target.tls else self.http
        if proxy is None or self._excepts_all:
            return None
        host = target.host.removesuffix(".")
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return None
        if any(each.covers(host, target.port, address) for each in self._exceptions):
            return None
        return proxy


@lru_cache(_ROUTES)
def _route(proxies: Proxies, target: Target) -> Target:
    proxy = proxies.proxy_of(target)
    return target if proxy is None else target.through(proxy)


def _proxy(environ: Mapping[str, str], name: str) -> Proxy | None:
    name = name if environ.get(name) else name.lower()
    text = environ.get(name, "").strip()
    if not text:
        return None
    url = text if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) else f"http://{text}"
    if not url.lower().startswith("http://"):
        scheme = url.partition("://")[0].lower()
        raise InvalidProxy(
            f"{name}: a proxy is spoken to by http://, not {scheme}://; to call every subscriber"
            " directly, set NO_PROXY=*"
        )
    try:
        return Proxy.of(Target.parse(url))
    except InvalidTarget as error:
        shown = redact_value(text)
        raise InvalidProxy(
            f"{name}: {shown!a} is no URL of a proxy, as http://proxy.example:3128"
        ) from error


def _exception(entry: str) -> _Exception | None:
    """Return the exception; None for an entry that excepts nothing, as in Go."""
    try:
        if "/" in entry:
            return _Exception(network=ipaddress.ip_network(entry, strict=False))
    except ValueError:
        pass
    host, port = entry, None
    match = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*)):([0-9]{1,5})", entry, re.ASCII)
    if match is not None:
        host, port = match[1] or match[2] or "", int(match[3])
    address = _address(host.removeprefix("[").removesuffix("]"))
    if address is not None:
        return _Exception(port, ipaddress.ip_network(address))
    host = host.removeprefix("*") if host.startswith("*.") else host
    if not host or host == "*":
        return None
    takes_domain = not host.startswith(".")
    return _Exception(port, None, f".{host}" if takes_domain else host, takes_domain)


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
