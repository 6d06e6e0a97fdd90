"""What an egress connection needs of the world, as fakes: a clock, a transport and an owner."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any, cast

from dispatcher.egress.connection import EgressConnection
from dispatcher.egress.limits import EgressLimits
from dispatcher.runtime.byte_budget import BudgetShare, ByteBudget

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


class FakeTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None  # as asyncio's, which lets go of what it would have called


class FakeLoop:
    """Virtual time; futures are those of the loop that runs the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers_set = 0
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> FakeTimer:
        self.timers_set += 1
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()
        self.now = end

    @property
    def pending_timers(self) -> int:
        return sum(timer.callback is not None for _, _, timer in self._timers)

    @property
    def as_loop(self) -> asyncio.AbstractEventLoop:
        return cast("asyncio.AbstractEventLoop", self)


class FakeTransport(asyncio.Transport):
    """Keeps what is written; pauses its protocol after ``room`` bytes."""

    def __init__(self, protocol: asyncio.Protocol, room: int = 1 << 30) -> None:
        super().__init__()
        self.protocol = protocol
        self.room = room
        self.writes: list[bytes] = []
        self.aborted = False
        self._reads = True

    def is_reading(self) -> bool:
        return self._reads

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.aborted, "written to a closed transport"
        self.writes.append(bytes(data))
        self.room -= len(data)
        if self.room < 0:
            self.protocol.pause_writing()

    def abort(self) -> None:
        self.aborted = True

    def drained(self, room: int) -> None:
        self.room = room
        self.protocol.resume_writing()


class FakeOwner:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.budget = ByteBudget(2**20)
        self.memory = BudgetShare(self.budget)

    def released(self, connection: EgressConnection) -> None:
        self.calls.append("released")

    def lost(self, connection: EgressConnection) -> None:
        self.calls.append("lost")


class Wire:
    """A connection, opened, on fakes."""

    def __init__(self, limits: EgressLimits | None = None) -> None:
        self.loop = FakeLoop()
        self.owner = FakeOwner()
        self.connection = EgressConnection(
            self.owner, limits or EgressLimits(), self.loop.as_loop, self.loop.now + 60
        )
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)

    def exchange(
        self,
        request: bytes = b"POST",
        body: bytes = b"",
        timeout: float = 30.0,
        *,
        wants_body: bool = True,
        memory: BudgetShare | None = None,
    ) -> asyncio.Future[Any]:
        deadline = self.loop.now + timeout
        return self.connection.exchange(
            request, body, deadline, wants_body=wants_body, memory=memory
        )

    def use(self, times: int) -> None:
        """Make so many exchanges before the one that matters."""
        for _ in range(times):
            self.exchange()
            self.receive(OK)
            self.connection.take()

    def receive(self, *blocks: bytes) -> None:
        """Receive as a transport does: after an abort, pass on nothing."""
        for block in blocks:
            if not self.transport.aborted:
                self.connection.data_received(block)

    def end(self) -> None:
        """Close the peer's side."""
        if not self.transport.aborted:
            self.connection.eof_received()
        self.connection.connection_lost(None)
