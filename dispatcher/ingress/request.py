"""One HTTP request of a publisher: what its headers mean, and its state until it is answered.

The parser (llhttp, strict) has refused what breaks the grammar; this module has the rules that it
leaves to its user. They wait for nothing and ask no clock; but a ``Request`` also keeps the future
of its publish. ``request_reader`` makes requests of bytes, ``answers`` publishes and answers them.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final

from dispatcher.event.stored_form import smallest_stored_size
from dispatcher.ingress import responses
from dispatcher.ingress.responses import Refusal
from dispatcher.ingress.routing import Route

MAX_HEADERS: Final = 256
"""Header lines of one request. Real ones have about twenty; each costs far more memory than bytes
on the wire.
"""

_OTHER, _HOST, _LENGTH, _ENCODING, _EXPECT, _CONNECTION, _CODING = range(7)
_ROLES = {
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"transfer-encoding": _ENCODING,
    b"expect": _EXPECT,
    b"connection": _CONNECTION,
    b"content-encoding": _CODING,
}


class _Roles(dict[bytes, int]):
    """What a header means to the server, cached by its spelling: publishers repeat themselves."""

    _MOST = 1024
    _LONGEST = 64

    def __missing__(self, name: bytes) -> int:
        role = _ROLES.get(name.lower(), _OTHER)
        if len(name) <= self._LONGEST:
            if len(self) >= self._MOST:
                self.clear()
            self[name] = role
        return role


_roles = _Roles()

_ABSOLUTE = re.compile(rb"https?://([^/?#@]*)(/?)(?:[?#].*)?", re.IGNORECASE)
_ROOT = re.compile(rb"/(?:[?#].*)?")

Headers = list[tuple[bytes, bytes]]


class Request:
    """A request from the end of its headers to its answer.

    Attributes:
        host: The Host header, or the host of an absolute request target.
        length: Announced length of the body, in bytes; -1 if chunked.
        refusal: Why it is refused, once that is known.
        route: Where it goes; missing if it was refused before that was known.
        event: Its stored form while it waits to be published.
        future: That of its publish.
        complete_at: When its last byte was read, on the monotonic clock.
    """

    __slots__ = (
        "complete_at",
        "event",
        "expects_continue",
        "future",
        "headers",
        "host",
        "is_head",
        "is_http10",
        "keeps_alive",
        "length",
        "refusal",
        "route",
    )

    route: Route

    def __init__(self, headers: Headers, keeps_alive: bool) -> None:
        self.headers = headers
        self.keeps_alive = keeps_alive
        self.host = b""
        self.length = 0
        self.expects_continue = False
        self.is_head = False
        self.is_http10 = False
        self.refusal: Refusal | None = None
        self.event = b""
        self.future: asyncio.Future[str] | None = None
        self.complete_at = 0.0


def read_head(
    method: bytes,
    target: bytes,
    headers: Headers,
    keeps_alive: bool,
    version: Callable[[], str],
) -> Request:
    """Read the request that these headers open; ``refusal`` is set if they are invalid.

    Args:
        method: As it was sent.
        target: As in the request line.
        headers: All of them, in the order on the wire.
        keeps_alive: What the parser derives from version and Connection header.
        version: Called only where it matters.
    """
    request = Request(headers, keeps_alive)
    hosts = lengths = 0
    encoding: bytes | None = None
    is_plain = keeps_alive
    for name, value in headers:
        role = _roles[name]
        if role == _OTHER:
            continue
        if role == _HOST:
            hosts += 1
            request.host = value.strip(b" \t")
        elif role == _LENGTH:
            lengths += 1
            request.length = _length(value)
        elif role == _ENCODING:
            # Two lines are a list (RFC 9110, 5.3), and no list is supported here.
            encoding = value if encoding is None else b"?"
        else:
            is_plain = False
    if hosts == 1 and lengths < 2 and encoding is None and is_plain and request.length >= 0:
        if method != b"POST" or target != b"/":
            _check_target(request, method, target)
        return request
    request.is_head = method == b"HEAD"
    request.refusal = _framing(request, hosts, lengths, encoding, version)
    if request.refusal is None:
        _check_target(request, method, target)
        unmet = _expectation(request)
        request.refusal = request.refusal or unmet or _body_refusal(request, lengths)
    return request


def _length(value: bytes) -> int:
    """Return the Content-Length, or -1 if it is not a number of sane size."""
    digits = value.strip(b" \t")
    return int(digits) if digits.isdigit() and len(digits) < 19 else -1


def _framing(
    request: Request,
    hosts: int,
    lengths: int,
    encoding: bytes | None,
    version: Callable[[], str],
) -> Refusal | None:
    """Refuse a request whose end is in doubt: a proxy might see other requests than this server."""
    number = version()
    if number not in {"1.0", "1.1"}:
        return responses.WRONG_VERSION
    request.is_http10 = number == "1.0"
    if hosts != 1:
        return responses.malformed(
            "it has no Host header" if hosts == 0 else "it has more than one Host header"
        )
    if lengths > 1:
        return responses.malformed("it has more than one Content-Length header")
    if encoding is not None:
        if lengths:
            return responses.malformed("it has both Content-Length and Transfer-Encoding")
        if request.is_http10:
            return responses.malformed("HTTP/1.0 has no Transfer-Encoding")
        if encoding.strip(b" \t").lower() != b"chunked":
            return responses.malformed("the only Transfer-Encoding understood is chunked")
        request.length = -1
    elif request.length < 0:
        return responses.malformed("its Content-Length is no number of sane size")
    return None


def _check_target(request: Request, method: bytes, target: bytes) -> None:
    """Check path, then method; the order of the Go receiver."""
    request.is_head = method == b"HEAD"
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        # The form for a proxy; its host counts, not the header (RFC 9112, 3.2.2).
        request.host = absolute[1]
    elif method == b"OPTIONS" and target == b"*":
        request.refusal = responses.OPTIONS
        return
    elif method == b"CONNECT":  # its target is not a path
        request.refusal = responses.WRONG_METHOD
        return
    elif _ROOT.fullmatch(target) is None:
        request.refusal = responses.WRONG_PATH
        return
    if method == b"OPTIONS":
        request.refusal = responses.OPTIONS
    elif method != b"POST":
        request.refusal = responses.WRONG_METHOD


def _expectation(request: Request) -> Refusal | None:
    if request.is_http10:
        return None  # RFC 9110, 10.1.1: ignored
    for name, value in request.headers:
        if name.lower() == b"expect":
            if value.strip(b" \t").lower() != b"100-continue":
                return responses.UNKNOWN_EXPECTATION
            request.expects_continue = True
    return None


def _body_refusal(request: Request, lengths: int) -> Refusal | None:
    """Return what is wrong with the announced body of an event, which has not arrived yet.

    Without a length there is no body (RFC 9112, 6.3). But a client that closes the connection after
    it may mean that the body goes on until then, as in answers, and in HTTP/1.0 an event must have
    a length (RFC 1945, 7.2.2): storing an empty event in its place would lose it.
    """
    if not lengths and request.length >= 0 and (request.is_http10 or not request.keeps_alive):
        return responses.NO_LENGTH
    codings = [value for name, value in request.headers if _roles[name] == _CODING]
    if any(
        coding.strip(b" \t").lower() not in _NO_CODING for coding in b",".join(codings).split(b",")
    ):
        return responses.CODED
    return None


_NO_CODING = frozenset({b"", b"identity"})
"""A list may have empty elements (RFC 9110, 5.6.1)."""


def largest_body(max_event_bytes: int) -> int:
    """Return the size above which a body's stored form exceeds ``max_event_bytes`` in any case.

    The body is stored in base64, four bytes for three.
    """
    return max(0, (max_event_bytes - smallest_stored_size(0)) // 4 * 3)
