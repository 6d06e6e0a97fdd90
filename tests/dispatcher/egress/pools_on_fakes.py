"""Pools of connections on fakes: what a caller does with them, without sockets and time."""

import asyncio

from dispatcher.egress.connection import EgressConnection, EgressConnectionState
from dispatcher.egress.limits import EgressLimits
from dispatcher.egress.pool import Pools
from dispatcher.runtime.byte_budget import ByteBudget
from tests.dispatcher.egress.egress_fakes import FakeLoop, FakeTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class World:
    """Pools on fakes, and what a caller does with their connections."""

    def __init__(self, **limits: float) -> None:
        self.loop = FakeLoop()
        wanted = EgressLimits(**limits)  # type: ignore[arg-type]  # int or float by field
        self.budget = ByteBudget(2**20)
        self.pools = Pools(wanted, self.loop.as_loop, self.budget)

    def take(self, origin: str = "a") -> EgressConnection | None:
        """Take a connection as ``Egress.post`` without waiting: one that is at work, or None."""
        connection = self.pools.take_idle(origin, self.loop.now) or self.pools.open(origin)
        if connection is not None:
            begin(connection)
        return connection

    def taken(self, origin: str = "a") -> EgressConnection:
        connection = self.take(origin)
        assert connection is not None
        return connection

    def full(self, origin: str = "a") -> bool:
        return self.take(origin) is None

    async def waiting(self, origin: str = "a") -> "asyncio.Task[EgressConnection]":
        task = asyncio.create_task(self._wait(origin))
        await asyncio.sleep(0)
        return task

    async def _wait(self, origin: str) -> EgressConnection:
        connection = await self.pools.wait(origin)
        begin(connection)
        return connection


def begin(connection: EgressConnection) -> None:
    if connection.state is EgressConnectionState.NEW:
        connection.connection_made(FakeTransport(connection))
    response = connection.exchange(b"POST", b"", 1e9)
    response.add_done_callback(lambda done: done.exception())  # else asyncio logs it


def taken_until_full(world: World, origin: str) -> int:
    """Return how many connections the origin gets."""
    return sum(1 for _ in iter(lambda: world.take(origin), None))


def answer(connection: EgressConnection) -> None:
    connection.data_received(OK)
