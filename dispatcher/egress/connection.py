"""One HTTP/1.1 connection to a subscriber: a request out, its answer in, then the next.

Bytes and time only. Which connection a request goes to, and what becomes of one that is free, is
decided by its owner (``pool``); how it is opened, by ``connect``.
"""

import asyncio
import enum
from typing import Protocol, cast

import httptools

from dispatcher.egress.framing import (
    Headers,
    UnusableHead,
    check_coding,
    ends_with_connection,
    has_body,
)
from dispatcher.flow import Share
from dispatcher.limits import EgressLimits

_SLICE = 128 * 1024
"""Bytes of a large body that are handed to the transport at once; TLS would otherwise keep an
encrypted copy of the whole."""

_VERSIONS = frozenset({"1.1", "1.0"})

SHORT_ANSWER = 4 * 1024
"""Bytes of an answer that are not counted: whoever waits for it has room for so much."""

_HEADER_COST = 128
"""Bytes of memory that a header takes besides its name and value."""

_UNCONNECTED = asyncio.Transport()


class FailureReason(enum.Enum):
    """Why there is no answer; the values are labels of metrics."""

    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    DENIED = "denied"


class EgressError(Exception):
    """A request got no usable answer. Whether the subscriber has seen it is not known."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StaleConnection(Exception):
    """The peer closed a kept-alive connection before it answered with a single byte.

    Servers close idle connections when they please, so a request can cross with that. It says
    nothing about the health of the subscriber; the request belongs on a fresh connection.
    """


class Response:
    """A complete answer. The body of an answer without success may be cut at the limit."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"<Response {self.status} {len(self.headers)} headers {len(self.body)} bytes>"


class State(enum.Enum):
    """The life of a connection, in this order but for ACTIVE and IDLE, which take turns."""

    NEW = enum.auto()
    """Being opened."""

    ACTIVE = enum.auto()
    """Given to a request."""

    IDLE = enum.auto()
    """Waits for the next request."""

    CLOSED = enum.auto()
    """Final; the owner has been told."""


class Owner(Protocol):
    """Who keeps connections when no request has them."""

    @property
    def memory(self) -> Share:
        """Where long answers are taken from while they are read."""

    def released(self, connection: "Connection") -> None:
        """The answer is complete and the connection is good for another request."""

    def lost(self, connection: "Connection") -> None:
        """The connection is closed; called once."""


class Connection(asyncio.Protocol):
    """The client's end of one connection; ``exchange`` may be called while it is ACTIVE.

    Args:
        owner: Is told when the connection is free and when it is closed.
        limits: Sizes of an answer.
        loop: Runs its timers.
        expires: Time of ``loop`` from which it should not be used for another request.
    """

    __slots__ = (
        "_answer",
        "_body",
        "_body_size",
        "_charged",
        "_complete",
        "_deadline",
        "_head_cost",
        "_head_room",
        "_headers",
        "_keep_alive",
        "_limits",
        "_loop",
        "_owner",
        "_parser",
        "_reading_head",
        "_silent",
        "_state",
        "_status",
        "_surplus",
        "_timer",
        "_timer_at",
        "_transport",
        "_unsent",
        "_used",
        "_write_paused",
        "expires",
        "idle_since",
    )

    def __init__(
        self,
        owner: Owner,
        limits: EgressLimits,
        loop: asyncio.AbstractEventLoop,
        expires: float,
    ) -> None:
        # the connection
        self.expires = expires
        self.idle_since = 0.0
        self._owner = owner
        self._limits = limits
        self._loop = loop
        self._transport = _UNCONNECTED
        self._parser = httptools.HttpResponseParser(self)
        self._state = State.NEW
        self._used = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        # the request under way
        self._answer: asyncio.Future[Response] | None = None
        self._deadline = 0.0
        self._unsent = memoryview(b"")
        self._write_paused = False
        # its answer
        self._silent = True
        self._head_room = 0
        self._head_cost = 0
        self._reading_head = True
        self._status = 0
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._charged = 0
        self._complete = False
        self._keep_alive = False
        self._surplus = False

    def __repr__(self) -> str:
        doing = "" if self._answer is None else ", waits for an answer"
        return f"<Connection {self._state.name}{doing}>"

    @property
    def state(self) -> State:
        return self._state

    def _become(self, state: State) -> None:
        """The only place where the state changes; CLOSED stays CLOSED."""
        if self._state is State.CLOSED:
            return
        self._state = state
        if state is State.IDLE:
            self._owner.released(self)
        elif state is State.CLOSED:
            if self._timer is not None:
                self._timer.cancel()
            self._owner.lost(self)

    # What the owner and the sender of a request call, in the order of time.

    def take(self) -> None:
        """Mark an idle connection as given to a request."""
        self._become(State.ACTIVE)

    def exchange(self, request: bytes, body: bytes, deadline: float) -> asyncio.Future[Response]:
        """Send a request and give the future of its answer.

        Args:
            request: The head, and the body too if it is small: it is sent by one write.
            body: What is left of the body, sent as fast as the peer reads.
            deadline: Time of the loop at which the answer must be complete.

        The future fails with EgressError, or with StaleConnection if the connection had served
        another request before and was found closed. Whoever stops awaiting it calls ``forsake``.
        """
        self._answer = answer = self._loop.create_future()
        self._silent = True
        if self._state is not State.ACTIVE:  # lost since it was taken
            self._fail_closed("the connection was closed before the request")
            return answer
        self._deadline = deadline
        if deadline < self._timer_at:
            self._set_timer(deadline)
        self._complete = False
        self._surplus = False
        self._reading_head = True
        self._head_room = self._limits.max_response_header_bytes
        self._head_cost = 0
        self._headers = []
        self._body = []
        self._body_size = 0
        self._transport.write(request)
        if body:
            self._unsent = memoryview(body)
            self._send_more()
        return answer

    def forsake(self, answer: asyncio.Future[Response]) -> None:
        """Close the connection if it still works on this answer."""
        if self._answer is answer:
            self._answer = None
            self.abort()

    def abort(self) -> None:
        """Close at once, without waiting for anything. A request under way fails."""
        if self._state is State.CLOSED:
            return
        self._become(State.CLOSED)
        if self._transport is not _UNCONNECTED:
            self._transport.abort()
        self._fail(FailureReason.CLOSED, "the connection was closed on our side")

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._state is State.CLOSED:  # given up while it was being opened
            self._transport.abort()
        self._become(State.ACTIVE)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # nothing may come unless it was asked for
            return
        self._silent = False
        try:
            if self._reading_head:
                self._feed_head(data)
            else:
                self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnusableHead) as error:
            self._surplus = True
            if not self._complete:
                self._fail(FailureReason.MALFORMED, f"the answer is not HTTP/1.1: {_text(error)}")
                self.abort()
                return
        if self._body_size > self._limits.max_response_bytes or self._is_short_of_memory():
            self._finish_oversized()
        elif self._complete:
            self._finish(self._keep_alive and not self._surplus)

    def eof_received(self) -> None:
        if (
            self._answer is not None
            and not self._reading_head
            and ends_with_connection(self._headers)
        ):
            self._finish(reusable=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._become(State.CLOSED)
        if exc is None or isinstance(exc, ConnectionError):
            what = "closed" if exc is None else "reset"
        else:
            what = f"lost ({exc})"
        self._fail_closed(f"the connection was {what} {self._progress()}")
        del self._parser  # it refers to this object

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._send_more()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._complete:
            raise UnusableHead("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading_head:  # else it is a trailer, which may not replace a header
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 100 or status == 101:
            raise UnusableHead(f"status {status} without being asked for")
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            raise UnusableHead(f"it is HTTP/{version}")
        self._status = status
        if status >= 200:
            check_coding(self._headers)
            self._reading_head = False

    def on_body(self, data: bytes) -> None:
        if self._reading_head:  # RFC 9110, 15.2; the parser knows it of some of them only
            raise UnusableHead(f"status {self._status} with a body")
        self._body_size += len(data)
        if self._body_size <= self._limits.max_response_bytes:
            self._body.append(data)
        elif self._status >= 300:
            self._body.append(data[: self._limits.max_response_bytes - self._body_size])

    def on_message_complete(self) -> None:
        if self._reading_head:  # 1xx: the answer proper comes later
            self._headers = []
            return
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()
        if self._status in (204, 304) and has_body(self._headers):
            self._keep_alive = False  # the parser ended it here, the peer may send a body

    # The rest.

    def _feed_head(self, data: bytes) -> None:
        """Parse, but not one byte of a head beyond the limit."""
        room = self._head_room
        most = self._limits.max_response_header_bytes
        self._parser.feed_data(data if len(data) <= room else data[:room])
        self._head_cost = most - room + len(self._headers) * _HEADER_COST
        if not self._reading_head:
            self._head_cost += min(len(data), room) - self._body_size
            if len(data) > room:
                self._parser.feed_data(data[room:])
            return
        self._head_cost += len(data)
        self._head_room = room - len(data)
        if self._head_room < 0:
            raise UnusableHead(f"more than {most} bytes of headers")

    def _is_short_of_memory(self) -> bool:
        """Whether there is no room for what was read; if there is, it is taken."""
        more = self._head_cost + self._body_size - SHORT_ANSWER - self._charged
        if more <= 0:
            return False
        if not self._owner.memory.take(more):
            return True
        self._charged += more
        return False

    def _forget_answer(self) -> None:
        """Who got it has it; a connection may be idle for long."""
        self._body = []
        self._headers = []
        if self._charged:
            self._owner.memory.give_back(self._charged)
            self._charged = 0

    def _finish(self, reusable: bool) -> None:
        answer = self._answer
        self._answer = None
        if answer is not None and not answer.done():
            answer.set_result(Response(self._status, self._headers, b"".join(self._body)))
        self._forget_answer()
        self._used = True
        if reusable and not self._write_paused:  # else some of the request is still unsent
            self._become(State.IDLE)
        else:
            self.abort()

    def _finish_oversized(self) -> None:
        if self._reading_head:
            self._fail(FailureReason.CLOSED, "closed on our side, without room for the headers")
            self.abort()
            return
        if self._status >= 300:
            self._finish(reusable=False)
            return
        limit = self._limits.max_response_bytes
        why = f"of more than {limit} bytes" if self._body_size > limit else "without room for it"
        self._fail(FailureReason.TOO_LARGE, f"answered {self._status} with a body {why}")
        self.abort()

    def _fail(self, reason: FailureReason, message: str) -> None:
        answer = self._answer
        self._answer = None
        if answer is not None and not answer.done():
            answer.set_exception(EgressError(reason, message))
        self._forget_answer()

    def _fail_closed(self, message: str) -> None:
        answer = self._answer
        if self._used and self._silent and answer is not None and not answer.done():
            self._answer = None
            answer.set_exception(StaleConnection(message))
        else:
            self._fail(FailureReason.CLOSED, message)

    def _progress(self) -> str:
        if self._silent:
            return "before the answer"
        if self._reading_head:
            return "in the headers of the answer"
        return f"in the body of an answer with status {self._status}"

    def _send_more(self) -> None:
        while self._unsent and not self._write_paused and self._state is State.ACTIVE:
            part, self._unsent = self._unsent[:_SLICE], self._unsent[_SLICE:]
            self._transport.write(part)

    def _set_timer(self, at: float) -> None:
        """One timer serves many requests: it is moved only when it would be late.

        A timer for each request costs more than all else here but the write.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._on_timer)
        self._timer_at = at

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        if self._answer is None:
            return
        if self._loop.time() < self._deadline:
            self._set_timer(self._deadline)
            return
        self._fail(FailureReason.TIMEOUT, f"timed out {self._progress()}")
        self.abort()


def _text(error: Exception) -> str:
    """What is wrong, in the words of the parser or of the callback that stopped it."""
    return str(error.__context__ if isinstance(error.__context__, UnusableHead) else error)
