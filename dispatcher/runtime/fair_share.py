"""Limits what a busy channel (a noisy neighbour) has under way while others have work too.

All channels share one event loop. Whatever is under way for one of them is served before the next
event of another, so under overload everything waits for the channel with the most work. A
``FairShare`` counts what it does and has a ``limit``; ``FairShares`` lowers the limit of those that
do the most until the loop has idle time again, and raises it as far as it has. As long as the loop
is not busy, or no other channel does much less than the busiest, nothing is limited.

Publishing to a channel has one share, the deliveries of each subscription have another: one that
does little, because its subscriber is slow, may keep all that it has under way.
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
"""So many are always allowed, even where the loop is never calm because it gets no CPU."""

FIRST: Final = 8
"""The first limit of the busiest."""

MOST: Final = 256
"""A limit that has grown to this is none."""

BUSY: Final = 0.9
CALM: Final = 0.85
"""Shares of the time: limits are lowered above the first and raised below the second. With all of
the time in use, the busiest gets a fifth more through, and an event of others takes ten times as
long.
"""

LOOK_SECONDS: Final = 0.05
"""Seconds between two looks at the load, while there is any work."""

_MUCH_LESS: Final = 8
"""A share that does so many times less than the busiest must be protected."""

_NEARLY: Final = 4
"""A share that does so many times less than the busiest is not limited."""

_FADES: Final = 0.9
_FORGOTTEN: Final = 0.05
"""A share without work is forgotten after one to five seconds, depending on how much it did."""


def never_busy() -> float:
    """Return the load at which nothing is ever limited."""
    return 0.0


def _nothing_to_do() -> None:
    """Do nothing; the default callback."""


def _tell_nobody(_channel: ChannelId, _seconds: float) -> None:
    """Do nothing; the default callback."""


class FairShare:
    """Work of one kind for one channel.

    Attributes:
        channel: Its name.
        limit: How many pieces of it may be under way at once now; see ``set_limit``.
        recent: How much was done; older work counts less.
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
        """Start counting anew."""
        self.recent = 0.0
        self._work = 0


class Waiter(Protocol):
    """A publisher with something to publish for which there was no room."""

    def go_on(self, lane: "PublishShare") -> None:
        """Publish one to this share. If there is more, wait again, behind all others."""


class PublishShare(FairShare):
    """What publishers have under way to one channel.

    Attributes:
        under_way: How many are published and not yet answered.
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
        """Have ``go_on`` called when it is the waiter's turn. Idempotent."""
        self._waiting[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Stop waiting. A waiter that does not wait is no error."""
        self._waiting.pop(waiter, None)

    def began(self) -> None:
        """Count one more as under way."""
        self.under_way += 1
        self.count()

    def ended(self) -> None:
        """Count one less as under way; the next waiter has its turn when the caller is done."""
        self.under_way -= 1
        if self._waiting:
            self._wake_soon()

    def set_limit(self, limit: int) -> None:
        """Allow so many at once from now on; waiters have their turn when the caller is done."""
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
            except Exception:  # a fault of one publisher must not take the turn of all others
                log.exception("a waiting publisher failed", **channel_labels(self.channel))


class FairShares:
    """All shares of a process; a share lives as long as somebody holds it.

    Args:
        load: Returns the part of the time that the loop was busy since the last call.
        on_held_back: Called after each look with each limited channel, and for how many seconds it
            was limited.
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
        """Return the share of a channel, the same one as long as somebody holds it."""
        lane = self._publishing.get(channel)
        if lane is None:
            lane = self._publishing[channel] = PublishShare(channel, self._begins)
        return lane

    def delivering(self, channel: ChannelId) -> FairShare:
        """Return a share for a new subscription of a channel."""
        return FairShare(channel, self._begins)

    @property
    def is_watching(self) -> bool:
        """Whether there is or was work, so that it looks at the load at intervals."""
        return self._timer is not None

    def close(self) -> None:
        """Never look again; nothing is limited from now on."""
        self._is_closed = True
        self._rest()

    def _rest(self) -> None:
        """Limit nothing until there is work again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._limit = MOST
        self._limit_only([])

    def _begins(self, lane: FairShare) -> None:
        """Note the first work of a share since the last look."""
        if self._is_closed:
            return
        self._news.append(lane)
        if self._timer is None:
            self._load()  # measure from now on
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
            busy: The part of the time since the last look that the loop was busy.
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
        """Return those that do the most; none if no other channel does much less."""
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
