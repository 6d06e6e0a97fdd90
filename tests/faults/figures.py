"""What the faults of a run cost: a row of a table for each kind. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.faults.checker import check, duplicates
from tests.faults.happenings import Event, Fault, Happenings

LATE = 1.0
"""Seconds from post to receipt beyond which a punctual subscriber was not served at full speed."""

GOOD_SECOND = 1.0
"""What is affected after so many seconds at full speed has other reasons."""

NO_FAULT = "(before the first)"
ALL = "**all**"
_NONE = Fault(NO_FAULT, 0, 0, may_double=False, began_at=0.0)


@dataclass(slots=True)
class Figures:
    """The figures of one kind of fault, over all its occurrences."""

    fault: str
    runs: int = 0
    events: int = 0
    """Posted from its beginning until that of the next strike."""
    accepted: int = 0
    lost: int = 0
    other_violations: int = 0
    duplicates: int = 0
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the end of each occurrence to full speed."""

    def add(self, other: "Figures") -> None:
        """Add what another run has of the same kind."""
        self.runs += other.runs
        self.events += other.events
        self.accepted += other.accepted
        self.lost += other.lost
        self.other_violations += other.other_violations
        self.duplicates += other.duplicates
        self.recoveries += other.recoveries


def figures(run: Happenings) -> dict[str, Figures]:
    """Return the figures by kind of fault; faults of one strike share the effects.

    ``ALL`` counts everything once.
    """
    rows: dict[str, Figures] = {}

    def rows_of(strike: Sequence[Fault]) -> Iterator[Figures]:
        for name in (*(fault.name for fault in strike or (_NONE,)), ALL):
            yield rows.setdefault(name, Figures(name))

    events: defaultdict[Sequence[Fault], list[Event]] = defaultdict(list)
    for event in run.events.values():
        events[run.strike_at(event.posted_at + LATE)].append(event)
        for row in rows_of(run.strike_at(event.posted_at)):
            row.events += 1
            row.accepted += event.is_accepted
    for violation in check(run):
        for row in rows_of(run.strike_at(violation.at)):
            row.lost += violation.rule == "lost"
            row.other_violations += violation.rule != "lost"
    for _, _, fault in duplicates(run):
        for row in rows_of(() if fault is None else run.strike_at(fault.began_at)):
            row.duplicates += 1
    for strike in run.strikes:
        seconds = recovery(run, strike, events[strike])
        for row in rows_of(strike):
            row.runs += 1
            row.recoveries.append(seconds)
    return rows


def recovery(run: Happenings, strike: Sequence[Fault], events: Iterable[Event]) -> float:
    """Return the seconds from the end of a strike until all has arrived and a good second begins.

    All is every spoilt event: one that was not accepted, or came late to a punctual subscriber.

    Args:
        run: The whole of it.
        strike: Faults at the same time.
        events: Those that it may have spoilt: posted from shortly before it began.
    """
    ended_at = max(fault.ended_at for fault in strike)
    spoilt = sorted((event.posted_at, end) for event in events for end in _spoilt_until(run, event))
    recovered_at = ended_at
    for posted_at, end in spoilt:
        if posted_at < recovered_at + GOOD_SECOND:
            recovered_at = max(recovered_at, end)
    return recovered_at - ended_at


def _spoilt_until(run: Happenings, event: Event) -> Iterator[float]:
    """Yield when it was refused, or when it arrived at each subscriber that got it late."""
    if event.status is not None and not event.is_accepted:
        yield event.answered_at
        return
    for subscription in run.subscriptions.values():
        if not (subscription.is_punctual and subscription.owes(event)):
            continue
        taken = subscription.taken(event.id)
        if taken and taken[0].at - event.posted_at > LATE:
            yield taken[0].at


HEADER = ("fault", "runs", "events", "answered 202", "lost", "other violations", "duplicates")


def table(rows: Iterable[Figures]) -> str:
    """Return a Markdown table; a row for each kind, and last the one for all."""
    lines = [
        [*HEADER, "recovery, s (median)", "(longest)"],
        ["---", *["---:"] * (len(HEADER) + 1)],
        *(_cells(row) for row in sorted(rows, key=lambda row: (row.fault == ALL, row.fault))),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: Figures) -> Sequence[str]:
    counts = (row.runs, row.events, row.accepted, row.lost, row.other_violations, row.duplicates)
    times = (
        [f"{median(row.recoveries):.1f}", f"{max(row.recoveries):.1f}"]
        if row.recoveries
        else ["", ""]
    )
    return [row.fault, *map(str, counts), *times]
