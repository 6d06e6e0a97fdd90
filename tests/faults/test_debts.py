"""What has still to arrive is known at every moment of a run."""

import time
from pathlib import Path

from tests.faults.debts import Debts
from tests.faults.history import Answered, History, Posted, Received, Subscribed, Wanted


def received(event: str, status: int = 200) -> Received:
    return Received(
        at=3.0,
        event=event,
        subscription="mail",
        address="a/mail",
        status=status,
        answered_at=3.1,
        intact=True,
    )


def test_an_accepted_event_is_owed_until_it_is_taken(tmp_path: Path) -> None:
    with History(tmp_path / "history.jsonl") as history:
        debts = Debts(history)
        history.add(
            Wanted(
                at=0.0,
                subscription="mail",
                channel="orders",
                address="a/mail",
                punctual=True,
                in_order=False,
            )
        )
        history.add(Subscribed(at=1.0, subscription="mail"))
        history.add(Posted(at=2.0, event="e1", channel="orders", dispatcher=0))
        history.add(Posted(at=2.0, event="e2", channel="orders", dispatcher=0))
        assert debts.owed(before=9.0) == []
        history.add(Answered(at=2.5, event="e1", status=202))
        history.add(Answered(at=2.5, event="e2", status=503))
        assert [event.id for event in debts.owed(before=9.0)] == ["e1"]
        assert debts.owed(before=2.0) == []
        history.add(received("e1", status=503))
        assert [event.id for event in debts.owed(before=9.0)] == ["e1"]
        history.add(received("e1"))
        assert debts.owed(before=9.0) == []


def test_an_event_that_comes_before_its_answer_is_not_owed(tmp_path: Path) -> None:
    with History(tmp_path / "history.jsonl") as history:
        debts = Debts(history)
        history.add(
            Wanted(
                at=0.0,
                subscription="mail",
                channel="orders",
                address="a/mail",
                punctual=True,
                in_order=False,
            )
        )
        history.add(Subscribed(at=1.0, subscription="mail"))
        history.add(Posted(at=2.0, event="e1", channel="orders", dispatcher=0))
        history.add(received("e1"))
        assert debts.owed(before=9.0) == []
        history.add(Answered(at=3.5, event="e1", status=202))
        assert debts.owed(before=9.0) == []


def test_publishers_are_well_when_none_was_refused_of_late(tmp_path: Path) -> None:
    now = time.monotonic()
    with History(tmp_path / "history.jsonl") as history:
        debts = Debts(history)

        def post(event: str, at: float, status: int) -> None:
            history.add(Posted(at=at, event=event, channel="orders", dispatcher=0))
            history.add(Answered(at=at + 0.1, event=event, status=status))

        post("e1", now - 10.0, 202)
        assert debts.is_accepting(since=now - 11.0, patience=1.0)
        assert not debts.is_accepting(since=now - 9.0, patience=1.0)
        post("e2", now - 5.0, 503)
        assert not debts.is_accepting(since=now - 11.0, patience=5.5)
        assert debts.is_accepting(since=now - 11.0, patience=1.0)
