"""A history put in order: by event, by subscription, by fault. It judges nothing."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

from tests.faults.history import (
    Answered,
    Entry,
    FaultBegan,
    FaultEnded,
    Posted,
    Received,
    Removed,
    Stored,
    Subscribed,
    Unwanted,
    Wanted,
    Wiped,
)


@dataclass(slots=True)
class Event:
    """A posted event. Times are monotonic seconds."""

    id: str
    channel: str
    posted_at: float
    status: int | None = None
    """That of the answer to its publisher; None while there is none."""
    answered_at: float = inf

    @property
    def is_accepted(self) -> bool:
        return self.status == 202


@dataclass(slots=True)
class Period:
    """A period whose end is open until it is known."""

    begin: float
    end: float = inf


@dataclass(slots=True)
class Subscription:
    """What was wanted of a subscription during the run."""

    name: str
    channel: str
    is_punctual: bool
    is_in_order: bool
    owed_from: float = inf
    """What is posted from then on has to arrive."""
    wanted: defaultdict[str, list[Period]] = field(default_factory=lambda: defaultdict(list))
    """When events may arrive, by address."""
    receipts: defaultdict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))
    """Receipts by event, in order."""

    def taken(self, event: str) -> list[Received]:
        """Return those receipts of an event that the subscriber answered with success."""
        return [each for each in self.receipts.get(event, ()) if 200 <= each.status < 300]

    def renewals(self) -> Iterator[Period]:
        """Yield the time from each end of being wanted to the next beginning."""
        every = (period for periods in self.wanted.values() for period in periods)
        for before, after in itertools.pairwise(sorted(every, key=lambda each: each.begin)):
            yield Period(before.end, after.begin)

    def owes(self, event: Event) -> bool:
        """Return whether the event has to arrive, as far as its channel and time of posting say."""
        return event.channel == self.channel and event.posted_at >= self.owed_from


@dataclass(slots=True, eq=False)
class Fault:
    """Something that was broken on purpose."""

    name: str
    number: int
    strike: int
    """Faults at the same time have the same strike."""
    may_double: bool
    """Whether it excuses duplicates."""
    began_at: float
    ended_at: float = inf


@dataclass(slots=True)
class Happenings:
    """A whole run."""

    events: dict[str, Event] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    """In the order in which they began."""
    stored: dict[tuple[str, str], int] = field(default_factory=dict)
    """Channel and event, and the place of the event in the store."""
    dispatchers: set[int] = field(default_factory=set)
    """Those that were posted to."""
    wiped_at: float = -inf
    """What was posted before was lost with the store, which breaks no promise."""

    @classmethod
    def of(cls, history: Iterable[Entry]) -> "Happenings":
        """Return all of a history, in any order."""
        found = cls()
        for entry in sorted(history, key=lambda entry: entry.at):
            found.take(entry)
        return found

    def counts(self, event: Event) -> bool:
        """Return whether the promise holds for the event: it was accepted, its store not wiped."""
        return event.is_accepted and event.posted_at >= self.wiped_at

    @property
    def strikes(self) -> list[tuple[Fault, ...]]:
        """Faults that began together, in order."""
        by_strike = itertools.groupby(self.faults, key=lambda fault: fault.strike)
        return [tuple(faults) for _, faults in by_strike]

    def strike_at(self, at: float) -> tuple[Fault, ...]:
        """Return the strike that had begun last; an empty one before the first."""
        last = next((fault for fault in reversed(self.faults) if fault.began_at <= at), None)
        return tuple(fault for fault in self.faults if last and fault.strike == last.strike)

    def take(self, entry: Entry) -> None:
        """Take one more entry, which is later than all before."""
        match entry:
            case Posted():
                self.events[entry.event] = Event(entry.event, entry.channel, entry.at)
                self.dispatchers.add(entry.dispatcher)
            case Answered():
                self.events[entry.event].status = entry.status
                self.events[entry.event].answered_at = entry.at
            case Received():
                subscription = self.subscriptions[entry.subscription]
                subscription.receipts[entry.event].append(entry)
            case Stored():
                self.stored.setdefault((entry.channel, entry.event), len(self.stored))
            case Wiped():
                self.wiped_at = entry.at
            case FaultBegan():
                self.faults.append(
                    Fault(entry.fault, entry.number, entry.strike, entry.may_double, entry.at)
                )
            case FaultEnded():
                fault = next(each for each in self.faults if each.number == entry.number)
                fault.ended_at = entry.at
            case _:
                self._take_desired(entry)

    def _take_desired(self, entry: Entry) -> None:
        match entry:
            case Wanted():
                subscription = self.subscriptions.setdefault(
                    entry.subscription,
                    Subscription(entry.subscription, entry.channel, entry.punctual, entry.in_order),
                )
                subscription.wanted[entry.address].append(Period(entry.at))
            case Subscribed():
                subscription = self.subscriptions[entry.subscription]
                subscription.owed_from = min(subscription.owed_from, entry.at)
            case Unwanted(is_owed=False):
                self.subscriptions[entry.subscription].owed_from = inf
            case Removed():
                for period in self.subscriptions[entry.subscription].wanted[entry.address]:
                    period.end = min(period.end, entry.at)
            case _:
                pass
