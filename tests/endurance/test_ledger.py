"""The ledger knows what is still to come, and to which subscription."""

import math

import pytest

from tests.endurance.ledger import Ledger
from tests.faults.history import Answered, Entry, Posted, Received, Subscribed, Unwanted, Wanted


class Story:
    """Reports to a ledger what happens, one second after the other."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.now = 0.0

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    def note(self, *entries: Entry) -> "Story":
        for entry in entries:
            self.ledger.add(entry)
        return self

    def subscribe(self, name: str, channel: str = "orders") -> "Story":
        wanted = Wanted(
            at=self.tick(),
            subscription=name,
            channel=channel,
            address=f"a/{name}",
            punctual=True,
            in_order=False,
        )
        return self.note(wanted, Subscribed(at=self.tick(), subscription=name))

    def post(self, event: str, channel: str = "orders") -> "Story":
        return self.note(Posted(at=self.tick(), event=event, channel=channel, dispatcher=0))

    def answer(self, event: str, status: int = 202) -> "Story":
        return self.note(Answered(at=self.tick(), event=event, status=status))

    def receive(self, name: str, event: str, status: int = 200, *, intact: bool = True) -> "Story":
        at = self.tick()
        received = Received(
            at=at,
            event=event,
            subscription=name,
            address=f"a/{name}",
            status=status,
            answered_at=at,
            intact=intact,
        )
        return self.note(received)

    def leave(self, name: str, *, is_owed: bool) -> "Story":
        at = self.tick()
        return self.note(Unwanted(at=at, subscription=name, address=f"a/{name}", is_owed=is_owed))


@pytest.fixture
def story() -> Story:
    return Story(Ledger(absent={"dead"}, timed={"a"}))


def test_what_was_accepted_is_owed_to_each_until_it_is_taken(story: Story) -> None:
    story.subscribe("a").subscribe("b").subscribe("c", channel="bills").post("1").answer("1")
    assert story.ledger.owed() == {"a": {"1"}, "b": {"1"}}
    story.receive("a", "1").receive("b", "1", status=503)
    assert story.ledger.owed() == {"b": {"1"}}
    story.receive("b", "1")
    assert story.ledger.owed() == {}
    assert (story.ledger.accepted, story.ledger.taken, story.ledger.repeated) == (1, 2, 0)


def test_it_may_be_taken_before_its_publisher_is_answered(story: Story) -> None:
    story.subscribe("a").post("1").receive("a", "1").answer("1")
    assert story.ledger.owed() == {}


def test_nothing_is_owed_that_was_refused(story: Story) -> None:
    story.subscribe("a").post("1").answer("1", 503)
    assert story.ledger.owed() == {}
    assert story.ledger.otherwise == {503: 1}


def test_nothing_is_owed_that_was_posted_before_the_subscription(story: Story) -> None:
    story.post("1").subscribe("a").answer("1")
    assert story.ledger.owed() == {}


def test_nothing_is_lost_by_who_is_never_there(story: Story) -> None:
    story.subscribe("dead").post("1").answer("1")
    assert story.ledger.owed() == {}


def test_who_leaves_for_good_is_owed_nothing(story: Story) -> None:
    story.subscribe("a").post("1").answer("1").leave("a", is_owed=False).post("2").answer("2")
    assert story.ledger.owed() == {}
    story.subscribe("a").post("3").answer("3")
    assert story.ledger.owed() == {"a": {"3"}}


def test_who_comes_back_is_owed_all(story: Story) -> None:
    story.subscribe("a").leave("a", is_owed=True).post("1").answer("1").subscribe("a")
    assert story.ledger.owed() == {"a": {"1"}}


def test_what_comes_twice_or_damaged_is_counted(story: Story) -> None:
    story.subscribe("a").post("1").answer("1").receive("a", "1").receive("a", "1", intact=False)
    assert (story.ledger.taken, story.ledger.repeated, story.ledger.damaged) == (1, 1, 1)


def test_delays_are_told_once(story: Story) -> None:
    story.subscribe("a").subscribe("b")
    assert math.isnan(story.ledger.take_delay())
    story.post("1").receive("a", "1").answer("1").post("2").answer("2").receive("a", "2")
    story.receive("b", "1")
    assert story.ledger.take_delay() == 2.0
    assert math.isnan(story.ledger.take_delay())
