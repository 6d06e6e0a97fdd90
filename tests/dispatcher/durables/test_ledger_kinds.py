"""Durables on record of channels that have one name and are of different kinds."""

import json
from pathlib import Path

from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.runtime.state_folder import StateFolder
from natss.contract.resources import ResourceName
from tests.support.channel_ids import channel_id
from tests.support.other_kind import OTHER, known, other_id

ONE, TWO = channel_id("shop", "orders"), other_id("shop", "orders")
MAIL = ResourceName("shop", "mail")


def two(folder: StateFolder) -> Ledger:
    records = Ledger(folder, 60.0)
    records.want(ONE, MAIL, "u1", 5.0)
    records.want(TWO, MAIL, "u1", 6.0)
    return records


def test_what_happens_to_one_leaves_the_other_alone() -> None:
    records = two(StateFolder(None))
    records.note_open(TWO, "u1")
    assert records.of(ONE) == [DurableRecord(ONE, MAIL, "u1", 5.0, subject="orders.shop")]
    assert records.of(TWO) == [DurableRecord(TWO, MAIL, "u1", subject="_other.orders.shop")]
    records.merge(ONE, {})
    records.forget(TWO, "u1")
    assert records.get(TWO, "u1") is None
    assert [each.channel for each in records] == [ONE]
    records.channel_gone(TWO, in_order=True)
    assert records.take_unsubscribed_elsewhere(ONE) == set()


async def test_both_are_there_after_a_restart(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert await two(folder).write()
    with known(OTHER):
        again = Ledger(folder, 60.0)
    assert again.of(ONE) == [DurableRecord(ONE, MAIL, "u1", 5.0)]
    assert again.of(TWO) == [DurableRecord(TWO, MAIL, "u1", 6.0)]


async def test_the_file_is_written_as_before_there_were_kinds(tmp_path: Path) -> None:
    records = Ledger(StateFolder(tmp_path), 60.0)
    records.want(ONE, MAIL, "u1", 5.0)
    assert await records.write()
    assert json.loads((tmp_path / "durables.json").read_text()) == [
        {
            "channel": ["shop", "orders"],
            "subscription": ["shop", "mail"],
            "durable": "u1",
            "subject": "orders.shop",
            "since": 5.0,
            "due": None,
        }
    ]


async def test_what_is_of_a_kind_that_is_not_known_harms_no_other(tmp_path: Path) -> None:
    """As after a downgrade to a version that has fewer kinds."""
    folder = StateFolder(tmp_path)
    assert await two(folder).write()
    again = Ledger(folder, 60.0)
    assert again.of(ONE) == [DurableRecord(ONE, MAIL, "u1", 5.0)]
    assert len(list(again)) == 1
