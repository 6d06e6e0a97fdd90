"""Durables that are to be removed: remembered over restarts, forgotten when they are wanted."""

import asyncio
from pathlib import Path

import pytest

from contract.resources import DeliveryPolicy, ResourceName
from dispatcher.removals import Removal, Removals
from dispatcher.state_folder import StateFolder
from tests.data_plane import DataPlane, durables, eventually, subscriber
from tests.servers import NatsStreamingServer
from tests.subscriber import Subscriber

ORDERS = ResourceName("shop", "orders")
OTHER = ResourceName("shop", "other")


def removal(channel: ResourceName = ORDERS, durable: str = "u1", due: float = 5.0) -> Removal:
    return Removal(channel, ResourceName("shop", "mail"), durable, due)


async def test_what_is_remembered_is_there_after_a_restart(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    removals = Removals(folder, 1.0)
    removals.remember(removal())
    removals.remember(removal(durable="u2"))
    removals.forget(ORDERS, "u1")
    assert await removals.write()
    assert list(Removals(folder, 1.0)) == [removal(durable="u2")]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', '[{"channel": ["a"]}]', "7"])
async def test_a_broken_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "removals.json").write_text(text)
    assert list(Removals(StateFolder(tmp_path), 1.0)) == []


async def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    removals = Removals(StateFolder(blocked), 1.0)
    removals.remember(removal())
    assert not await removals.write()
    blocked.unlink()
    assert await removals.write()


async def test_a_channel_is_released_when_its_durables_are_gone() -> None:
    removals = Removals(StateFolder(None), 1.0, patience=0.01)
    removals.remember(removal())
    removals.remember(removal(OTHER, "u2"))
    released = asyncio.create_task(removals.released(ORDERS))
    await asyncio.sleep(0.03)  # longer than the patience
    assert not released.done(), "nothing is remembered on disk, so it has to wait"
    removals.forget(ORDERS, "u1")
    await asyncio.wait_for(released, 1)


async def test_a_channel_is_released_when_its_durables_are_remembered(tmp_path: Path) -> None:
    removals = Removals(StateFolder(tmp_path), 1.0, patience=0.01)
    removals.remember(removal())
    released = asyncio.create_task(removals.released(ORDERS))
    await asyncio.sleep(0.03)  # longer than the patience
    assert not released.done(), "not written yet"
    await removals.write()
    await asyncio.wait_for(released, 1)


class TestOnARealServer:
    async def test_a_grace_that_a_restart_cut_ends_later(
        self, memory_server: NatsStreamingServer, unique_name: str, tmp_path: Path
    ) -> None:
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(subscriber("http://127.0.0.1:1/"))
            await plane.open()
            plane.subscribe()
            assert await plane.removals.write()
        (kept,) = Removals(StateFolder(tmp_path), 0.0)
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.removals.remember(Removal(kept.channel, kept.ref, kept.durable, due=0.0))
            plane.subscribe()

            async def is_gone() -> bool:
                return not await durables(memory_server, plane.subject)

            await eventually(is_gone)
            assert list(plane.removals) == []

    async def test_who_comes_back_after_a_restart_goes_on_where_it_was(
        self, memory_server: NatsStreamingServer, unique_name: str, tmp_path: Path
    ) -> None:
        """Also under another uid, as of a Subscription that was deleted and made again."""
        sink = Subscriber()
        await sink.start()
        quick = DeliveryPolicy(ack_wait=1)
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(subscriber(sink.url), policy=quick)
            await plane.open()
            await plane.publish("e1")
            await plane.settled(1)
            plane.subscribe(policy=quick)
            await plane.publish("e2")
            assert await plane.removals.write()
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(subscriber(sink.url, uid="uid-2"), policy=quick)
            await sink.wait_for_events(2)

            async def is_handed_over() -> bool:
                return set(await durables(memory_server, plane.subject)) == {"uid-2"}

            await eventually(is_handed_over)
            assert list(plane.removals) == []
        assert sink.counts == {"e1": 1, "e2": 1}
        await sink.stop()
