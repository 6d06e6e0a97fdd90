"""What a fault has cost is counted for the right fault."""

import pytest

from tests.faults.figures import ALL, HEADER, LATE, NO_FAULT, Figures, figures, table
from tests.faults.happenings import Happenings
from tests.faults.history import (
    Answered,
    Entry,
    FaultBegan,
    FaultEnded,
    Posted,
    Received,
    Stored,
    Subscribed,
    Wanted,
)


def subscribed(name: str = "mail", *, punctual: bool = True) -> list[Entry]:
    return [
        Wanted(
            at=0.0,
            subscription=name,
            channel="orders",
            address=f"a/{name}",
            punctual=punctual,
            in_order=False,
        ),
        Subscribed(at=0.5, subscription=name),
    ]


def event(id_: str, at: float, *receipts: float, status: int = 202) -> list[Entry]:
    """Return an event posted at a time, answered 0.1 s later, and received at these times."""
    return [
        Posted(at=at, event=id_, channel="orders", dispatcher=0),
        Answered(at=at + 0.1, event=id_, status=status),
        Stored(at=99.0, event=id_, channel="orders"),
        *(
            Received(
                at=receipt,
                event=id_,
                subscription="mail",
                address="a/mail",
                status=200,
                answered_at=receipt,
                intact=True,
            )
            for receipt in receipts
        ),
    ]


def fault(
    name: str, number: int, began: float, ended: float, strike: int | None = None
) -> list[Entry]:
    return [
        FaultBegan(at=began, fault=name, number=number, strike=strike or number, may_double=True),
        FaultEnded(at=ended, number=number),
    ]


def of(*entries: Entry) -> dict[str, Figures]:
    return figures(Happenings.of([*subscribed(), *entries]))


def test_events_belong_to_the_fault_that_began_last() -> None:
    rows = of(
        *event("e1", 5.0, 5.1),
        *fault("cut", 1, 10.0, 11.0),
        *event("e2", 10.5, status=503),
        *event("e3", 15.0, 15.1),
        *fault("kill", 2, 20.0, 21.0),
        *event("e4", 20.5),
    )
    assert {row.fault: (row.runs, row.events, row.accepted, row.lost) for row in rows.values()} == {
        NO_FAULT: (0, 1, 1, 0),
        "cut": (1, 2, 1, 0),
        "kill": (1, 1, 1, 1),
        ALL: (2, 4, 3, 1),
    }


def test_faults_at_once_share_what_came_of_them_and_it_counts_once() -> None:
    rows = of(
        *fault("cut", 1, 10.0, 11.0, strike=1),
        *fault("kill", 2, 10.1, 12.0, strike=1),
        *event("e1", 10.5, 14.5),
        *event("e2", 15.0),
    )
    assert {row.fault: (row.runs, row.events, row.lost) for row in rows.values()} == {
        "cut": (1, 2, 1),
        "kill": (1, 2, 1),
        ALL: (1, 2, 1),
    }
    assert rows["cut"].recoveries == rows["kill"].recoveries == [pytest.approx(2.5)]


def test_duplicates_belong_to_the_fault_that_explains_them() -> None:
    rows = of(
        *fault("cut", 1, 10.0, 11.0),
        *event("e1", 10.5, 10.6, 12.0, 13.0),
        *fault("kill", 2, 30.0, 31.0),
        *event("e2", 29.0, 29.5, 31.0),
    )
    assert (rows["cut"].duplicates, rows["kill"].duplicates) == (2, 1)


def test_recovery_ends_with_the_last_late_event() -> None:
    rows = of(
        *fault("cut", 1, 10.0, 11.0),
        *event("e1", 10.5, 14.5),
        *event("e2", 13.0, 13.5),
        *event("e3", 16.0, 16.0 + LATE - 0.1),
    )
    assert rows["cut"].recoveries == [pytest.approx(3.5)]


def test_what_is_late_after_a_good_second_is_no_part_of_recovery() -> None:
    rows = of(
        *fault("cut", 1, 10.0, 11.0),
        *event("e1", 10.5, 12.0),
        *event("e2", 13.1, 15.0),
    )
    assert rows["cut"].recoveries == [pytest.approx(1.0)]


def test_recovery_ends_with_the_last_refusal() -> None:
    rows = of(
        *fault("cut", 1, 10.0, 11.0),
        *event("e1", 11.8, status=503),
        *event("e2", 13.0, 13.5),
    )
    assert rows["cut"].recoveries == [pytest.approx(0.9)]


def test_what_the_next_fault_spoilt_is_no_recovery_of_this_one() -> None:
    rows = of(
        *fault("cut", 1, 10.0, 11.0),
        *event("e1", 19.9, 24.0),
        *fault("kill", 2, 20.0, 23.5),
    )
    assert rows["cut"].recoveries == [0.0]
    assert rows["kill"].recoveries == [pytest.approx(0.5)]


def test_a_fault_that_nobody_notices_needs_no_recovery() -> None:
    assert of(*fault("cut", 1, 10.0, 11.0), *event("e1", 10.5, 10.6))["cut"].recoveries == [0.0]


def test_a_subscriber_that_is_slow_by_nature_tells_nothing_about_recovery() -> None:
    slow = subscribed("slow", punctual=False)
    late = Received(
        at=19.0,
        event="e1",
        subscription="slow",
        address="a/slow",
        status=200,
        answered_at=19.0,
        intact=True,
    )
    rows = of(*slow, *fault("cut", 1, 10.0, 11.0), *event("e1", 10.5, 10.6), late)
    assert rows["cut"].recoveries == [0.0]


def test_the_table_has_a_row_for_each_kind_and_one_for_all() -> None:
    rows = of(
        *fault("kill", 1, 10.0, 11.0),
        *event("e1", 10.5, 14.5),
        *fault("kill", 2, 20.0, 21.0),
        *fault("cut", 3, 30.0, 31.0),
        *event("e2", 30.5, 30.7),
    )
    assert table(rows.values()).splitlines() == [
        f"| {' | '.join(HEADER)} | recovery, s (median) | (longest) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| cut | 1 | 1 | 1 | 0 | 0 | 0 | 0.0 | 0.0 |",
        "| kill | 2 | 1 | 1 | 0 | 0 | 0 | 1.8 | 3.5 |",
        "| **all** | 3 | 2 | 2 | 0 | 0 | 0 | 0.0 | 3.5 |",
    ]
