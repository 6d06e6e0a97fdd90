"""Connections by origin: which one a request gets, who waits, and which are closed to make room.

No I/O: a caller that may open a connection opens it itself. A slow origin may fill its own share
and wait; the rules in ``Pools`` keep it from starving another.
"""

import asyncio
from collections import OrderedDict, deque

from dispatcher.egress.connection import EgressConnection
from dispatcher.egress.limits import EgressLimits
from dispatcher.runtime.byte_budget import BudgetShare, ByteBudget

_SWEEPS = 4
"""How often per idle timeout idle connections are checked."""

_AGE_SPREAD = 0.25
_GOLDEN_RATIO = 0.618034


class OriginPool:
    """The connections to one origin. It lives while there is one, or while a request waits."""

    __slots__ = ("_pools", "connections", "idle", "memory", "origin", "waiters")

    def __init__(self, origin: str, pools: "Pools") -> None:
        self._pools = pools
        self.origin = origin
        self.memory = BudgetShare(pools.budget)
        self.connections: set[EgressConnection] = set()
        self.idle: deque[EgressConnection] = deque()
        """The one used last is at the right and goes first, so that the others can time out."""

        self.waiters: deque[asyncio.Future[EgressConnection]] = deque()

    def __repr__(self) -> str:
        return (
            f"<OriginPool {self.origin}: {len(self.connections)} connections, "
            f"{len(self.idle)} idle, {len(self.waiters)} waiting>"
        )

    @property
    def has_waiters(self) -> bool:
        """Whether a request waits; abandoned ones are dropped first."""
        while self.waiters and self.waiters[0].done():
            self.waiters.popleft()
        return bool(self.waiters)

    def released(self, connection: EgressConnection) -> None:
        self._pools.released(self, connection)

    def lost(self, connection: EgressConnection) -> None:
        self._pools.lost(self, connection)


class Pools:
    """All origins and the limits that they share.

    - One origin has at most ``max_connections_per_origin``, all have ``max_connections``.
    - An origin has no more connections than are left for others (fair share). If several hang at
      once, they share what there is, and leave as much again for the next.
    - An origin gets its first connection even beyond that, so that none waits for others to finish.
    - Idle connections are used up to a time and not a moment longer: their server may close them
      then. ``close_idle`` closes them, which checks them at intervals only.
    - Where room is short, idle connections are closed, the longest unused first.
    - A free connection goes to the next request for its origin, in the order of arrival, unless an
      origin with clearly fewer connections waits for room: then that one gets it.
    """

    def __init__(
        self, limits: EgressLimits, loop: asyncio.AbstractEventLoop, budget: ByteBudget
    ) -> None:
        self.budget = budget
        self.sweep_interval = limits.idle_timeout / _SWEEPS
        self._limits = limits
        self._loop = loop
        self._origins: dict[str, OriginPool] = {}
        self._idle: OrderedDict[EgressConnection, OriginPool] = OrderedDict()
        self._waiting: dict[OriginPool, None] = {}
        self._total = 0
        self._opened = 0

    @property
    def summary(self) -> str:
        """For logs and tests: ``1 origins, 3 connections, 2 idle, 0 waiting``."""
        waiting = sum(len(pool.waiters) for pool in self._waiting)
        return (
            f"{len(self._origins)} origins, {self._total} connections, "
            f"{len(self._idle)} idle, {waiting} waiting"
        )

    @property
    def is_used(self) -> bool:
        """Whether any connection is open."""
        return self._total > 0

    def take_idle(self, origin: str, now: float) -> EgressConnection | None:
        """Return the idle connection to use, ACTIVE from now on."""
        pool = self._origins.get(origin)
        if pool is None:
            return None
        unused_since = now - self._limits.idle_timeout
        while pool.idle:
            connection = pool.idle[-1]
            if now < connection.expires and connection.idle_since > unused_since:
                pool.idle.pop()
                del self._idle[connection]
                connection.take()
                return connection
            connection.abort()
        return None

    def open(self, origin: str) -> EgressConnection | None:
        """Return a NEW connection that the caller opens, or None if the caller has to wait."""
        pool = self._pool(origin)
        if not self._has_room(pool):
            return None
        return self._new_connection(pool)

    async def wait(self, origin: str) -> EgressConnection:
        """Wait in line for a connection: ACTIVE, or NEW and to be opened by the caller."""
        connection = self.open(origin)  # there may be room since the caller was told to wait
        if connection is not None:
            return connection
        pool = self._pool(origin)
        waiter: asyncio.Future[EgressConnection] = self._loop.create_future()
        pool.waiters.append(waiter)
        self._waiting[pool] = None
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter in pool.waiters:
                pool.waiters.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                waiter.result().abort()  # came too late; its place goes to the next
            raise
        finally:
            if not pool.has_waiters:
                self._waiting.pop(pool, None)
            self._forget_if_unused(pool)

    def close_idle(self) -> None:
        """Close what is no longer needed; call it every ``sweep_interval``.

        That is what has been idle for ``idle_timeout``, and, of an origin that has more idle ones
        than ``max_idle_per_origin``, what has been idle for one interval. Not sooner: answers come
        in bursts, and connections that are idle for a moment would be opened again and again.
        """
        now = self._loop.time()
        while self._idle:
            connection = next(iter(self._idle))
            if connection.idle_since > now - self._limits.idle_timeout:
                break
            connection.abort()
        unused_since = now - self.sweep_interval
        for pool in list(self._origins.values()):
            while len(pool.idle) > self._limits.max_idle_per_origin:
                if pool.idle[0].idle_since > unused_since:
                    break
                pool.idle[0].abort()

    def close(self, error: Exception) -> None:
        """Close every connection, and fail the requests that wait for one."""
        waiters = [waiter for pool in self._waiting for waiter in pool.waiters]
        self._waiting.clear()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
        for pool in list(self._origins.values()):
            for connection in list(pool.connections):
                connection.abort()

    # Called for connections, by their pool.

    def released(self, pool: OriginPool, connection: EgressConnection) -> None:
        now = self._loop.time()
        if self._waiting and self._goes_to_another(pool):
            connection.abort()
        elif now >= connection.expires:
            connection.abort()  # its place goes to a waiting request
        elif pool.has_waiters:
            connection.take()
            self._hand_over(pool, connection)
        else:
            connection.idle_since = now
            pool.idle.append(connection)
            self._idle[connection] = pool

    def lost(self, pool: OriginPool, connection: EgressConnection) -> None:
        if connection in self._idle:
            del self._idle[connection]
            pool.idle.remove(connection)
        pool.connections.discard(connection)
        self._total -= 1
        if self._waiting:
            neediest = self._neediest()
            if neediest is not None and self._has_room(neediest) and neediest.has_waiters:
                self._hand_over(neediest, self._new_connection(neediest))
        self._forget_if_unused(pool)

    # The rules.

    def _has_room(self, pool: OriginPool) -> bool:
        """Return whether the origin may have one more; close an idle connection if that is needed.

        What is freed goes to the neediest at once, so it is checked again.
        """
        if len(pool.connections) >= self._limits.max_connections_per_origin and pool.idle:
            pool.idle[0].abort()
        if not self._may_grow(pool):
            return False
        if self._total >= self._limits.max_connections and self._idle:
            next(iter(self._idle)).abort()
        return self._total < self._limits.max_connections or not pool.connections

    def _may_grow(self, pool: OriginPool, given_up: int = 0) -> bool:
        """Return whether its share allows one more, if others give up that many connections."""
        mine = len(pool.connections)
        left = self._limits.max_connections - self._total + len(self._idle) + given_up
        return not mine or mine < min(left, self._limits.max_connections_per_origin)

    def _neediest(self) -> OriginPool | None:
        """Return the origin with the fewest connections among those that wait for more."""
        most = self._limits.max_connections_per_origin
        needy = (p for p in self._waiting if len(p.connections) < most and p.has_waiters)
        return min(needy, key=lambda pool: len(pool.connections), default=None)

    def _goes_to_another(self, pool: OriginPool) -> bool:
        """Return whether another origin needs the place of a free connection more."""
        neediest = self._neediest()
        if neediest is None or neediest is pool:
            return False
        if pool.has_waiters:
            return len(pool.connections) > len(neediest.connections) + 1
        return self._may_grow(neediest, given_up=1)

    def _new_connection(self, pool: OriginPool) -> EgressConnection:
        """Make a connection. Ages differ, so that those of a burst are not all replaced at once."""
        self._opened += 1
        share = 1 - _AGE_SPREAD * (self._opened * _GOLDEN_RATIO % 1)
        expires = self._loop.time() + self._limits.max_age * share
        connection = EgressConnection(pool, self._limits, self._loop, expires)
        pool.connections.add(connection)
        self._origins[pool.origin] = pool  # closing its last one to make room may have removed it
        self._total += 1
        return connection

    def _hand_over(self, pool: OriginPool, connection: EgressConnection) -> None:
        """Hand it to the first in line, who must exist (``has_waiters``)."""
        pool.waiters.popleft().set_result(connection)

    def _pool(self, origin: str) -> OriginPool:
        pool = self._origins.get(origin)
        if pool is None:
            pool = self._origins[origin] = OriginPool(origin, self)
        return pool

    def _forget_if_unused(self, pool: OriginPool) -> None:
        if pool.connections or pool.waiters:
            return
        if self._origins.get(pool.origin) is pool:  # it may have a successor already
            del self._origins[pool.origin]
