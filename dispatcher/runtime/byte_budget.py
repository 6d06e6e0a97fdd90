"""Flow control of connections (backpressure): when to stop reading, and how much memory all share.

It decides nothing: the connections of publishers and the windows of subscriptions decide who holds,
and who is refused when a budget is used up.
"""

import asyncio
import enum


class Hold(enum.Flag):
    """Why nothing is read from a connection."""

    ANSWERS = enum.auto()
    """As many requests as allowed wait for their answers."""

    WRITES = enum.auto()
    """The peer does not read what was written to it."""


_NOTHING = Hold(0)


class ReadFlow:
    """Reads from a transport as long as there is no reason to hold."""

    __slots__ = ("_holds", "_transport")

    def __init__(self, transport: asyncio.ReadTransport) -> None:
        self._transport = transport
        self._holds = _NOTHING

    @property
    def is_held(self) -> bool:
        return self._holds is not _NOTHING

    def hold(self, reason: Hold) -> None:
        """Stop reading until every reason is released. Idempotent."""
        if self._holds is _NOTHING and not self._transport.is_closing():
            self._transport.pause_reading()
        self._holds |= reason

    def release(self, reason: Hold) -> None:
        """Take back one reason. Does nothing if it was not held."""
        if self._holds is _NOTHING:
            return
        self._holds &= ~reason
        if self._holds is _NOTHING and not self._transport.is_closing():
            self._transport.resume_reading()


class ByteBudget:
    """Bytes that many holders may keep in memory together."""

    __slots__ = ("_limit", "_used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    @property
    def used(self) -> int:
        return self._used

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def free(self) -> int:
        """Bytes that are left; negative if more are taken than there are."""
        return self._limit - self._used

    def take(self, size: int) -> bool:
        """Take ``size`` bytes if there is room; return whether there was."""
        if self._used + size > self._limit:
            return False
        self._used += size
        return True

    def take_beyond(self, size: int) -> None:
        """Take bytes whether there is room or not."""
        self._used += size

    def give_back(self, size: int) -> None:
        """Give back bytes that were taken.

        Raises:
            ValueError: more is given back than was taken; the account would never be right again.
        """
        if size > self._used:
            raise ValueError(f"{size} bytes returned, but only {self._used} are taken")
        self._used -= size


class BudgetShare:
    """The fair share that one holder has of a budget: no more than is left for all others.

    So a single holder gets half of it, and however many hold some, there is some for the next.
    """

    __slots__ = ("_budget", "_held", "_turn")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._held = 0
        self._turn: object = None

    @property
    def held(self) -> int:
        return self._held

    @property
    def is_used_up(self) -> bool:
        """Whether it holds something, and as much as is left for all others."""
        return 0 < self._held >= self._budget.free

    def take(self, size: int) -> bool:
        """Take ``size`` bytes if there is room; return whether there was."""
        if self._held + size > self._budget.free:
            return False
        self.take_beyond(size)
        return True

    def take_in_turn(self, who: object, size: int) -> bool:
        """Take bytes, even of what is left for others if nobody else here does so.

        Otherwise many that have a part and lack the rest would wait for each other for ever. A
        holder that was let beyond the share calls ``end_turn``.
        """
        if self.take(size):
            return True
        if self._turn not in (None, who) or size > self._budget.free:
            return False
        self._turn = who
        self.take_beyond(size)
        return True

    def end_turn(self, who: object) -> None:
        """Let another holder go beyond the share. Does nothing if it was not ``who``."""
        if self._turn is who:
            self._turn = None

    def take_beyond(self, size: int) -> None:
        """Take bytes whether there is room or not."""
        self._budget.take_beyond(size)
        self._held += size

    def give_back(self, size: int) -> None:
        """Give back bytes that were taken."""
        self._budget.give_back(size)
        self._held -= size
