"""Whatever requests and connections do, limits hold and nobody waits without need; on fakes."""

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.egress.connection import EgressConnection, EgressError, FailureReason
from tests.dispatcher.egress.pools_on_fakes import World, answer

OPS = st.lists(
    st.tuples(
        st.sampled_from(["post", "post", "post", "answer", "lose", "give up", "pause", "sweep"]),
        st.integers(0, 3),
    ),
    min_size=20,
    max_size=80,
)


@settings(max_examples=100, deadline=None)
@given(ops=OPS, total=st.integers(1, 12), each=st.integers(1, 4))
def test_whatever_happens_the_accounts_are_right(
    ops: list[tuple[str, int]], total: int, each: int
) -> None:
    """Limits hold, and nobody waits while there is room or an idle connection."""

    async def play() -> None:
        callers = Callers(total, each)
        for op, number in ops:
            await callers.do(op, number)
            if number:  # else the next thing happens before any task has run
                await callers.settle()
                callers.check()
        await callers.leave()
        assert callers.world.pools.summary == "0 origins, 0 connections, 0 idle, 0 waiting"

    asyncio.run(play())


class Callers:
    """Callers that post to two origins."""

    def __init__(self, total: int, each: int) -> None:
        self.total = total
        self.each = each
        self.world = World(
            max_connections=total, max_connections_per_origin=each, max_idle_per_origin=1
        )
        self.busy: list[EgressConnection] = []
        self.waiting: list[tuple[str, asyncio.Task[EgressConnection]]] = []

    async def do(self, op: str, number: int) -> None:
        world, busy, waiting = self.world, self.busy, self.waiting
        if op == "post":
            await self._post(f"origin-{number % 2}")
        elif op == "answer" and busy:
            answer(busy.pop(number % len(busy)))
        elif op == "lose" and busy:
            busy.pop(number % len(busy)).connection_lost(None)
        elif op == "give up" and waiting:
            waiting[number % len(waiting)][1].cancel()
        elif op == "pause":
            world.loop.advance(10 * number)
        elif op == "sweep":
            world.pools.close_idle()

    async def _post(self, origin: str) -> None:
        connection = self.world.take(origin)
        if connection is None:
            self.waiting.append((origin, await self.world.waiting(origin)))
        else:
            self.busy.append(connection)

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        for entry in [x for x in self.waiting if x[1].done()]:
            self.waiting.remove(entry)
            if not entry[1].cancelled():
                self.busy.append(entry[1].result())

    async def leave(self) -> None:
        for _, task in self.waiting:
            task.cancel()
        await self.settle()
        self.world.pools.close(EgressError(FailureReason.CLOSED, "closed"))

    def check(self) -> None:
        origins = self.world.pools._origins
        idle = set(self.world.pools._idle)
        everything = {c for pool in origins.values() for c in pool.connections}
        assert everything == set(self.busy) | idle
        assert not set(self.busy) & idle
        assert self.world.pools._total == len(everything)
        assert sum(len(pool.connections) - 1 for pool in origins.values()) <= self.total
        waiting = Counter(origin for origin, _ in self.waiting)
        for name, pool in origins.items():
            assert pool.connections, "the first connection needs no waiting"
            assert len(pool.connections) <= self.each
            assert len(pool.waiters) == waiting[name]
            assert set(pool.idle) == pool.connections & idle
            if pool.waiters:
                assert not pool.idle
                left = self.total - len(everything) + len(idle)
                assert len(pool.connections) >= min(left, self.each)
