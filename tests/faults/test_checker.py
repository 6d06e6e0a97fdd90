"""Each rule catches a history that breaks it, and leaves alone one that does not."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.faults.checker import AFTERMATH, FORGOTTEN, REMEMBERED, UNDER_WAY, Violation, check
from tests.faults.happenings import Happenings
from tests.faults.history import (
    NO_ANSWER,
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

POSTED_AT = 10.0


def wanted(name: str = "mail", channel: str = "orders", at: float = 1.0) -> Wanted:
    return Wanted(
        at=at,
        subscription=name,
        channel=channel,
        address=f"a/{name}",
        punctual=True,
        in_order=False,
    )


def subscribed(name: str = "mail", channel: str = "orders", at: float = 1.0) -> list[Entry]:
    return [wanted(name, channel, at), Subscribed(at=at + 1.0, subscription=name)]


def posted(status: int = 202, at: float = POSTED_AT, *, store: bool = True) -> list[Entry]:
    entries: list[Entry] = [
        Posted(at=at, event="e1", channel="orders", dispatcher=0),
        Answered(at=at + 0.1, event="e1", status=status),
    ]
    return [*entries, Stored(at=99.0, event="e1", channel="orders")] if store else entries


def received(at: float = POSTED_AT + 0.2, status: int = 200, name: str = "mail") -> Received:
    return Received(
        at=at,
        event="e1",
        subscription=name,
        address=f"a/{name}",
        status=status,
        answered_at=at,
        intact=True,
    )


def fault(began: float, ended: float, *, may_double: bool = True) -> list[Entry]:
    return [
        FaultBegan(at=began, fault="kill", number=1, strike=1, may_double=may_double),
        FaultEnded(at=ended, number=1),
    ]


def violations(*entries: Entry) -> list[Violation]:
    return check(Happenings.of(entries))


def rules(*entries: Entry) -> list[str]:
    return [violation.rule for violation in violations(*entries)]


def test_a_run_in_which_all_went_well_breaks_no_rule() -> None:
    assert rules(*subscribed(), *posted(), received()) == []


def test_a_violation_says_what_happened_to_which_event() -> None:
    (violation,) = violations(*subscribed(), *posted(), received(status=503))
    assert str(violation) == "lost: event e1: never taken by mail, whose answers were [503]"


@pytest.mark.parametrize(
    "receipts",
    [[], [received(status=503)], [received(status=NO_ANSWER)], [received(status=404)]],
)
def test_what_was_answered_202_and_never_taken_is_lost(receipts: list[Entry]) -> None:
    assert rules(*subscribed(), *posted(), *receipts) == ["lost"]


def test_each_subscriber_is_owed_the_event() -> None:
    assert rules(*subscribed(), *subscribed("other"), *posted(), received()) == ["lost"]


def test_what_was_refused_first_and_taken_then_is_not_lost() -> None:
    assert rules(*subscribed(), *posted(), received(status=503), received(at=12.0)) == []


@pytest.mark.parametrize("status", [503, 500, 404, NO_ANSWER])
def test_what_was_not_answered_202_may_or_may_not_arrive(status: int) -> None:
    assert rules(*subscribed(), *posted(status, store=False)) == []
    assert rules(*subscribed(), *posted(status), received()) == []


def test_what_was_posted_before_the_durable_was_open_is_not_owed() -> None:
    assert rules(*subscribed(at=9.5), *posted()) == []


def test_what_was_posted_after_it_was_removed_for_good_is_not_owed() -> None:
    gone = Unwanted(at=9.0, subscription="mail", address="a/mail", is_owed=False)
    assert rules(*subscribed(), gone, *posted()) == []


def test_what_had_not_arrived_when_it_was_removed_for_good_is_not_owed() -> None:
    gone = Unwanted(at=10.5, subscription="mail", address="a/mail", is_owed=False)
    assert rules(*subscribed(), *posted(), gone) == []


def test_what_was_posted_while_it_was_away_for_a_moment_is_owed() -> None:
    away = Unwanted(at=9.0, subscription="mail", address="a/mail", is_owed=True)
    removed = Removed(at=9.5, subscription="mail", address="a/mail")
    back = subscribed(at=12.0)
    assert rules(*subscribed(), away, removed, *posted(), *back) == ["lost"]
    assert rules(*subscribed(), away, removed, *posted(), *back, received(at=12.5)) == []


def test_a_subscription_that_was_made_anew_owes_from_then_on() -> None:
    gone = Unwanted(at=3.0, subscription="mail", address="a/mail", is_owed=False)
    removed = Removed(at=4.0, subscription="mail", address="a/mail")
    again = subscribed(at=12.0)
    assert rules(*subscribed(), gone, removed, *again, *posted()) == []
    assert rules(*subscribed(), gone, removed, *again, *posted(at=14.0)) == ["lost"]


def test_what_was_stored_before_the_store_was_wiped_is_not_owed() -> None:
    assert rules(*subscribed(), *posted(store=False), Wiped(at=10.2)) == []
    assert rules(*subscribed(), Wiped(at=9.9), *posted(store=False)) == ["lost", "not stored"]


def test_an_answer_202_without_a_stored_event_is_told() -> None:
    assert rules(*subscribed(), *posted(store=False), received()) == ["not stored"]
    elsewhere = Stored(at=99.0, event="e1", channel="bills")
    assert rules(*subscribed(), *posted(store=False), elsewhere, received()) == ["not stored"]


def test_what_comes_to_a_removed_address_is_told() -> None:
    removed = Removed(at=11.0, subscription="mail", address="a/mail")
    late = received(at=11.0 + UNDER_WAY + 0.1)
    run = [*subscribed(), *posted(), received()]
    assert rules(*run, removed, late, *fault(10.0, 12.0)) == ["after removal"]


def test_what_was_under_way_at_the_removal_may_arrive() -> None:
    removed = Removed(at=11.0, subscription="mail", address="a/mail")
    late = received(at=11.0 + UNDER_WAY - 0.1)
    assert rules(*subscribed(), *posted(), removed, late) == []


def test_what_comes_to_an_address_that_was_never_wanted_is_told() -> None:
    strange = replace(received(), address="b/mail")
    assert rules(*subscribed(), *posted(), strange) == ["after removal"]


def test_what_comes_after_it_was_wanted_again_is_right() -> None:
    removed = Removed(at=5.0, subscription="mail", address="a/mail")
    assert rules(*subscribed(), removed, *subscribed(at=8.0), *posted(), received()) == []


def test_an_event_of_another_channel_is_told() -> None:
    run = [*subscribed(), *subscribed("audit", channel="bills"), *posted(), received()]
    assert rules(*run, received(name="audit")) == ["crossed"]


def test_an_event_that_nobody_posted_is_told() -> None:
    assert rules(*subscribed(), received()) == ["crossed"]


def test_an_event_that_was_changed_on_its_way_is_told() -> None:
    assert rules(*subscribed(), *posted(), replace(received(), intact=False)) == ["crossed"]


def twice(again: float) -> Iterable[Entry]:
    return [*subscribed(), *posted(), received(at=11.0), received(at=again)]


def test_a_duplicate_without_a_fault_is_told() -> None:
    assert rules(*twice(12.0)) == ["unexplained duplicate"]


def test_a_duplicate_with_a_fault_between_is_explained() -> None:
    assert rules(*twice(12.0), *fault(11.5, 11.8)) == []


def test_a_fault_that_does_not_excuse_duplicates_explains_none() -> None:
    harmless = fault(11.5, 11.8, may_double=False)
    assert rules(*twice(12.0), *harmless) == ["unexplained duplicate"]


def test_a_fault_that_has_just_ended_explains_a_duplicate() -> None:
    assert rules(*twice(12.0), *fault(4.0, 11.0 - AFTERMATH + 0.1)) == []
    assert rules(*twice(12.0), *fault(5.0, 11.0 - AFTERMATH - 0.1)) == ["unexplained duplicate"]


def test_a_fault_long_after_an_event_was_taken_does_not_explain_that_it_comes_again() -> None:
    late = 11.0 + REMEMBERED
    assert rules(*twice(late + 2.0), *fault(late - 0.1, late + 1.0)) == []
    assert rules(*twice(late + 2.0), *fault(late + 0.1, late + 1.0)) == ["unexplained duplicate"]


def test_a_fault_that_begins_later_explains_nothing() -> None:
    assert rules(*twice(12.0), *fault(12.1, 13.0)) == ["unexplained duplicate"]


def test_an_attempt_that_failed_is_no_duplicate() -> None:
    assert rules(*subscribed(), *posted(), received(status=503), received(at=12.0)) == []


def test_an_event_that_was_overtaken_is_told_where_order_is_promised() -> None:
    run: list[Entry] = [Subscribed(at=2.0, subscription="mail")]
    for place, (event, at) in enumerate([("e1", 10.2), ("e2", 12.0), ("e3", 11.0)]):
        run += [
            Posted(at=10.0, event=event, channel="orders", dispatcher=0),
            Answered(at=10.1, event=event, status=202),
            Stored(at=99.0 + place, event=event, channel="orders"),
            replace(received(at=at), event=event),
        ]
    assert rules(wanted(), *run) == []
    (overtaken,) = violations(replace(wanted(), in_order=True), *run)
    assert str(overtaken) == "out of order: event e2: taken by mail after e3, which is stored later"


def overtaken(dispatchers: int, *others: Entry) -> list[Entry]:
    """Two events in a channel with order, the first of which is taken last."""
    run: list[Entry] = [*others, Subscribed(at=2.0, subscription="mail")]
    for place, (event, at) in enumerate([("e1", 12.0), ("e2", 11.0)]):
        run += [
            Posted(at=10.0, event=event, channel="orders", dispatcher=place % dispatchers),
            Answered(at=10.1, event=event, status=202),
            Stored(at=99.0 + place, event=event, channel="orders"),
            replace(received(at=at), event=event),
        ]
    return run


def made_anew(removed: float, again: float) -> list[Entry]:
    first, second = replace(wanted(), in_order=True), replace(wanted(at=again), in_order=True)
    gone = Removed(at=removed, subscription="mail", address="a/mail")
    return [first, gone, second]


def test_two_dispatchers_without_a_common_record_may_overtake_after_one_was_made_anew() -> None:
    fault_on = fault(9.0, 13.0)
    assert rules(*overtaken(2, *made_anew(3.0, 4.0), *fault_on)) == []
    assert rules(*overtaken(1, *made_anew(3.0, 4.0), *fault_on)) == ["out of order"]
    assert rules(*overtaken(2, *made_anew(3.0, 4.0))) == ["out of order"], "none took over"
    never = replace(wanted(), in_order=True)
    assert rules(*overtaken(2, never, *fault_on)) == ["out of order"]


def test_who_is_subscribed_anew_may_get_what_a_clock_that_was_ahead_has_stamped() -> None:
    step = [
        FaultBegan(at=9.0, fault="server clock: steps", number=1, strike=1, may_double=False),
        FaultEnded(at=10.5, number=1),
    ]

    def run(removed: float, again: float) -> list[Entry]:
        first, gone, second = made_anew(removed, again)
        events = [*subscribed()[1:], *posted(), received(at=11.0), received(at=again + 1.0)]
        return [first, gone, second, *events]

    assert rules(*run(20.0, 20.0 + FORGOTTEN), *step) == []
    within_the_grace = run(20.0, 19.0 + FORGOTTEN)
    assert rules(*within_the_grace, *step) == ["unexplained duplicate"]
    assert rules(*run(20.0, 20.0 + FORGOTTEN)) == ["unexplained duplicate"]


def test_a_copy_that_comes_late_is_not_out_of_order() -> None:
    run: list[Entry] = [Subscribed(at=2.0, subscription="mail"), *fault(10.5, 13.0)]
    for place, (event, at) in enumerate([("e1", 10.2), ("e2", 11.0), ("e1", 12.0)]):
        run += [
            Posted(at=10.0, event=event, channel="orders", dispatcher=0),
            Answered(at=10.1, event=event, status=202),
            Stored(at=99.0 + place % 2, event=event, channel="orders"),
            replace(received(at=at), event=event),
        ]
    assert rules(replace(wanted(), in_order=True), *run) == []
