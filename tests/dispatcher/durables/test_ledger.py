"""Durables on record: what is written, and what is merged of other processes."""

import asyncio
import time
from pathlib import Path

import pytest

from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.runtime.state_folder import StateFolder
from natss.contract.channel_id import ChannelId
from natss.contract.resources import ResourceName
from tests.support.channel_ids import channel_id

ORDERS = channel_id("shop", "orders")
OTHER = channel_id("shop", "other")
MAIL = ResourceName("shop", "mail")


def record(
    durable: str = "u1", since: float | None = None, due: float | None = None
) -> DurableRecord:
    return DurableRecord(ORDERS, MAIL, durable, since, due)


def nothing_kept() -> Ledger:
    return Ledger(StateFolder(None), 60.0)


def wanted(records: Ledger, *names: str, since: float = 5.0) -> None:
    for name in names:
        records.want(ORDERS, MAIL, name, since)


class TestKept:
    async def test_what_is_wanted_open_and_dismissed_is_there_after_a_restart(
        self, tmp_path: Path
    ) -> None:
        folder = StateFolder(tmp_path / "state")
        records = Ledger(folder, 1.0)
        wanted(records, "new", "open", "gone", "forgotten")
        records.note_open(ORDERS, "open")
        records.dismiss(ORDERS, "gone", 0.0)
        records.forget(ORDERS, "forgotten")
        assert await records.write()
        new, was_open, gone = Ledger(folder, 1.0)
        assert new == record("new", since=5.0)
        assert was_open == record("open")
        assert gone.due is not None
        assert gone.due <= time.time()

    async def test_nobody_else_may_read_it(self, tmp_path: Path) -> None:
        """The kept state has URIs of subscribers, which may contain passwords."""
        staged = tmp_path / ".durables.json.staged"
        staged.touch(mode=0o644)
        assert await StateFolder(tmp_path).write("durables.json", [])
        assert (tmp_path / "durables.json").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', '[{"channel": ["a"]}]', "7"])
    async def test_a_broken_file_is_as_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "durables.json").write_text(text)
        assert list(Ledger(StateFolder(tmp_path), 1.0)) == []

    async def test_a_folder_that_cannot_be_written_is_tried_again(self, tmp_path: Path) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("not a folder")
        records = Ledger(StateFolder(blocked), 1.0)
        wanted(records, "u1")
        assert not await records.write()
        blocked.unlink()
        assert await records.write()

    async def test_who_waits_for_the_durables_of_a_channel_is_told_when_none_is_left(self) -> None:
        records = nothing_kept()
        wanted(records, "u1")
        records.want(OTHER, MAIL, "u2", 5.0)
        emptied = asyncio.create_task(records.emptied(ORDERS))
        await asyncio.sleep(0)
        assert not emptied.done()
        records.forget(ORDERS, "u1")
        await asyncio.wait_for(emptied, 1)

    async def test_a_removal_is_settled_when_it_is_done_or_not_wanted_any_more(self) -> None:
        records = nothing_kept()
        wanted(records, "u1", "u2")
        records.dismiss(ORDERS, "u1", 60.0)
        records.dismiss(ORDERS, "u2", 60.0)
        tasks = [asyncio.create_task(records.settled(ORDERS, name)) for name in ("u1", "u2")]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        records.forget(ORDERS, "u1")
        wanted(records, "u2")
        await asyncio.wait_for(asyncio.gather(*tasks), 1)


class News:
    """What a reconciler sees in the ledger that it has not seen yet."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: dict[ChannelId, int] = {}

    def take(self) -> dict[ChannelId, set[str]]:
        """Return the channels that have changed, with the durables unsubscribed elsewhere."""
        merged, before = self._ledger.merged(), self._seen
        self._seen = merged
        return {
            name: set(self._ledger.take_unsubscribed_elsewhere(name))
            for name, version in merged.items()
            if before.get(name) != version
        }


class TestLearnt:
    """What several processes record in one place."""

    def test_who_wanted_it_first_is_believed(self) -> None:
        records = nothing_kept()
        wanted(records, "u1", since=7.0)
        records.merge(ORDERS, {"u1": record(since=5.0)})
        assert records.of(ORDERS) == [record(since=5.0)]

    def test_another_process_has_opened_it(self) -> None:
        records = nothing_kept()
        news = News(records)
        wanted(records, "u1")
        records.merge(ORDERS, {"u1": record()})
        assert records.of(ORDERS) == [record()]
        assert news.take() == {ORDERS: set()}

    def test_what_is_open_here_is_not_closed_by_who_does_not_know(self) -> None:
        records = nothing_kept()
        wanted(records, "u1")
        records.note_open(ORDERS, "u1")
        records.merge(ORDERS, {"u1": record(since=5.0)})
        assert records.of(ORDERS) == [record()]

    def test_what_a_former_process_left_is_known(self) -> None:
        records = nothing_kept()
        news = News(records)
        records.merge(ORDERS, {"u1": record(), "u2": record("u2", since=4.0)})
        assert records.of(ORDERS) == [record(), record("u2", since=4.0)]
        assert news.take() == {ORDERS: set()}
        assert news.take() == {}

    def test_another_process_has_unsubscribed_it(self) -> None:
        records = nothing_kept()
        news = News(records)
        records.merge(ORDERS, {"u1": record(), "u2": record("u2")})
        news.take()
        records.dismiss(ORDERS, "u1", 60.0)
        records.merge(ORDERS, {"u2": record("u2")})
        assert news.take() == {ORDERS: {"u1"}}

    def test_it_is_told_even_before_it_is_known_to_be_wanted_no_more(self) -> None:
        """One change of the Channel may bring both; the reconciler knows what is wanted."""
        records = nothing_kept()
        news = News(records)
        records.merge(ORDERS, {"u1": record()})
        wanted(records, "u1")
        news.take()
        records.merge(ORDERS, {"u2": record("u2")})
        assert news.take() == {ORDERS: {"u1"}}
        assert records.get(ORDERS, "u1") is not None

    def test_what_there_was_no_room_for_is_not_given_up(self) -> None:
        records = nothing_kept()
        news = News(records)
        records.merge(ORDERS, {"u1": record(), "u2": record("u2")})
        news.take()
        records.merge(ORDERS, {"u2": record("u2")}, is_complete=False)
        assert news.take() == {}

    async def test_who_gets_the_client_id_records_what_it_has_to_remove(self) -> None:
        records = nothing_kept()
        wanted(records, "u1")
        records.dismiss(ORDERS, "u1", 60.0)
        records.want(OTHER, MAIL, "u2", 5.0)
        await records.changed_here()
        records.note_session(is_open=True)
        assert await asyncio.wait_for(records.changed_here(), 1) == {ORDERS}

    def test_what_was_unsubscribed_here_is_not_learnt_again(self) -> None:
        records = nothing_kept()
        records.merge(ORDERS, {"u1": record()})
        records.forget(ORDERS, "u1")
        records.merge(ORDERS, {"u1": record(), "u2": record("u2")})
        assert records.get(ORDERS, "u1") is None
        records.merge(ORDERS, {"u2": record("u2")})
        records.merge(ORDERS, {"u1": record()})
        assert records.get(ORDERS, "u1") == record(), "another one of that name, and another story"

    def test_what_is_wanted_anew_has_a_new_time_whatever_is_told_of_the_old_one(self) -> None:
        records = nothing_kept()
        records.merge(ORDERS, {"u1": record()})
        records.forget(ORDERS, "u1")
        wanted(records, "u1", since=9.0)
        records.merge(ORDERS, {"u1": record(), "u2": record("u2")})
        assert records.get(ORDERS, "u1") == record(since=9.0)
        records.merge(ORDERS, {"u1": record(since=9.0)})
        records.merge(ORDERS, {"u1": record()})
        assert records.get(ORDERS, "u1") == record(), "it is open by now"

    def test_with_a_channel_that_was_deleted_all_is_given_up(self) -> None:
        records = nothing_kept()
        news = News(records)
        records.merge(ORDERS, {"u1": record()})
        news.take()
        records.channel_gone(ORDERS, in_order=False)
        assert news.take() == {}, "it may be back; what is known stays"
        records.channel_gone(ORDERS, in_order=True)
        assert news.take() == {ORDERS: {"u1"}}

    def test_an_orphan_is_adopted_unless_it_is_known(self) -> None:
        records = nothing_kept()
        news = News(records)
        wanted(records, "u1")
        news.take()
        assert not records.adopt(record())
        assert records.adopt(record("u2"))
        assert news.take() == {ORDERS: set()}
        assert [each.durable for each in records if each.due is not None] == ["u2"]

    async def test_what_this_process_records_is_told_to_who_writes_it(self) -> None:
        records = nothing_kept()
        changes = asyncio.create_task(records.changed_here())
        await asyncio.sleep(0)
        assert not changes.done()
        wanted(records, "u1")
        assert await asyncio.wait_for(changes, 1) == {ORDERS}
        records.merge(ORDERS, {"u1": record(since=5.0), "u2": record("u2")})
        wanted(records, "u1")
        records.forget(ORDERS, "u2")
        assert await asyncio.wait_for(records.changed_here(), 1) == {ORDERS}


@pytest.mark.parametrize(
    ("told", "is_complete", "may_go"),
    [
        ({"old": None, "new": None}, True, True),
        ({"new": None}, True, True),
        ({}, True, True),
        ({"old": None, "new": 1.0}, True, False),  # the next one would take the position from old
        ({"old": None}, True, False),
        ({"old": None}, False, True),  # no room for it: the server knows it
    ],
)
async def test_a_durable_may_go_when_others_will_know_its_successor(
    told: dict[str, float | None], *, is_complete: bool, may_go: bool
) -> None:
    channel, ref = channel_id("default", "orders"), ResourceName("default", "mail")
    records = Ledger(StateFolder(None), 60.0, are_kept=True)
    entries = {name: DurableRecord(channel, ref, name, since) for name, since in told.items()}
    waiting = asyncio.create_task(records.succeeded(channel, ["old"], "new"))
    before = {
        "old": DurableRecord(channel, ref, "old"),
        "new": DurableRecord(channel, ref, "new", 1.0),
    }
    records.merge(channel, before)
    await asyncio.sleep(0)
    assert not waiting.done()
    records.merge(channel, entries, is_complete=is_complete)
    for _ in range(3):
        await asyncio.sleep(0)
    assert waiting.done() == may_go
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
