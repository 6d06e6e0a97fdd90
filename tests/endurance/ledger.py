"""What is still owed to whom: a judge for runs of hours, which keeps only what is not settled.

For losses the rules are those of ``tests.faults.checker``. The others need the whole history of a
run; this module has only counts of what they would find most often.
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
"""The latest events that a subscriber accepted, by which duplicates are recognised: more than
arrive at one within many ack waits.
"""


@dataclass(slots=True)
class Account:
    """The account of one subscription. Events are known by their ids."""

    channel: str
    owed_from: float = inf
    """What is posted from then on (monotonic seconds) has to arrive."""
    owed: dict[str, float] = field(default_factory=dict)
    """Accepted from the publisher and not yet by the subscriber, and when it was posted."""
    taken: int = 0
    repeated: int = 0
    """Accepted again."""
    _last: deque[str] = field(default_factory=deque)
    _recent: set[str] = field(default_factory=set)

    def has_taken(self, event: str) -> bool:
        """Return whether it is among the latest accepted events."""
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
        """Owe nothing any more."""
        self.owed_from = inf
        self.owed.clear()


class Ledger:
    """Follows a run from the entries of its history.

    Args:
        absent: Subscriptions whose subscriber is never there: what it does not receive is not lost.
        timed: Subscriptions whose delays are measured.

    Attributes:
        accepted: Events answered 202.
        otherwise: Other answers, by status; 0 for none.
        damaged: Receipts of events that differ from what was posted.
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
        """Number of events times the subscribers that accepted them."""
        return sum(account.taken for account in self._accounts.values())

    @property
    def repeated(self) -> int:
        """Number of duplicates that a subscriber accepted shortly after the first."""
        return sum(account.repeated for account in self._accounts.values())

    def owed(self) -> dict[str, set[str]]:
        """Return accepted events that are still to come, by subscription; no empty ones."""
        accounts = self._accounts.items()
        return {name: set(account.owed) for name, account in accounts if account.owed}

    def take_delay(self) -> float:
        """Return the 99th percentile of the seconds from post to receipt since the last call.

        For the timed subscriptions; nan if they received nothing.
        """
        delays, self._delays = sorted(self._delays), []
        return delays[ceil(0.99 * len(delays)) - 1] if delays else float("nan")

    def add(self, entry: Entry) -> None:
        """Take one more entry, which is later than all before."""
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
