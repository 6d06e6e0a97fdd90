"""What the faults of a run cost: a row of a table for each kind. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.faults.checker import check, duplicates
from tests.faults.happenings import Event, Fault, Happenings

LATE = 1.0
"""Seconds from post to receipt beyond which a subscriber that is punctual was not served at full
speed."""

NO_FAULT = "(before the first)"


@dataclass(slots=True)
class Figures:
    """Of one kind of fault, over all its occurrences."""

    fault: str
    runs: int = 0
    events: int = 0
    """Posted from its beginning until the next one's."""
    accepted: int = 0
    lost: int = 0
    other_violations: int = 0
    duplicates: int = 0
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the end of each occurrence to full speed."""

    def add(self, other: "Figures") -> None:
        """Take in what another run has of the same kind."""
        self.runs += other.runs
        self.events += other.events
        self.accepted += other.accepted
        self.lost += other.lost
        self.other_violations += other.other_violations
        self.duplicates += other.duplicates
        self.recoveries += other.recoveries


def figures(run: Happenings) -> dict[str, Figures]:
    """By kind of fault; what was before the first one has a row of its own."""
    rows: dict[str, Figures] = {}

    def row(fault: Fault | None) -> Figures:
        name = NO_FAULT if fault is None else fault.name
        return rows.setdefault(name, Figures(name))

    events: defaultdict[int, list[Event]] = defaultdict(list)
    for event in run.events.values():
        fault = run.fault_at(event.posted_at)
        figures_of_fault = row(fault)
        figures_of_fault.events += 1
        figures_of_fault.accepted += event.is_accepted
        spoilt_by = run.fault_at(event.posted_at + LATE)
        if spoilt_by is not None:
            events[spoilt_by.number].append(event)
    for violation in check(run):
        if violation.rule == "lost":
            row(run.fault_at(violation.at)).lost += 1
        else:
            row(run.fault_at(violation.at)).other_violations += 1
    for _, _, fault in duplicates(run):
        row(fault).duplicates += 1
    for fault in run.faults:
        row(fault).runs += 1
        row(fault).recoveries.append(recovery(run, fault, events[fault.number]))
    return rows


def recovery(run: Happenings, fault: Fault, events: Iterable[Event]) -> float:
    """Seconds from the end of a fault to the end of the last thing that it spoilt.

    Spoilt is an event that was not accepted, or came late to a punctual subscriber.

    Args:
        run: The whole of it.
        fault: Which one.
        events: Those that it may have spoilt: posted from shortly before it began.
    """
    spoilt_until = [
        end
        for event in events
        for end in (
            _receipts_of_late(run, event)
            if event.is_accepted
            else []
            if event.status is None
            else [event.answered_at]
        )
    ]
    return max([0.0, *(end - fault.ended_at for end in spoilt_until)])


def _receipts_of_late(run: Happenings, event: Event) -> list[float]:
    return [
        taken[0].at
        for subscription in run.subscriptions.values()
        if subscription.is_punctual
        and subscription.owes(event)
        and (taken := subscription.taken(event.id))
        and taken[0].at - event.posted_at > LATE
    ]


HEADER = ("fault", "runs", "events", "answered 202", "lost", "other violations", "duplicates")


def table(rows: Iterable[Figures]) -> str:
    """As Markdown, with a line for the sum."""
    ordered = sorted(rows, key=lambda row: row.fault)
    total = Figures("**all**")
    for row in ordered:
        total.add(row)
    lines = [
        [*HEADER, "recovery, s (median)", "(longest)"],
        ["---", *["---:"] * (len(HEADER) + 1)],
        *(_cells(row) for row in (*ordered, total)),
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
