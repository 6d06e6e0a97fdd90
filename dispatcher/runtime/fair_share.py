"""How much a busy channel may have under way at once while others want something too.

All channels share one event loop. Whatever is under way for one of them has its turn before the
next event of another, so while there is more to do than time, everybody waits for who has the most.
A ``FairShare`` counts what it does and has a ``limit``; ``FairShares`` lowers the limit of those
that do the most until the loop has a moment to spare, and raises it as far as there is one. As long
as the loop is not busy, or no other channel does much less than the busiest, nothing is limited.

Publishing to a channel is one lane, the deliveries of each subscription are another: who does
little, because its subscriber is slow, keeps all that it may have.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakValueDictionary

import structlog

from natss.contract.channel_id import ChannelId
from natss.contract.labels import channel_labels

log = structlog.get_logger(__name__)

UNLIMITED: Final = sys.maxsize

FEWEST: Final = 4
"""As many are always allowed, also where the loop is never calm because it gets no CPU."""

FIRST: Final = 8
"""What the loudest are limited to at first."""

MOST: Final = 256
"""A limit that has grown so far is none."""

BUSY: Final = 0.9
CALM: Final = 0.85
"""Shares of the time: limits are lowered above the first, raised below the second. With all of the
time in use one gets a fifth more through, and an event of others takes ten times as long."""

LOOK_SECONDS: Final = 0.05
"""Between two looks, while anybody does anything."""

_MUCH_LESS: Final = 8
"""Who does so many times less than the busiest is to be let through."""

_NEARLY: Final = 4
"""Who does so many times less than the busiest is not limited."""

_FADES: Final = 0.9
_FORGOTTEN: Final = 0.05
"""A lane without work is forgotten after one to five seconds, by how much it did."""


def never_busy() -> float:
    """The load for which nothing is ever limited."""
    return 0.0


def _nothing_to_do() -> None:
    """For who does not care."""


def _tell_nobody(_channel: ChannelId, _seconds: float) -> None:
    """For who does not count."""


class FairShare:
    """Work of one kind for one channel.

    Attributes:
        channel: Its name.
        limit: How many pieces of it may be under way at once, now; see ``set_limit``.
        recent: How much was done, what is long ago counting less.
        on_room: Called when more may be under way than before.
    """

    __slots__ = ("__weakref__", "_news", "_work", "channel", "limit", "on_room", "recent")

    def __init__(self, channel: ChannelId, news: "Callable[[FairShare], None]") -> None:
        self.channel = channel
        self.limit = UNLIMITED
        self.recent = 0.0
        self.on_room: Callable[[], None] = _nothing_to_do
        self._work = 0
        self._news = news

    def set_limit(self, limit: int) -> None:
        """Allow so many pieces at once from now on."""
        grows = limit > self.limit
        self.limit = limit
        if grows:
            self.on_room()

    def count(self) -> None:
        """Count a piece of work."""
        if not self._work:
            self._news(self)
        self._work += 1

    def look(self) -> None:
        """Bring ``recent`` up to date."""
        self.recent = self.recent * _FADES + self._work
        self._work = 0

    def forget(self) -> None:
        """Begin to count anew."""
        self.recent = 0.0
        self._work = 0


class Waiter(Protocol):
    """Who has something to publish for which there was no room."""

    def go_on(self, lane: "PublishShare") -> None:
        """Publish one to this lane. If there is more, wait again, behind all others."""


class PublishShare(FairShare):
    """What publishers have under way to one channel.

    Attributes:
        under_way: Published, and not yet answered.
    """

    __slots__ = ("_is_waking", "_waiting", "under_way")

    def __init__(self, channel: ChannelId, news: Callable[[FairShare], None]) -> None:
        super().__init__(channel, news)
        self.under_way = 0
        self._waiting: dict[Waiter, None] = {}
        self._is_waking = False

    @property
    def is_free(self) -> bool:
        """Whether there is room, and nobody waits for it."""
        return self.under_way < self.limit and not self._waiting

    def wait(self, waiter: Waiter) -> None:
        """Have ``go_on`` called when it is its turn. Waiting twice is waiting once."""
        self._waiting[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Wait no more. One that does not is no error."""
        self._waiting.pop(waiter, None)

    def began(self) -> None:
        """One more is under way."""
        self.under_way += 1
        self.count()

    def ended(self) -> None:
        """One is not under way any more; who waits has its turn when the caller is done."""
        self.under_way -= 1
        if self._waiting:
            self._wake_soon()

    def set_limit(self, limit: int) -> None:
        """Allow so many at once from now on; who waits has its turn when the caller is done."""
        super().set_limit(limit)
        if self._waiting:
            self._wake_soon()

    def _wake_soon(self) -> None:
        if not self._is_waking:
            self._is_waking = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._is_waking = False
        waiting = self._waiting
        while waiting and self.under_way < self.limit:
            waiter = next(iter(waiting))
            del waiting[waiter]
            try:
                waiter.go_on(self)
            except Exception:  # one publisher must not take the turn of all others with it
                log.exception("a publisher that waited broke", **channel_labels(self.channel))


class FairShares:
    """All lanes of a process; whoever holds one keeps it alive.

    Args:
        load: Gives the share of time that the loop was busy since it was asked last.
        on_held_back: Is told after each look which channel was limited, and for how many seconds.
    """

    def __init__(
        self,
        load: Callable[[], float],
        on_held_back: Callable[[ChannelId, float], None] = _tell_nobody,
    ) -> None:
        self._load = load
        self._on_held_back = on_held_back
        self._looked_at = 0.0
        self._publishing: WeakValueDictionary[ChannelId, PublishShare] = WeakValueDictionary()
        self._news: list[FairShare] = []
        self._active: dict[FairShare, None] = {}
        self._loud: list[FairShare] = []
        self._limit = MOST
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def publishing(self, channel: ChannelId) -> PublishShare:
        """That of a channel, the same one as long as somebody has it."""
        lane = self._publishing.get(channel)
        if lane is None:
            lane = self._publishing[channel] = PublishShare(channel, self._begins)
        return lane

    def delivering(self, channel: ChannelId) -> FairShare:
        """One for a new subscription of a channel."""
        return FairShare(channel, self._begins)

    @property
    def is_watching(self) -> bool:
        """Whether there is or was work, so that it looks at the load now and then."""
        return self._timer is not None

    def close(self) -> None:
        """Never look again; nothing is limited from now on."""
        self._is_closed = True
        self._rest()

    def _rest(self) -> None:
        """Nothing is limited until there is work again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._limit = MOST
        self._limit_only([])

    def _begins(self, lane: FairShare) -> None:
        """A lane has its first work since the last look."""
        if self._is_closed:
            return
        self._news.append(lane)
        if self._timer is None:
            self._load()  # from now on
            self._looked_at = asyncio.get_running_loop().time()
            self._set_timer()

    def _set_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for channel in {lane.channel for lane in self._loud}:
            self._on_held_back(channel, now - self._looked_at)
        self._looked_at = now
        if self._news or self._active:
            self._set_timer()
            self.look(self._load())
        else:
            self._rest()

    def look(self, busy: float) -> None:
        """Set the limits for the time until the next look.

        Args:
            busy: The share of the time since the last one that the loop was.
        """
        self._active |= dict.fromkeys(self._news)
        self._news.clear()
        if busy < CALM and not self._loud:
            for lane in self._active:
                lane.forget()
            self._active.clear()
            return
        loud = self._find_loud()
        if loud:
            self._adapt(busy)
        else:
            self._limit = MOST
        self._limit_only(loud if self._limit < MOST else [])

    def _adapt(self, busy: float) -> None:
        limit = self._limit
        if busy > BUSY:
            self._limit = FIRST if limit == MOST else max(FEWEST, limit * 3 // 4)
        elif busy < CALM:
            self._limit = min(MOST, limit * 5 // 4 + 1)

    def _find_loud(self) -> list[FairShare]:
        """Those that do the most; nobody, if no other channel does much less."""
        for lane in self._active:
            lane.look()
        self._active = dict.fromkeys(lane for lane in self._active if lane.recent > _FORGOTTEN)
        busiest = max(self._active, key=lambda lane: lane.recent, default=None)
        if busiest is None or not any(
            lane.recent * _MUCH_LESS < busiest.recent and lane.channel != busiest.channel
            for lane in self._active
        ):
            return []
        return [lane for lane in self._active if lane.recent * _NEARLY > busiest.recent]

    def _limit_only(self, loud: list[FairShare]) -> None:
        before, self._loud = self._loud, loud
        for lane in set(before) - set(loud):
            lane.set_limit(UNLIMITED)
        for lane in loud:
            lane.set_limit(self._limit)
