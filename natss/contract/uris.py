"""Completes, checks and shows URIs of subscribers, replies and dead letter sinks.

Pure. ``dispatcher.egress.target`` says what a complete URI means for a connection.
"""

import ipaddress
import re
from urllib.parse import urlsplit

_MAX_LENGTH = 8192
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_UNSAFE = re.compile(r"[^\x21-\x7e]")
_SCHEMES = ("http", "https")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

_AUTHORITY = re.compile(r"""(?:[^"<>]*@)?(?:\[[^][]*\]|[^][:@"<>]*)(?::[0-9]{0,5})?""")
"""``urlsplit`` accepts more, which cannot be called, or not be found in the text of a log."""


_URL = re.compile(
    r"""
    ://
    (
        (?: (?: (?!://) [^\s\x00-\x1f"<>?] )* @ )?  # an apostrophe may be in a password
        (?: (?!://) [^\s\x00-\x1f"'<>?] )*
    )
    ( \? (?: \\[^\s\x00-\x1f]? | [^\s\x00-\x1f"'<>\\] )* )?  # a pair is an escape of JSON
    """,
    re.VERBOSE,
)


def complete_uri(text: str, namespace: str, cluster_domain: str) -> str:
    """Return the absolute ``http`` or ``https`` URI that a resource means.

    - A URI with a scheme is unchanged, including path and port (Kyma depends on it).
    - Without a scheme, ``http://`` is prepended, and a host of one label, such as
      ``orders:8080/in``, is a Service of the namespace: ``.<namespace>.svc.<cluster_domain>`` is
      appended (``resolveURL`` of Knative eventing v0.6). ``localhost`` is unchanged.

    Raises:
        ValueError: No event can be sent to the URI. The text completes "must be ..." or says what
            is wrong, and shows nothing of the URI.
    """
    text = text.strip()
    if not text:
        raise ValueError("must not be empty")
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"must not be longer than {_MAX_LENGTH} characters")
    if _UNSAFE.search(text):
        raise ValueError("must have neither blanks nor characters that are not ASCII: encode them")
    if not _SCHEME.match(text):
        text = f"http://{_qualified(text, namespace, cluster_domain)}"
    _check(text)
    return text


def _qualified(text: str, namespace: str, cluster_domain: str) -> str:
    end = re.search(r"[/?#]|$", text)
    authority, path = (text[: end.start()], text[end.start() :]) if end else (text, "")
    userinfo, at, hostport = authority.rpartition("@")
    host, colon, port = hostport.partition(":")
    if host.lower() in _SCHEMES and not port and (colon or path.startswith("//")):
        raise ValueError(f"must begin with {host.lower()}://, with a colon and two slashes")
    if _LABEL.fullmatch(host) and host.lower() != "localhost":
        host = f"{host}.{namespace}.svc.{cluster_domain}"
    return f"{userinfo}{at}{host}{colon}{port}{path or '/'}"


def _check(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must be a URI such as http://orders.shop:8080/in") from None
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise ValueError("must be a URI such as http://orders.shop:8080/in")
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"must begin with http:// or https://, not {parts.scheme}://")
    if not host:
        raise ValueError("must have a host")
    if port == 0:
        raise ValueError("must have a port from 1 to 65535")
    if not is_host(host, in_brackets="[" in parts.netloc):
        raise ValueError("must have a valid host name or IP address")


def is_host(host: str, *, in_brackets: bool) -> bool:
    """Return whether a host is a DNS name or an IPv4 address; or, in brackets, an IPv6 address.

    RFC 3986, 3.2.2, allows more in a name; DNS, and Kubernetes' rules for it, do not. The root's
    dot at the end is allowed.
    """
    if in_brackets:
        try:
            return ipaddress.IPv6Address(host).scope_id is None
        except ValueError:
            return False
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def redact(text: str) -> str:
    """Replace user, password or token, and the query, in every URL of a text by ``***``.

    A URL ends at a blank or quote. Everything between ``://`` and the last ``@`` counts as user and
    password: these may contain any character unescaped, and hiding too much is the lesser evil.
    """
    return _URL.sub(lambda url: f"://{_hidden(url[1], url[2] or '')}", text)


def redact_value(text: str) -> str:
    """Do the same for a text that may itself be a URI, with or without a scheme, or broken."""
    scheme = _SCHEME.match(text)
    start = scheme.end() if scheme else 0
    rest, mark, query = text[start:].partition("?")
    return text[:start] + _hidden(rest, mark + query)


def _hidden(rest: str, query: str) -> str:
    if "@" in query:  # before it may be a password, after it a token
        return "***"
    _, at, shown = rest.rpartition("@")
    return f"{'***@' if at else ''}{shown}{'?***' if query else ''}"
