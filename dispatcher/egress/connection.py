"""One HTTP/1.1 connection to a subscriber: a request out, its answer in, then the next.

Bytes and time only. Its owner (``pool``) decides which connection a request uses, and what becomes
of a free one; ``connect`` opens it.
"""

import asyncio
import enum
from typing import Protocol, cast

from dispatcher.egress.answer import AnswerReader, UnreadableAnswer
from dispatcher.egress.framing import Headers
from dispatcher.egress.limits import EgressLimits
from dispatcher.runtime.byte_budget import BudgetShare

_SLICE = 128 * 1024
"""Bytes of a large body that are handed to the transport at once; TLS would otherwise keep an
encrypted copy of the whole."""

SHORT_ANSWER = 4 * 1024
"""Bytes of an answer that are not counted: each waiting request has that much room."""

_ROOM_SECONDS = 0.05
"""Seconds between two checks whether there is memory for what has arrived of an answer."""

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
    REDIRECT = "redirect"


class EgressError(Exception):
    """A request got no usable answer.

    Attributes:
        reason: What went wrong.
        status: That of the first line of the answer, of which nothing else can be used; None if
            there is no such line, and it is unknown whether the subscriber has seen the request.
    """

    def __init__(self, reason: FailureReason, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class StaleConnection(Exception):
    """The peer closed a kept-alive connection before it answered with a single byte.

    Servers close idle connections when they please, so a request can cross with that. It says
    nothing about the health of the subscriber; the request is to be repeated on a fresh connection.
    """


class Response:
    """A complete answer. Its body may be cut if it is not wanted, or no success."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"<Response {self.status} {len(self.headers)} headers {len(self.body)} bytes>"


class EgressConnectionState(enum.Enum):
    """The life of a connection, in this order, except that ACTIVE and IDLE alternate."""

    NEW = enum.auto()
    """Being opened."""

    ACTIVE = enum.auto()
    """Given to a request."""

    IDLE = enum.auto()
    """Waits for the next request."""

    CLOSED = enum.auto()
    """Final; the owner has been notified."""


class EgressConnectionOwner(Protocol):
    """Keeps connections while no request uses them."""

    @property
    def memory(self) -> BudgetShare:
        """The share that long answers take their memory from while they are read."""

    def released(self, connection: "EgressConnection") -> None:
        """Take back a connection whose answer is complete and that can serve another request."""

    def lost(self, connection: "EgressConnection") -> None:
        """Forget a connection that has closed; called once."""


class EgressConnection(asyncio.Protocol):
    """The client's end of one connection; ``exchange`` may be called while it is ACTIVE.

    Args:
        owner: Notified when the connection is free and when it is closed.
        limits: The bounds of an answer.
        loop: Runs its timers.
        expires: Time of ``loop`` from which it should not be used for another request.
    """

    __slots__ = (
        "_answer",
        "_charged",
        "_deadline",
        "_limits",
        "_loop",
        "_memory",
        "_owner",
        "_reader",
        "_silent",
        "_state",
        "_timer",
        "_timer_at",
        "_transport",
        "_unsent",
        "_used",
        "_waits_for_room",
        "_wants_body",
        "_write_paused",
        "expires",
        "idle_since",
    )

    def __init__(
        self,
        owner: EgressConnectionOwner,
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
        self._reader = AnswerReader(limits)
        self._state = EgressConnectionState.NEW
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
        self._wants_body = True
        self._memory = owner.memory
        self._waits_for_room = False
        self._charged = 0

    def __repr__(self) -> str:
        doing = "" if self._answer is None else ", waits for an answer"
        return f"<Connection {self._state.name}{doing}>"

    @property
    def state(self) -> EgressConnectionState:
        return self._state

    def _become(self, state: EgressConnectionState) -> None:
        """Change the state, which nothing else does; CLOSED stays CLOSED."""
        if self._state is EgressConnectionState.CLOSED:
            return
        self._state = state
        if state is EgressConnectionState.IDLE:
            self._owner.released(self)
        elif state is EgressConnectionState.CLOSED:
            if self._timer is not None:
                self._timer.cancel()
            self._owner.lost(self)

    # Called by the owner and by the sender of a request, in the order of time.

    def take(self) -> None:
        """Mark an idle connection as used by a request."""
        self._become(EgressConnectionState.ACTIVE)

    def exchange(
        self,
        request: bytes,
        body: bytes,
        deadline: float,
        *,
        wants_body: bool = True,
        memory: BudgetShare | None = None,
    ) -> asyncio.Future[Response]:
        """Send a request and return the future of its answer.

        Args:
            request: The head, and the body too if it is small: one write sends it.
            body: The rest of the body, sent as fast as the peer reads (backpressure).
            deadline: Time of the loop at which the answer must be complete.
            wants_body: Whether all of the answer's body is needed if it is a success; of other
                answers a part may be kept.
            memory: The share that a long answer takes its memory from while it is read; by default
                the owner's.

        The future fails with EgressError, or with StaleConnection if the connection had served
        another request before and was found closed. A caller that stops awaiting it must call
        ``forsake``.
        """
        self._answer = answer = self._loop.create_future()
        self._silent = True
        self._wants_body = wants_body
        self._memory = memory or self._owner.memory
        self._waits_for_room = False
        self._reader.begin(wants_body=wants_body)
        if self._state is not EgressConnectionState.ACTIVE:  # lost since it was taken
            self._fail_closed("the connection was closed before the request")
            return answer
        self._deadline = deadline
        if deadline < self._timer_at:
            self._set_timer(deadline)
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
        if self._state is EgressConnectionState.CLOSED:
            return
        self._become(EgressConnectionState.CLOSED)
        if self._transport is not _UNCONNECTED:
            self._transport.abort()
        self._fail(FailureReason.CLOSED, "the connection was closed on our side")

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._state is EgressConnectionState.CLOSED:  # abandoned while it was being opened
            self._transport.abort()
        self._become(EgressConnectionState.ACTIVE)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # unsolicited data
            return
        self._silent = False
        try:
            self._reader.feed(data)
        except UnreadableAnswer as error:
            self._fail(FailureReason.MALFORMED, str(error))
            self.abort()
            return
        self._go_on()

    def eof_received(self) -> None:
        if self._answer is not None and self._reader.end():
            self._finish(reusable=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._become(EgressConnectionState.CLOSED)
        if self._answer is not None and self._reader.is_complete:  # only waiting for room
            self._finish(reusable=False)
        if exc is None or isinstance(exc, ConnectionError):
            what = "closed" if exc is None else "reset"
        else:
            what = f"lost ({exc})"
        self._fail_closed(f"the connection was {what} {self._progress()}")
        self._reader.close()

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._send_more()

    # Internal.

    def _go_on(self) -> None:
        """Decide what to do with what was read."""
        reader = self._reader
        if reader.body_size > self._limits.max_response_bytes:
            self._finish_oversized()
        elif reader.is_complete and reader.cost <= SHORT_ANSWER:  # nearly every one
            self._finish(reader.is_trusted)
        elif not self._has_room():
            self._wait_for_room()
        elif reader.is_complete:
            self._finish(reader.is_trusted)

    def _has_room(self) -> bool:
        """Take memory for what was read; return whether there was room."""
        more = self._reader.cost - SHORT_ANSWER - self._charged
        if more <= 0:
            return True
        if not self._memory.take_in_turn(self, more):
            return False
        self._charged += more
        return True

    def _wait_for_room(self) -> None:
        """Read no more until there is memory for what has arrived, or the time is up.

        An answer that is not a success, or not wanted, is cut here instead: only its status counts.
        """
        reader = self._reader
        if not reader.is_reading_head and (reader.status >= 300 or not self._wants_body):
            self._finish(reusable=False)
            return
        if not self._waits_for_room:
            self._waits_for_room = True
            self._transport.pause_reading()
        self._set_timer(min(self._deadline, self._loop.time() + _ROOM_SECONDS))

    def _look_for_room(self) -> None:
        if not self._has_room():
            self._wait_for_room()
            return
        self._waits_for_room = False
        self._transport.resume_reading()
        self._set_timer(self._deadline)
        self._go_on()

    def _forget_answer(self) -> None:
        """Forget an answer that was handed over; a connection may be idle for a long time."""
        self._reader.forget()
        if self._charged:
            self._memory.give_back(self._charged)
            self._memory.end_turn(self)
            self._charged = 0

    def _finish(self, reusable: bool) -> None:
        answer = self._answer
        self._answer = None
        if answer is not None and not answer.done():
            reader = self._reader
            answer.set_result(Response(reader.status, reader.headers, reader.body()))
        self._forget_answer()
        self._used = True
        if reusable and not self._write_paused:  # otherwise some of the request is still unsent
            self._become(EgressConnectionState.IDLE)
        else:
            self.abort()

    def _finish_oversized(self) -> None:
        status = self._reader.status
        if status >= 300 or not self._wants_body:
            self._finish(reusable=False)
            return
        limit = self._limits.max_response_bytes
        text = f"answered {status} with a body of more than {limit} bytes"
        self._fail(FailureReason.TOO_LARGE, text)
        self.abort()

    def _fail(self, reason: FailureReason, message: str) -> None:
        answer = self._answer
        self._answer = None
        if answer is not None and not answer.done():
            answer.set_exception(EgressError(reason, message, self._reader.known_status))
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
        if self._reader.is_reading_head:
            return "in the headers of the answer"
        return f"in the body of an answer with status {self._reader.status}"

    def _send_more(self) -> None:
        while (
            self._unsent and not self._write_paused and self._state is EgressConnectionState.ACTIVE
        ):
            part, self._unsent = self._unsent[:_SLICE], self._unsent[_SLICE:]
            self._transport.write(part)

    def _set_timer(self, at: float) -> None:
        """Set the timer, one for many requests: it is moved only when it would be late.

        A timer for each request costs more than all else here except the write.
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
        is_late = self._loop.time() >= self._deadline
        if is_late and self._waits_for_room:
            text = f"there was no memory for the answer in time, {self._progress()}"
            self._fail(FailureReason.TOO_LARGE, text)
        elif is_late:
            self._fail(FailureReason.TIMEOUT, f"timed out {self._progress()}")
        elif self._waits_for_room:
            self._look_for_room()
            return
        else:
            self._set_timer(self._deadline)
            return
        self.abort()
