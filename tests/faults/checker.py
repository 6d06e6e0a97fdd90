"""Judges a run by its history: one pure function for each rule of the promise.

A rule yields what breaks it. ``tests.faults.figures`` says how long recovery took and what belongs
to which fault.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.happenings import Fault, Happenings, Subscription
from tests.faults.history import Received

UNDER_WAY = 2.0
"""Seconds that a request may be on its way to a subscriber before it is complete there."""

AFTERMATH = 5.0
"""Seconds after a fault in which connections are still being restored."""


REMEMBERED = 10.0
"""Seconds after which the server knows that an event was accepted, two ack waits: a later failure
does not excuse that it is delivered again.
"""


FORGOTTEN = 19.0
"""Seconds without a subscription after which its durable is gone; the next one is a new one."""

SERVER_CLOCK = "server clock:"
"""The beginning of the names of faults that step the server's clock."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken by one event."""

    rule: str
    event: str
    at: float
    """When the event was posted or, if it should not have arrived, received."""
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: event {self.event}: {self.text}"


Rule = Callable[[Happenings], Iterator[Violation]]


def lost(run: Happenings) -> Iterator[Violation]:
    """Yield what was answered 202 and never accepted by a subscriber of that time."""
    for event in run.events.values():
        if not run.counts(event):
            continue
        for subscription in run.subscriptions.values():
            if not subscription.owes(event) or subscription.taken(event.id):
                continue
            refused = [receipt.status for receipt in subscription.receipts.get(event.id, ())]
            text = f"never taken by {subscription.name}, whose answers were {refused or 'none'}"
            yield Violation("lost", event.id, event.posted_at, text)


def not_stored(run: Happenings) -> Iterator[Violation]:
    """Yield what was answered 202 and is missing in the store."""
    for event in run.events.values():
        if run.counts(event) and (event.channel, event.id) not in run.stored:
            text = f"answered 202 and not in the store of {event.channel}"
            yield Violation("not stored", event.id, event.posted_at, text)


def after_removal(run: Happenings) -> Iterator[Violation]:
    """Yield what was received at an address that the subscription does not have (any more)."""
    for subscription in run.subscriptions.values():
        for receipts in subscription.receipts.values():
            for receipt in receipts:
                periods = subscription.wanted.get(receipt.address, ())
                if not any(p.begin <= receipt.at < p.end + UNDER_WAY for p in periods):
                    text = f"received by {subscription.name} at {receipt.address}, not wanted there"
                    yield Violation("after removal", receipt.event, receipt.at, text)


def crossed(run: Happenings) -> Iterator[Violation]:
    """Yield what was received from another channel, never posted, or not as it was posted."""
    for subscription in run.subscriptions.values():
        for id_, receipts in subscription.receipts.items():
            event = run.events.get(id_)
            for receipt in receipts:
                if event is None:
                    text = f"received by {subscription.name}, posted by nobody"
                elif event.channel != subscription.channel:
                    text = f"of {event.channel}, received by {subscription.name}"
                elif not receipt.intact:
                    text = f"received by {subscription.name} with other headers or another body"
                else:
                    continue
                yield Violation("crossed", id_, receipt.at, text)


def unexplained_duplicates(run: Happenings) -> Iterator[Violation]:
    """Yield what was accepted more than once without a fault in between that would excuse it."""
    for subscription, duplicate, fault in duplicates(run):
        if fault is None:
            text = f"taken again by {subscription}, and no fault explains it"
            yield Violation("unexplained duplicate", duplicate.event, duplicate.at, text)


def out_of_order(run: Happenings) -> Iterator[Violation]:
    """Yield what was first accepted after an event that is stored later, where order counts."""
    for subscription in run.subscriptions.values():
        if not subscription.is_in_order:
            continue
        firsts = [taken[0] for id_ in subscription.receipts if (taken := subscription.taken(id_))]
        places = [
            (run.stored[subscription.channel, receipt.event], receipt)
            for receipt in sorted(firsts, key=lambda receipt: receipt.at)
            if (subscription.channel, receipt.event) in run.stored
        ]
        for (place, earlier), (next_place, later) in itertools.pairwise(places):
            if next_place < place and not _is_unknown_to_the_other(run, subscription, later):
                text = f"taken by {subscription.name} after {earlier.event}, which is stored later"
                yield Violation("out of order", later.event, later.at, text)


RULES: tuple[Rule, ...] = (
    lost,
    not_stored,
    after_removal,
    crossed,
    unexplained_duplicates,
    out_of_order,
)


def check(run: Happenings) -> list[Violation]:
    """Return what breaks any rule."""
    return [violation for rule in RULES for violation in rule(run)]


def duplicates(run: Happenings) -> Iterator[tuple[str, Received, Fault | None]]:
    """Yield what was accepted more than once: by which subscription, and the fault to explain it.

    That is the last fault which may double and was on, or had just ended, between the time before
    and this one. If it began long after the time before, it explains nothing.
    """
    for subscription in run.subscriptions.values():
        for id_ in subscription.receipts:
            taken = subscription.taken(id_)
            for before, again in itertools.pairwise(taken):
                fault = _explanation(run, before, again) or _step(run, subscription, before, again)
                yield subscription.name, again, fault


def _explanation(run: Happenings, before: Received, again: Received) -> Fault | None:
    for fault in reversed(run.faults):
        if not fault.may_double:
            continue
        is_between = fault.began_at <= again.at and fault.ended_at + AFTERMATH >= before.at
        if is_between and fault.began_at <= before.at + REMEMBERED:
            return fault
    return None


def _step(
    run: Happenings, subscription: Subscription, before: Received, again: Received
) -> Fault | None:
    """Return a server clock that was ahead, if it excuses a new subscription made long after.

    What was stored then seems to be stored after it was made, and so it gets that as well.
    """
    is_new = any(
        before.at <= period.begin and period.end <= again.at
        for period in subscription.renewals()
        if period.end - period.begin >= FORGOTTEN
    )
    posted_at = run.events[again.event].posted_at if again.event in run.events else before.at
    for fault in run.faults if is_new else ():
        is_on = fault.began_at <= posted_at <= fault.ended_at + AFTERMATH
        if fault.name.startswith(SERVER_CLOCK) and is_on:
            return fault
    return None


def _is_unknown_to_the_other(
    run: Happenings, subscription: Subscription, overtaken: Received
) -> bool:
    """Return whether a dispatcher took over without the other's record of a subscription.

    Two that run from files share none. A subscription that was created anew may then get new events
    first.
    """
    is_made_anew = any(period.end <= overtaken.at for period in subscription.renewals())
    may_have_taken_over = any(
        fault.may_double and fault.began_at <= overtaken.at <= fault.ended_at + AFTERMATH
        for fault in run.faults
    )
    return len(run.dispatchers) > 1 and is_made_anew and may_have_taken_over
