"""Reads the requests of one connection: bytes in, requests out to ``dispatcher.ingress.answers``.

Whatever a peer does wrong while it sends ends here, with a refusal; if it is not clear where the
next request begins, the refused one is the last of its connection. ``request`` knows what headers
mean; ``connection`` passes in bytes and writes answers.
"""

import enum
import re
from typing import Final

import httptools
import structlog

from dispatcher.ingress import responses
from dispatcher.ingress.answers import PublisherAnswers
from dispatcher.ingress.context import IngressContext
from dispatcher.ingress.request import MAX_HEADERS, Headers, Request, read_head
from dispatcher.ingress.responses import Refusal
from dispatcher.ingress.routing import HostConflict, NotLoaded, Route, UnknownHost

log = structlog.get_logger(__name__)

_UNKNOWN_METHOD = re.compile(
    rb"(?:\r\n)*(?!POST )[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} \S+ HTTP/1\.[01]\r\n"
)
"""A request with a method that the parser does not know, unlike mere garbage."""

_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})


_NO_REQUEST = Request([], keeps_alive=True)

_MIN_BODY_RATE = 500
"""Average bytes a second of a body that takes longer than its timeout. Otherwise a client that
sends a byte now and then could keep a connection for years. It is the default of Apache's
mod_reqtimeout.
"""

SINCE_NEXT_TICK: Final = float("inf")
"""Marks what has happened since the last tick. It counts from the next one, so no timeout ends
early.
"""


class ReadingState(enum.Enum):
    """What is being read. ``ENDED`` is final."""

    IDLE = "idle"  # between requests
    HEAD = "head"  # a request has begun
    BODY = "body"  # its headers are complete
    ENDED = "ended"  # no further request is taken


# A global is found faster than a member of an enum, and these are looked up for each request.
_IDLE, _HEAD, _BODY, _ENDED = (
    ReadingState.IDLE,
    ReadingState.HEAD,
    ReadingState.BODY,
    ReadingState.ENDED,
)


class _Stop(Exception):
    """Ends parsing; the request has been refused."""


class RequestReader:
    """Parses what ``feed`` is given; the parser calls the ``on_`` methods.

    Args:
        context: That of the server.
        answers: Receive each request once it is complete or refused.

    Attributes:
        state: What is being read.
        since: The first tick after the state began, or after the last progress in it.
        is_used: Whether a request has begun once.
        owes_continue: Whether the peer waits for ``100 Continue`` before it sends the body.
        was_cut: Whether the peer may still be sending what nobody reads.
        held: Bytes taken from the budget for what is incomplete or waits for its turn.
    """

    __slots__ = (
        "_answers",
        "_began",
        "_body",
        "_body_since",
        "_context",
        "_feed",
        "_head_size",
        "_headers",
        "_most_header_bytes",
        "_parser",
        "_received",
        "_replayed_head",
        "_request",
        "_size",
        "_spent",
        "_target",
        "held",
        "is_used",
        "owes_continue",
        "since",
        "state",
        "was_cut",
    )

    def __init__(self, context: IngressContext, answers: PublisherAnswers) -> None:
        self._context = context
        self._answers = answers
        self._parser = httptools.HttpRequestParser(self)
        self._feed = self._parser.feed_data
        self._most_header_bytes = context.limits.max_header_bytes
        self.state = _IDLE
        self.since = SINCE_NEXT_TICK
        self.is_used = False
        self.was_cut = False
        self.held = 0

        # The request that is being read.
        self._target = b""
        self._headers: Headers = []
        self._request = _NO_REQUEST
        self._head_size = 0  # while the body is incomplete
        self._body: bytes | bytearray = b""
        self._size = 0  # bytes of the body so far
        self._body_since = SINCE_NEXT_TICK  # moved on by the time in which it was not read
        self._spent = 0  # bytes read for it that yielded no byte of its body
        self.owes_continue = False
        self._replayed_head = b""  # to be parsed again, without its Upgrade header

        # The bytes that are being parsed.
        self._received = 0
        self._began = False  # a request began in them

    @property
    def has_begun_body(self) -> bool:
        return self._size > 0

    def feed(self, data: bytes) -> None:
        """Parse what arrived. Do not call it once ``state`` is ENDED."""
        self._received = len(data)
        self._began = False
        before = self.state
        size = self._size
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._replay(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._parse_failed(error, data)
        if self.state is not _IDLE or self.held or self._answers.waiting_bytes:
            self._account(before, size)

    def check(self, now: float) -> None:
        """Refuse a request without progress. Call it at each tick in which the peer could send."""
        if self.since == SINCE_NEXT_TICK:
            self.since = now
            if self._body_since == SINCE_NEXT_TICK:
                self._body_since = now
        waited = now - self.since
        limits = self._context.limits
        if self.state is _HEAD and waited >= limits.header_timeout:
            self.end_with(responses.HEADERS_TIMEOUT)
        elif self.state is _BODY:
            allowed = limits.body_timeout + self._size / _MIN_BODY_RATE
            if waited >= limits.body_timeout or now - self._body_since >= allowed:
                self.end_with(responses.BODY_TIMEOUT, self._request)

    def pause(self) -> None:
        """Do not count the time since the last tick: it was not the peer that held things up."""
        self.since = SINCE_NEXT_TICK
        self._body_since += self._context.step

    def balance(self) -> None:
        """Take from the budget what is held in memory, or give back what no longer is."""
        wanted = self._head_size + self._size + self._spent + self._answers.waiting_bytes
        if wanted < self.held:
            self._context.budget.give_back(self.held - wanted)
            self.held = wanted
        elif wanted > self.held and self.state is not _ENDED:
            if self._context.budget.take(wanted - self.held):
                self.held = wanted
            else:
                self._answers.drop_waiting()
                self.end_with(responses.OVERLOADED)

    def end_with(self, refusal: Refusal, request: Request | None = None) -> None:
        """Refuse a request, complete or not, and take no more."""
        if self.state is _ENDED:
            return
        request = request or Request([], keeps_alive=False)
        request.keeps_alive = False
        self.was_cut = True
        self.stop()
        self._answers.add_refused(request, refusal)

    def stop(self) -> None:
        """Take no further request, and forget the incomplete one."""
        self.state = _ENDED
        self._headers = []
        self._target = b""
        self._request = _NO_REQUEST
        self._head_size = 0
        self._body = b""
        self._size = 0
        self._spent = 0
        self.owes_continue = False

    def close(self) -> None:
        """Give everything back, and break the reference cycle with the parser."""
        self.stop()
        self.balance()
        del self._feed, self._parser

    # --- called by the parser, in the order of a request ------------------------------------------

    def on_message_begin(self) -> None:
        self._headers = []
        self._target = b""
        self._spent = 0
        self._began = True
        self.is_used = True
        self.state = _HEAD

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        method = parser.get_method()
        headers, self._headers = self._headers, []  # what follows is trailers
        if parser.should_upgrade() and method != b"CONNECT":
            self._replayed_head = _without_upgrade(parser, self._target, headers)
            return
        request = read_head(
            method, self._target, headers, parser.should_keep_alive(), parser.get_http_version
        )
        self._request = request
        self._body_since = SINCE_NEXT_TICK
        self.state = _BODY
        refusal = request.refusal or self._admit(request)
        if len(headers) > MAX_HEADERS or self._spent + self._received > self._most_header_bytes:
            refusal = self._too_large_head(headers) or refusal
        if refusal is None:
            self.owes_continue = request.expects_continue
            return
        request.refusal = refusal
        too_large = request.length > self._context.max_body_bytes
        if refusal.closes or request.expects_continue or too_large or method == b"CONNECT":
            self.end_with(refusal, request)
            raise _Stop

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        request = self._request
        if self._size > self._context.max_body_bytes:
            self.end_with(request.refusal or self._too_large(request), request)
            raise _Stop
        if request.refusal is not None:
            return
        if not self._body:
            self._body = body
        elif type(self._body) is bytearray:
            self._body += body
        else:
            self._body = bytearray(self._body + body)

    def on_message_complete(self) -> None:
        if self._replayed_head:
            return
        request, body = self._request, self._body
        self._request, self._body = _NO_REQUEST, b""
        self._size = 0
        self.owes_continue = False
        self.state = _IDLE if request.keeps_alive else _ENDED
        if request.refusal is None:
            self._answers.add(request, body)
        else:
            self._answers.add_refused(request, request.refusal)

    # --- what becomes of a request ----------------------------------------------------------------

    def _too_large_head(self, headers: Headers) -> Refusal | None:
        size = len(self._target) + sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > MAX_HEADERS or size > self._most_header_bytes:
            return responses.HEADERS_TOO_LARGE
        return None

    def _admit(self, request: Request) -> Refusal | None:
        """Return why a valid request cannot be taken, or None."""
        context = self._context
        if context.closes_idle:
            return responses.STOPPING
        found = context.channels.lookup(request.host)
        if type(found) is Route:
            request.route = found
            if request.length > context.max_body_bytes:
                return self._too_large(request)
            return None
        if type(found) is UnknownHost:
            return responses.unknown_host(str(found))
        if type(found) is HostConflict:
            return responses.host_conflict(str(found))
        if type(found) is NotLoaded:
            return responses.STARTING
        return responses.invalid_host(str(found))

    def _too_large(self, request: Request) -> Refusal:
        results = request.route.metrics.results
        results["too_large"] = results.get("too_large", 0) + 1
        return responses.body_too_large(self._context.max_body_bytes, self._context.max_payload)

    def _account(self, before: ReadingState, size_before: int) -> None:
        """Account for what was read for an incomplete request."""
        most = self._most_header_bytes
        if self._began or self.state is not before or self._size != size_before:
            self._spent = 0
            self.since = SINCE_NEXT_TICK
            if self.state is not _BODY:
                self._head_size = 0
            elif self._began or before is not _BODY:
                self._head_size = _memory_of(self._request.headers)
        else:  # a piece of the head; or extensions of chunks, or trailers
            self._spent += self._received
        if self.state is _HEAD:
            if self._spent > most or len(self._headers) > MAX_HEADERS:
                self.end_with(responses.HEADERS_TOO_LARGE)
        elif self.state is _BODY and self._spent > most:
            self.end_with(responses.TOO_MUCH_BETWEEN_CHUNKS, self._request)
        self.balance()

    def _replay(self, rest: memoryview) -> None:
        """Parse requests again as if they had not asked for another protocol.

        A server may ignore Upgrade (RFC 9110, 7.8), and Java's client asks for HTTP/2 with the
        first request of each connection; but the parser leaves a body after Upgrade unread.
        """
        while self._replayed_head:
            head, self._replayed_head = self._replayed_head, b""
            self._parser = httptools.HttpRequestParser(self)
            self._feed = self._parser.feed_data
            try:
                self._feed(head)
                self._feed(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                self._parse_failed(error, b"")

    def _parse_failed(self, error: httptools.HttpParserError, data: bytes) -> None:
        if self.state is _ENDED:
            return  # _Stop, or data after the last request
        if isinstance(error, httptools.HttpParserCallbackError):
            log.error("reading a request failed", exc_info=error)
            self.end_with(responses.BROKEN)
        elif self._parser.get_method() == b"PRI":  # how HTTP/2 begins
            self.end_with(responses.WRONG_VERSION)
        elif _UNKNOWN_METHOD.match(data) is not None:
            self.end_with(responses.UNKNOWN_METHOD)
        else:
            self.end_with(responses.malformed(str(error)))


_HEADER_OVERHEAD = 128
"""Bytes of memory that a header takes besides its name and value."""


def _memory_of(headers: Headers) -> int:
    return sum(len(name) + len(value) + _HEADER_OVERHEAD for name, value in headers)


def _without_upgrade(parser: httptools.HttpRequestParser, target: bytes, headers: Headers) -> bytes:
    """Return a head that asks for nothing but HTTP/1."""
    kept = [b"%b: %b\r\n" % h for h in headers if h[0].lower() not in _UPGRADE_HEADERS]
    return b"%b %b HTTP/%b\r\nConnection: %b\r\n%b\r\n" % (
        parser.get_method(),
        target,
        parser.get_http_version().encode("ascii"),
        b"keep-alive" if parser.should_keep_alive() else b"close",
        b"".join(kept),
    )
