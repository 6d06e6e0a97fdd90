"""Who still has to get what: a judge for runs of hours, which keeps only what is not settled.

The rules are those of ``tests.faults.checker`` for what is lost. The others need the whole history
of a run; here are only counts of what they would find most often.
"""

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from math import ceil, inf

from tests.faults.history import (
    Answered,
    Entry,
    Posted,
    Received,
    Subscribed,
    Unwanted,
    Wanted,
)

_REMEMBERED = 5000
"""Events that a subscriber took last, by which those that come twice are known: more than come to
one within many ack waits."""


@dataclass(slots=True)
class Account:
    """Of one subscription. Events are known by their ids."""

    channel: str
    owed_from: float = inf
    """What is posted from then on (monotonic seconds) has to arrive."""
    owed: dict[str, float] = field(default_factory=dict)
    """Accepted and not taken yet, and when it was posted."""
    taken: int = 0
    repeated: int = 0
    """Taken once more."""
    _last: deque[str] = field(default_factory=deque)
    _recent: set[str] = field(default_factory=set)

    def has_taken(self, event: str) -> bool:
        """Whether it is among those that were taken last."""
        return event in self._recent

    def take(self, event: str) -> None:
        if event in self._recent:
            self.repeated += 1
            return
        self.taken += 1
        self.owed.pop(event, None)
        self._recent.add(event)
        self._last.append(event)
        if len(self._last) > _REMEMBERED:
            self._recent.discard(self._last.popleft())

    def end(self) -> None:
        """Nothing is owed any more."""
        self.owed_from = inf
        self.owed.clear()


class Ledger:
    """Follows a run from the entries of its history.

    Args:
        absent: Subscriptions whose subscriber is never there: nothing is lost if it gets nothing.
        timed: Subscriptions of which it is told how long events take to them.

    Attributes:
        accepted: Events answered 202.
        otherwise: Other answers, by status; 0 for none.
        damaged: Receipts of an event that is not as it was posted.
    """

    def __init__(self, absent: Collection[str] = (), timed: Collection[str] = ()) -> None:
        self.accepted = 0
        self.otherwise: Counter[int] = Counter()
        self.damaged = 0
        self._absent = absent
        self._timed = timed
        self._posted: dict[str, Posted] = {}
        """Not answered yet."""
        self._accounts: dict[str, Account] = {}
        self._delays: list[float] = []

    @property
    def taken(self) -> int:
        """Events times subscribers that took them."""
        return sum(account.taken for account in self._accounts.values())

    @property
    def repeated(self) -> int:
        """What a subscriber took that it had taken not long before."""
        return sum(account.repeated for account in self._accounts.values())

    def owed(self) -> dict[str, set[str]]:
        """Events that were accepted and are still to come, by subscription; no empty ones."""
        accounts = self._accounts.items()
        return {name: set(account.owed) for name, account in accounts if account.owed}

    def take_delay(self) -> float:
        """The 99th percentile of the seconds from post to receipt since the last call.

        Of the subscriptions that are timed; nan if they got nothing.
        """
        delays, self._delays = sorted(self._delays), []
        return delays[ceil(0.99 * len(delays)) - 1] if delays else float("nan")

    def add(self, entry: Entry) -> None:
        """One more, which is later than all before."""
        match entry:
            case Posted():
                self._posted[entry.event] = entry
            case Answered():
                self._answer(self._posted.pop(entry.event), entry.status)
            case Received():
                self._receive(entry)
            case Wanted():
                self._accounts.setdefault(entry.subscription, Account(entry.channel))
            case Subscribed() if entry.subscription not in self._absent:
                account = self._accounts[entry.subscription]
                account.owed_from = min(account.owed_from, entry.at)
            case Unwanted(is_owed=False):
                self._accounts[entry.subscription].end()
            case _:
                pass

    def _answer(self, posted: Posted, status: int) -> None:
        if status != 202:
            self.otherwise[status] += 1
            return
        self.accepted += 1
        for account in self._accounts.values():
            is_owed = account.channel == posted.channel and posted.at >= account.owed_from
            if is_owed and not account.has_taken(posted.event):
                account.owed[posted.event] = posted.at

    def _receive(self, receipt: Received) -> None:
        self.damaged += not receipt.intact
        if not 200 <= receipt.status < 300:
            return
        account = self._accounts[receipt.subscription]
        if receipt.subscription in self._timed:
            posted = self._posted.get(receipt.event)
            posted_at = account.owed.get(receipt.event) if posted is None else posted.at
            if posted_at is not None:
                self._delays.append(receipt.at - posted_at)
        account.take(receipt.event)
