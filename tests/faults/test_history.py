"""The file of a history has all that happened, for people and for the checker."""

import json
import time
from pathlib import Path

import pytest

from tests.faults import history
from tests.faults.history import (
    Answered,
    Entry,
    FaultBegan,
    FaultEnded,
    History,
    Posted,
    Received,
    Removed,
    Stored,
    Subscribed,
    Unwanted,
    Wanted,
    Wiped,
)

ONE_OF_EACH: list[Entry] = [
    Posted(at=1.25, event="p1-1", channel="orders", dispatcher=0),
    Answered(at=1.5, event="p1-1", status=202),
    Received(
        at=1.75,
        event="p1-1",
        subscription="mail",
        address="a/mail",
        status=200,
        answered_at=2.0,
        intact=True,
    ),
    Wanted(
        at=0.0,
        subscription="mail",
        channel="orders",
        address="a/mail",
        punctual=True,
        in_order=False,
    ),
    Subscribed(at=0.5, subscription="mail"),
    Unwanted(at=3.0, subscription="mail", address="a/mail", is_owed=False),
    Removed(at=3.5, subscription="mail", address="a/mail"),
    FaultBegan(at=4.0, fault="server killed", number=1, strike=1, may_double=True),
    FaultEnded(at=5.0, number=1),
    Wiped(at=4.5),
    Stored(at=9.0, event="p1-1", channel="orders"),
]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert {type(entry) for entry in ONE_OF_EACH} == set(history.KINDS)
    with History(tmp_path / "history.jsonl") as written:
        for entry in ONE_OF_EACH:
            written.add(entry)
    assert written.entries == ONE_OF_EACH
    assert history.read(written.path.read_text().splitlines()) == ONE_OF_EACH


def test_a_line_tells_both_times(tmp_path: Path) -> None:
    before = time.time()
    with History(tmp_path / "history.jsonl") as written:
        written.add(Wiped(at=4.5))
    line = json.loads(written.path.read_text())
    assert line["at"] == 4.5
    assert before - 0.001 <= line["wall"] <= time.time()


@pytest.mark.parametrize("line", ["{", '{"kind": "Nothing"}', '{"kind": "Wiped"}', "[]"])
def test_a_broken_line_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 "):
        history.read(['{"kind": "Wiped", "at": 1, "wall": 2}', line])
