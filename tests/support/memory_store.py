"""A store of events in memory: no more than ``dispatcher.stores.interface`` asks for.

``MemoryServer`` is what survives when a ``MemoryStore`` is closed, as at the end of a process. It
accepts and sends at once, refuses only what is too large, and never sends again on its own.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dispatcher.runtime.signals import Signal
from dispatcher.stores.evidence import Owed, PendingEvents, SharedDurable, StoreSession
from dispatcher.stores.interface import (
    Durable,
    DurableName,
    DurableOptions,
    DurableState,
    EventTooLarge,
    NotStored,
    Receive,
    StartPosition,
    StoreError,
)
from natss.contract.resources import Start, StartKind

_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class MemoryMessage:
    sequence: int
    timestamp: int
    data: bytes
    redelivered: bool = False


@dataclass(slots=True)
class Position:
    """What the server knows about a durable."""

    next: int
    """The first sequence that was not sent yet."""

    pending: dict[int, MemoryMessage] = field(default_factory=dict)
    """What was sent and not acknowledged."""


class MemoryServer:
    """Events and the positions of durables."""

    def __init__(self, max_event_bytes: int = 1024 * 1024) -> None:
        self.max_event_bytes = max_event_bytes
        self.messages: dict[str, list[MemoryMessage]] = {}
        self.positions: dict[DurableName, Position] = {}
        self.open: dict[DurableName, MemoryDurable] = {}

    def add(self, subject: str, data: bytes) -> str:
        messages = self.messages.setdefault(subject, [])
        messages.append(MemoryMessage(len(messages) + 1, time.time_ns(), data))
        for durable in [*self.open.values()]:
            if durable.name.subject == subject:
                durable.send_soon()
        return f"{subject}:{len(messages)}"

    def first(self, subject: str, position: StartPosition) -> int:
        """Return the sequence at which a durable starts that is not known."""
        messages = self.messages.get(subject, [])
        start, end = position.start, len(messages) + 1
        if start is None:
            return end
        if position.was_open:
            return 1
        since = time.time() - (time.monotonic() - position.wanted_since)
        match start.kind:
            case StartKind.FIRST:
                return 1
            case StartKind.SEQUENCE:
                return min(end, int(start.value))
            case StartKind.TIME:
                since = start.value
            case StartKind.AGO:
                since -= start.value
        new = (each.sequence for each in messages if each.timestamp >= since * _NANOSECONDS)
        first_new = next(new, end)
        return max(1, first_new - 1) if start.kind is StartKind.LAST else first_new


@dataclass(slots=True)
class MemoryArrivals:
    """The events that a durable has received since ``begin_tally``."""

    lowest: int | None = None

    def take(self, sequence: int) -> None:
        self.lowest = sequence if self.lowest is None else min(self.lowest, sequence)


class MemorySession:
    """From the start of a store's deliveries to their end."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()


class MemoryDurable:
    """A durable; open while its store delivers, until it is removed."""

    def __init__(
        self,
        server: MemoryServer,
        name: DurableName,
        beginning: StartPosition,
        options: DurableOptions,
        receive: Receive,
    ) -> None:
        self.name = name
        self.state = DurableState.CLOSED
        self.last_error: str | None = None
        self.failure: StoreError | None = None
        self.opened_at: float | None = None
        self.is_leaving = False
        self.is_released_elsewhere = False
        self.opened_over: MemorySession | None = None
        self._session: MemorySession | None = None
        self._arrivals: MemoryArrivals | None = None
        self._server = server
        self._beginning = beginning
        self._options = options
        self._receive = receive
        self._is_to_send_again = False
        self._changed = Signal()

    def ack(self, sequence: int) -> None:
        if self.state is DurableState.OPEN:
            self._server.positions[self.name].pending.pop(sequence, None)
            self.send_soon()

    def change(self, options: DurableOptions) -> None:
        if options != self._options:
            self._options = options
            self.reopen()

    def reopen(self) -> None:
        self._is_to_send_again = True
        self._work()

    def remove(self) -> None:
        self.is_leaving = True
        self._work()

    def want_again(
        self, beginning: StartPosition, options: DurableOptions, receive: Receive
    ) -> None:
        self.is_leaving = False
        self._beginning = replace(beginning, was_open=False)
        self._options, self._receive, self.opened_at = options, receive, None
        self.reopen()

    def forgo_beginning(self, *, is_latest: bool = False) -> None:
        if self.opened_at is None and self._beginning.was_open and not is_latest:
            self._beginning = replace(self._beginning, start=None)

    def begin_tally(self) -> MemoryArrivals:
        self._arrivals = MemoryArrivals()
        return self._arrivals

    def end_tally(self) -> None:
        self._arrivals = None

    def connect(self, session: MemorySession) -> None:
        self._session = session
        self._work()

    def disconnect(self) -> None:
        self._session = None
        self._server.open.pop(self.name, None)
        if self.state is DurableState.OPEN:
            self._set_state(DurableState.CLOSED)

    async def wait_open(self) -> None:
        while self.state is not DurableState.OPEN:
            await self._change()

    async def wait_open_or_gone(self) -> None:
        while self.state is DurableState.CLOSED:
            await self._change()

    async def wait_leaving(self) -> None:
        while not self.is_leaving:
            await self._change()

    async def wait_removed(self) -> bool:
        while self.is_leaving and self.state is not DurableState.REMOVED:
            await self._change()
        return self.is_leaving

    def send_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._send)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _set_state(self, state: DurableState) -> None:
        self.state = state
        self._changed.set()

    def _work(self) -> None:
        self._changed.set()
        asyncio.get_running_loop().call_soon(self._converge)

    def _converge(self) -> None:
        """Make the server know what is wanted."""
        if self._session is None:
            return
        if self.is_leaving:
            self._server.open.pop(self.name, None)
            self._server.positions.pop(self.name, None)
            self._set_state(DurableState.REMOVED)
            return
        if self.name not in self._server.positions:
            first = self._server.first(self.name.subject, self._beginning)
            self._server.positions[self.name] = Position(first)
        if self.opened_at is None:
            self.opened_at, self.opened_over = time.monotonic(), self._session
            self._beginning.on_open()
        if self.state is not DurableState.OPEN or self._is_to_send_again:
            self._is_to_send_again = False
            self._server.open[self.name] = self
            self._set_state(DurableState.OPEN)
            self._send_again()

    def _send_again(self) -> None:
        for message in [*self._server.positions[self.name].pending.values()]:
            self._deliver(replace(message, redelivered=True))
        self._send()

    def _deliver(self, message: MemoryMessage) -> None:
        if self._arrivals is not None:
            self._arrivals.take(message.sequence)
        self._receive(message)

    def _send(self) -> None:
        """Send new events, as many as may be in flight."""
        if self.state is not DurableState.OPEN:
            return
        position = self._server.positions[self.name]
        messages = self._server.messages.get(self.name.subject, [])
        while len(position.pending) < self._options.max_inflight and position.next <= len(messages):
            message = messages[position.next - 1]
            position.next += 1
            position.pending[message.sequence] = message
            self._deliver(message)


class MemoryHealth:
    """A connection that is up from its start to its end."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.is_open = False
        self.was_open = asyncio.Event()
        self.last_error: str | None = "not connected yet"
        self.failure: StoreError | None = None

    def up(self) -> None:
        self.is_open, self.last_error = True, None
        self.was_open.set()

    def down(self) -> None:
        self.is_open, self.last_error = False, "closed"


class MemoryStore:
    """The store of one process; see ``EventStore`` and ``SharedStore``. No other takes over."""

    has_taken_over = False

    def __init__(self, server: MemoryServer) -> None:
        self.publishing = MemoryHealth("publish")
        self.delivering = MemoryHealth("deliver")
        self.not_restored: dict[DurableName, str] = {}
        self._server = server
        self._session: MemorySession | None = None
        self._durables: dict[DurableName, MemoryDurable] = {}

    @property
    def max_event_bytes(self) -> int | None:
        return self._server.max_event_bytes if self.publishing.is_open else None

    def start(self) -> None:
        self.publishing.up()

    def start_delivering(self) -> None:
        self.delivering.up()
        self._session = MemorySession()
        for durable in self._durables.values():
            durable.connect(self._session)

    async def close(self) -> None:
        self.publishing.down()
        self.delivering.down()
        self._session = None
        for durable in self._durables.values():
            durable.disconnect()

    def publish(self, subject: str, data: bytes) -> "asyncio.Future[str]":
        if not self.publishing.is_open:
            reason = f"the store cannot be reached: {self.publishing.last_error}"
            raise NotStored("unavailable", reason, retriable=True)
        if len(data) > self._server.max_event_bytes:
            raise EventTooLarge(len(data), self._server.max_event_bytes)
        stored: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        stored.set_result(self._server.add(subject, data))
        return stored

    def not_stored(self, error: BaseException) -> NotStored:
        raise AssertionError("what was published is stored") from error

    def durable(
        self,
        name: DurableName,
        beginning: StartPosition,
        options: DurableOptions,
        receive: Receive,
    ) -> MemoryDurable:
        if self.is_taken(name):
            raise ValueError(f"the durable {name} is taken")
        durable = self._durables.get(name)
        if durable is not None:
            durable.want_again(beginning, options, receive)
            return durable
        durable = self._durables[name] = MemoryDurable(
            self._server, name, beginning, options, receive
        )
        if self._session is not None:
            durable.connect(self._session)
        return durable

    def is_taken(self, name: DurableName) -> bool:
        durable = self._durables.get(name)
        return durable is not None and not durable.is_leaving

    async def wait_free(self, name: DurableName) -> None:
        while (durable := self._durables.get(name)) is not None and not durable.is_leaving:
            await durable.wait_leaving()

    def has(self, name: DurableName) -> bool:
        return name in self._durables

    async def removed(self, durable: Durable) -> bool:
        if not await durable.wait_removed():
            return False
        if self._durables.get(durable.name) is durable:
            del self._durables[durable.name]
        return True

    @property
    def is_in_session(self) -> bool:
        return self._session is not None

    async def session(self) -> StoreSession:
        await self.delivering.was_open.wait()
        assert self._session is not None
        return self._session

    def note_known(self, name: DurableName) -> None:
        """Do nothing: no other process opens anything."""

    def release_elsewhere(self, name: DurableName) -> bool:
        return name in self._durables

    async def find_pending(self, durables: Sequence[SharedDurable]) -> PendingEvents | None:
        for durable in durables:
            await durable.wait_open_or_gone()
        positions = [
            self._server.positions[each.name]
            for each in durables
            if each.state is not DurableState.REMOVED
        ]
        if not positions:
            return None
        for durable in durables:
            durable.reopen()
        await asyncio.sleep(0)
        reached = min(each.next for each in positions)
        begin = min((sequence for each in positions for sequence in each.pending), default=reached)
        owed = range(min(begin, reached), max(each.next for each in positions))
        return PendingEvents(await self.session(), owed, reached)

    async def has_sent_all(self, _session: StoreSession, subject: str) -> bool:
        await asyncio.sleep(0)
        return bool(self._server.messages.get(subject))

    async def owed_since(
        self, _session: StoreSession, subject: str, wanted_since: float
    ) -> Owed | None:
        messages = self._server.messages.get(subject, [])
        if not messages:
            return None
        first = self._server.first(subject, StartPosition(Start(), wanted_since))
        return Owed(first, is_stored=first <= len(messages))
