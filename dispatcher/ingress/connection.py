"""A connection of a publisher: passes bytes to ``request_reader``, writes answers back.

It knows the transport: when to stop reading from a peer, how long to wait for it, and how to end so
that the last answer arrives.
"""

import asyncio
import enum
from typing import cast

from dispatcher.ingress import responses
from dispatcher.ingress.answers import PublisherAnswers
from dispatcher.ingress.connection_places import Way
from dispatcher.ingress.context import IngressContext
from dispatcher.ingress.request_reader import SINCE_NEXT_TICK, ReadingState, RequestReader
from dispatcher.ingress.responses import Refusal
from dispatcher.runtime.byte_budget import Hold, ReadFlow

_LINGER = 2.0
"""Seconds that a refused peer gets to read the reason. Closing at once while it still sends would
reset the connection, and the answer could be lost with it.
"""

_LINGER_BYTES = 4 * 1024 * 1024
"""The most bytes that are read and discarded meanwhile."""

_TURNED_AWAY = 128
"""How many connections beyond the limit get that time; further ones are answered and closed at
once.
"""

_AT_REST = 1.0
"""Seconds without a byte after which a connection gives way to a new one. One that was just opened,
or just got an answer, is about to send: closing it then would leave its publisher in doubt.
"""


# A global is found faster than a member of an enum, and these are looked up for each request.
_IDLE, _ENDED = ReadingState.IDLE, ReadingState.ENDED


class IngressConnectionState(enum.Enum):
    """Life of a connection. ``CLOSED`` is final."""

    OPEN = "open"
    LINGERING = "lingering"  # everything is sent; the peer has to close
    CLOSED = "closed"


class IngressConnection(asyncio.Protocol):
    """Speaks HTTP/1.1 with one peer.

    Args:
        context: That of the server.
    """

    __slots__ = (
        "_answers",
        "_blocked_since",
        "_context",
        "_discarded",
        "_flow",
        "_lingering_since",
        "_max_pipelined",
        "_reader",
        "_rests_since",
        "_state",
        "_transport",
    )

    _transport: asyncio.Transport
    _flow: ReadFlow

    def __init__(self, context: IngressContext) -> None:
        self._context = context
        self._answers = PublisherAnswers(context, self._flush)
        self._reader = RequestReader(context, self._answers)
        self._max_pipelined = context.limits.max_pipelined
        self._state = IngressConnectionState.OPEN
        self._blocked_since = float("inf")  # the peer does not read
        self._lingering_since = float("inf")
        self._discarded = 0  # bytes read after the last request
        self._rests_since = context.now  # the tick at which ``places`` was last told

    def __repr__(self) -> str:
        return (
            f"<IngressConnection {self._state.value}, {self._reader.state.value}, "
            f"{len(self._answers.requests)} unanswered, {self._reader.held} bytes held>"
        )

    # --- called by the transport, in the order of time --------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of a TCP server
        self._flow = ReadFlow(self._transport)
        context = self._context
        context.connections.add(self)
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        refusal = context.places.enter(self, address)
        if refusal is not None:
            self._turn_away(refusal)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader.state is _ENDED:
            self._discard(len(data))
            return
        reader.feed(data)
        answers = self._answers
        if answers.has_news or reader.owes_continue:
            self._flush()
        if len(answers.requests) >= self._max_pipelined:
            self._flow.hold(Hold.ANSWERS)
        if (
            reader.state is not _IDLE
            and reader.since == SINCE_NEXT_TICK
            and self._rests_since != self._context.now
        ):
            self._rest()

    def pause_writing(self) -> None:
        self._blocked_since = self._context.clock()
        self._flow.hold(Hold.WRITES)

    def resume_writing(self) -> None:
        self._blocked_since = float("inf")
        self._flow.release(Hold.WRITES)

    def eof_received(self) -> bool:
        """Keep the connection: a peer that has sent everything may still wait for answers."""
        if not self._answers.requests:
            return False  # closes the transport
        self._reader.stop()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        self._state = IngressConnectionState.CLOSED
        self._answers.abandon()
        self._reader.close()
        self._context.places.leave(self)
        self._context.gone(self)

    # --- time -------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Act on timeouts, as ``dispatcher.ingress.context.PublisherConnection`` says."""
        limits = self._context.limits
        reader = self._reader
        answers = self._answers
        if self._state is not IngressConnectionState.OPEN:
            if now - self._lingering_since >= _LINGER:
                self._transport.abort()
            return
        if now - self._blocked_since >= limits.body_timeout:
            self._transport.abort()
            return
        if answers.requests:
            answers.expire(now + self._context.tick_interval - limits.answer_timeout)
        if self._flow.is_held:
            reader.pause()
        else:
            reader.check(now)
            if reader.state is _IDLE and not answers.requests:
                timeout = limits.keepalive_timeout if reader.is_used else limits.header_timeout
                if now - reader.since >= timeout or self._context.closes_idle:
                    self._finish()
        if answers.requests:
            self._flush()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._transport.abort()

    # --- the place among all connections ----------------------------------------------------------

    def give_way(self) -> Way:
        """Close if at rest, as ``dispatcher.ingress.connection_places.Holder`` says."""
        reader = self._reader
        if self._state is not IngressConnectionState.OPEN:
            self._transport.close()  # it has had its answer
            return Way.GIVES
        if self._answers.requests or self._flow.is_held or reader.state is _ENDED:
            self._rests_since = -1.0
            return Way.BUSY
        if self._context.now - reader.since < _AT_REST:
            return Way.STAYS
        if reader.state is _IDLE:
            self._finish()
        else:
            self._turn_away(responses.MADE_ROOM)
        return Way.GIVES

    def _rest(self) -> None:
        """Report that the connection waits for the peer from now on; once per tick is enough."""
        self._rests_since = self._context.now
        self._context.places.rest(self)

    def _turn_away(self, refusal: Refusal) -> None:
        context = self._context
        self._reader.end_with(refusal)
        self._flush()
        if len(context.connections) - context.places.taken > _TURNED_AWAY:
            self._transport.close()

    # --- answers, and the end ---------------------------------------------------------------------

    def _flush(self) -> None:
        """Write what can be answered now."""
        answers = self._answers
        reader = self._reader
        if self._context.is_draining and reader.state is _IDLE:
            answers.end()
            reader.stop()
        data = answers.take()
        if self._state is not IngressConnectionState.OPEN:
            return  # the peer is gone, but its events are counted
        if data:
            self._transport.write(data)
        if reader.held:
            reader.balance()
        if not answers.requests:
            if reader.state is _IDLE:
                reader.since = SINCE_NEXT_TICK
            else:
                self._after_last_answer()
            if self._rests_since != self._context.now:
                self._rest()
        if self._flow.is_held and len(answers.requests) < self._max_pipelined:
            self._flow.release(Hold.ANSWERS)

    def _after_last_answer(self) -> None:
        reader = self._reader
        if reader.state is _ENDED:
            self._finish()
        elif reader.owes_continue:
            reader.owes_continue = False
            if not reader.has_begun_body:
                self._transport.write(responses.CONTINUE)

    def _discard(self, size: int) -> None:
        """Discard what arrives after the last request."""
        if self._state is IngressConnectionState.OPEN:
            self._flow.hold(Hold.ANSWERS)
        self._discarded += size
        if self._discarded > _LINGER_BYTES:
            self._transport.close()

    def _finish(self) -> None:
        """End the connection, at once or when the peer has read everything."""
        self._state = IngressConnectionState.LINGERING
        self._lingering_since = self._context.clock()
        self._rest()
        if self._transport.is_closing():
            return
        if not self._reader.was_cut:
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the peer is gone
            self._transport.abort()
