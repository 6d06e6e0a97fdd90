"""A model of NATS Streaming in memory: one channel, durables, sessions, links that may be slow.

As the real one it sends everything to a client in order. It starts subscriptions one after the
other, in the order in which they are made, and that may take a while: then it sends what is
pending of a durable, whatever MaxInflight is, and what is new until MaxInflight is reached. What is
published meanwhile is sent at once, also to those that wait to be started, unless something of
theirs is pending. Who uses it sees the interface of ``nats_streaming``.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from natss.nats_streaming import (
    ConnectionState,
    DuplicateDurable,
    NatsStreamingError,
    NotConnected,
    ServerUnavailable,
    SessionLost,
    StartAt,
    SubscriptionOptions,
    UnknownSubscription,
)
from natss.nats_streaming.protocol_pb2 import StartPosition

REQUEST_TIMEOUT = 2.0
NANOSECONDS = 1_000_000_000
_TICK = 1e-6
"""Seconds between two messages: timers of the same moment are called in any order."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    sequence: int
    timestamp: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """As ``nats_streaming.Message``."""

    sequence: int
    timestamp: int
    data: bytes
    redelivered: bool
    subscription: "ModelSubscription"


@dataclass(slots=True, eq=False)
class Position:
    """What the server knows of a subscription. That of a durable outlives its inbox."""

    options: SubscriptionOptions
    last_sent: int
    pending: dict[int, float] = field(default_factory=dict)
    """When each is sent again."""

    inbox: "Inbox | None" = None
    """Where it is sent to; None while it is offline."""


@dataclass(frozen=True, slots=True, eq=False)
class Inbox:
    """One opening of a subscription."""

    connection: "ModelConnection"
    subscription: "ModelSubscription"


class Server:
    """One channel of one server.

    Args:
        chance: Decides which acks of a dead client arrive, and how long starts take.
        start_seconds: That a start takes at most.
    """

    def __init__(self, chance: random.Random, start_seconds: float = 0.0) -> None:
        self.chance = chance
        self._start_seconds = start_seconds
        self._free_at = 0.0
        self._held: dict[Position, Inbox] = {}
        """Those with something pending that wait to be started."""
        self.events: list[StoredEvent] = []
        self.durables: dict[str, Position] = {}
        self.open: dict[Position, None] = {}
        self.session: ModelConnection | None = None

    def publish(self, data: bytes) -> None:
        """Store an event, and answer 202, so to speak."""
        timestamp = int(asyncio.get_running_loop().time() * NANOSECONDS)
        self.events.append(StoredEvent(len(self.events) + 1, timestamp, data))
        for position in list(self.open):
            self._send_new(position)

    def connect(self) -> "ModelConnection":
        """Open a session; the previous owner of the client id loses it."""
        if self.session is not None:
            self.session.lose("replaced")
        self.session = ModelConnection(self)
        return self.session

    def wipe(self) -> None:
        """Lose everything, as with another volume: sequences begin again."""
        if self.session is not None:
            self.session.lose("unknown client id")
        for position in list(self.open):
            self.close(position)
        self.events.clear()
        self.durables.clear()

    def subscribe(self, inbox: Inbox, options: SubscriptionOptions, start: int) -> Position:
        """Take a subscription; nothing is sent before ``start``. Raises DuplicateDurable."""
        known = self.durables.get(options.durable) if options.durable is not None else None
        if known is None:
            known = Position(options, start)
            if options.durable is not None:
                self.durables[options.durable] = known
        elif known.inbox is not None:
            raise DuplicateDurable("stan: duplicate durable registration")
        known.options, known.inbox = options, inbox
        self.open[known] = None
        return known

    def last_sent_at(self, start: StartAt, delta: int) -> int:
        """Return the sequence after which a new subscription begins."""
        last = len(self.events)
        match start.position:
            case StartPosition.FIRST:
                return 0
            case StartPosition.LAST_RECEIVED:
                return max(0, last - 1)
            case StartPosition.SEQUENCE_START:
                return min(max(0, start.start_sequence - 1), last)
            case StartPosition.TIME_DELTA_START:
                since = asyncio.get_running_loop().time() * NANOSECONDS - delta
                return next((e.sequence - 1 for e in self.events if e.timestamp >= since), last)
            case _:
                return last

    def start_later(self, position: Position) -> None:
        """Start a subscription when those before it have been started."""
        loop, inbox = asyncio.get_running_loop(), position.inbox
        if inbox is None:
            return
        if position.pending:
            self._held[position] = inbox
        takes = self.chance.random() * self._start_seconds
        self._free_at = max(self._free_at + _TICK, loop.time() + takes)
        loop.call_at(self._free_at, self._start, position, inbox)

    def _start(self, position: Position, inbox: Inbox) -> None:
        """Send what is pending, and then what is new."""
        if self._held.get(position) is inbox:
            del self._held[position]
        if position.inbox is not inbox:
            return
        for sequence in sorted(position.pending):
            if sequence <= len(self.events):
                self._send(position, self.events[sequence - 1], again=True)
        self._send_new(position)

    def close(self, position: Position, *, forget: bool = False) -> None:
        position.inbox = None
        self.open.pop(position, None)
        if forget and position.options.durable is not None:
            self.durables.pop(position.options.durable, None)

    def ack(self, position: Position, sequence: int) -> None:
        if position.pending.pop(sequence, None) is not None:
            self._send_new(position)

    def _send_new(self, position: Position) -> None:
        while (
            position.inbox is not None
            and position not in self._held
            and len(position.pending) < position.options.max_inflight
            and position.last_sent < len(self.events)
        ):
            event = self.events[position.last_sent]
            position.last_sent = event.sequence
            self._send(position, event, again=False)

    def _send(self, position: Position, event: StoredEvent, *, again: bool) -> None:
        inbox = position.inbox
        if inbox is None:
            return
        loop = asyncio.get_running_loop()
        due = position.pending[event.sequence] = loop.time() + position.options.ack_wait
        loop.call_at(due, self._send_again, position, event, due)
        inbox.connection.send_down(lambda: inbox.subscription.take(inbox, event, again=again))

    def _send_again(self, position: Position, event: StoredEvent, due: float) -> None:
        is_stored = self.events[event.sequence - 1 : event.sequence] == [event]
        if is_stored and position.pending.get(event.sequence) == due:
            self._send(position, event, again=True)


class ModelConnection:
    """A session, as its owner has it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.lost: asyncio.Future[SessionLost] = asyncio.get_running_loop().create_future()
        self.state = ConnectionState.OPEN
        self.delay = 0.001
        """Seconds that everything takes from now on, either way."""
        self.unanswered: dict[str, Inbox] = {}
        """Durables that the server may have opened for requests whose answers were too late."""
        self._up_until = self._down_until = 0.0

    @property
    def last_answer(self) -> float:
        return asyncio.get_running_loop().time() - 0.5

    def lose(self, reason: str) -> None:
        """Lose the session: another client has the client id, or the client is dead."""
        if self.state is ConnectionState.OPEN:
            self.state = ConnectionState.LOST
            for position in list(self.server.open):
                if position.inbox is not None and position.inbox.connection is self:
                    self.server.close(position)
            if self.server.session is self:
                self.server.session = None
            self.lost.set_result(SessionLost(reason))

    def send_down(self, call: Callable[[], None]) -> None:
        """Have the client get something, after all that was sent to it before."""
        loop = asyncio.get_running_loop()
        self._down_until = max(self._down_until + _TICK, loop.time() + self.delay)
        loop.call_at(self._down_until, self._arrive, call)

    def send_up(self, call: Callable[[], None], *, is_ack: bool = False) -> None:
        """Have the server get something, after all that was sent to it before."""
        loop = asyncio.get_running_loop()
        self._up_until = max(self._up_until + _TICK, loop.time() + self.delay)
        loop.call_at(self._up_until, self._reach, call, is_ack)

    def _arrive(self, call: Callable[[], None]) -> None:
        if self.state is ConnectionState.OPEN:
            call()

    def _reach(self, call: Callable[[], None], is_ack: bool) -> None:
        """Deliver some of the acks that a client sent before it died."""
        if self.state is ConnectionState.OPEN or (is_ack and self.server.chance.random() < 0.5):
            call()

    async def request(self, handle: Callable[[], Callable[[], None]]) -> None:
        """Have the server handle something, and then do what it returns.

        Raises:
            NatsStreamingError: as the server does, or since there is no answer in time.
        """
        answer: asyncio.Future[NatsStreamingError | None]
        answer = asyncio.get_running_loop().create_future()

        def reply(error: NatsStreamingError | None) -> None:
            if not answer.done():
                answer.set_result(error)

        def reach() -> None:
            try:
                then = handle()
            except NatsStreamingError as error:
                refusal = error
                self.send_down(lambda: reply(refusal))
            else:
                self.send_down(lambda: reply(None))
                then()

        if self.state is not ConnectionState.OPEN:
            raise NotConnected("the session is gone")
        self.send_up(reach)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                error = await answer
        except TimeoutError:
            raise ServerUnavailable("there is no answer in time") from None
        if error is not None:
            raise error

    async def subscribe(
        self, subject: str, handler: Callable[[Message], object], options: SubscriptionOptions
    ) -> "ModelSubscription":
        subscription = ModelSubscription(self, subject, handler, options)
        await subscription.open(options)
        return subscription


class ModelSubscription:
    """As ``nats_streaming.Subscription``."""

    def __init__(
        self,
        connection: ModelConnection,
        subject: str,
        handler: Callable[[Message], object],
        options: SubscriptionOptions,
    ) -> None:
        self.connection = connection
        self.subject = subject
        self.options = options
        self.is_open = False
        self._handler = handler
        self._inbox: Inbox | None = None
        self._position: Position | None = None

    @property
    def inbox(self) -> str:
        return str(id(self._inbox))

    async def open(self, options: SubscriptionOptions) -> None:
        """Ask for it, after what an earlier request may have made was closed."""
        server, connection = self.connection.server, self.connection
        key = options.durable or ""
        delta = options.start.delta_nanoseconds()
        late = connection.unanswered.get(key)
        if late is not None:
            await connection.request(lambda: self._close_late(late))
            connection.unanswered.pop(key, None)
        self.options = options
        inbox = self._inbox = Inbox(connection, self)

        def handle() -> Callable[[], None]:
            start = server.last_sent_at(options.start, delta)
            position = self._position = server.subscribe(inbox, options, start)
            return lambda: server.start_later(position)

        try:
            await connection.request(handle)
        except ServerUnavailable:
            if options.durable is not None:
                connection.unanswered[key] = inbox
            self._inbox = None
            raise
        self.is_open = True

    def _close_late(self, inbox: Inbox) -> Callable[[], None]:
        for position in list(self.connection.server.open):
            if position.inbox is inbox:
                self.connection.server.close(position)
        return _nothing

    def take(self, inbox: Inbox, event: StoredEvent, *, again: bool) -> None:
        """Get a message; one for a former inbox is dropped."""
        if self._inbox is inbox:
            self._handler(Message(event.sequence, event.timestamp, event.data, again, self))

    def ack(self, sequence: int) -> None:
        position = self._position
        if position is not None:
            server = self.connection.server
            self.connection.send_up(lambda: server.ack(position, sequence), is_ack=True)

    async def reopen(self, options: SubscriptionOptions | None = None) -> None:
        options = options or self.options
        old, self._inbox, self.is_open = self._inbox, None, False
        server, position = self.connection.server, self._position

        def handle() -> Callable[[], None]:
            if position is not None and (old is None or position.inbox is old):
                server.close(position)
            return _nothing

        await self.connection.request(handle)
        await self.open(replace(options, start=self.options.start))

    async def unsubscribe(self) -> None:
        position, server = self._position, self.connection.server

        def handle() -> Callable[[], None]:
            if position is None:
                raise UnknownSubscription("stan: invalid subscription")
            server.close(position, forget=True)
            return _nothing

        await self.connection.request(handle)
        self._inbox, self.is_open = None, False


def _nothing() -> None:
    """Do nothing."""
