"""Channels that are deleted while what is listed in them changes, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from natss.contract.resources import Channel, DesiredState
from tests.support.channel_ids import channel_id
from tests.support.data_plane import DataPlane, at_once, durables, subscriber
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually


@pytest.fixture
async def plane(memory_server: NatsStreamingServer, unique_name: str) -> AsyncIterator[DataPlane]:
    async with DataPlane(memory_server, unique_name) as data_plane:
        yield data_plane


def deleted(plane: DataPlane, *names: str) -> Channel:
    """Return the channel of the plane, deleted, with entries of these names and the same uid."""
    entries = tuple(subscriber("http://127.0.0.1:9/", name) for name in names)
    return Channel(plane.channel, ("test.host",), entries)


async def emptied(plane: DataPlane) -> None:
    """Wait until no durable of the channel is on record: all are unsubscribed then."""
    async with asyncio.timeout(20):
        await plane.records.emptied(plane.channel)


async def test_an_entry_that_got_another_name_goes_with_its_channel(
    plane: DataPlane, memory_server: NatsStreamingServer
) -> None:
    """Anybody may edit a Channel's list and delete the Channel at once: that is one change."""
    plane.subscribe(subscriber("http://127.0.0.1:9/", "mail"))
    await plane.open()
    await plane.reconciler.apply(DesiredState({}, deleted={plane.channel: deleted(plane, "post")}))
    await emptied(plane)
    assert "uid-1" not in await durables(memory_server, plane.subject)


async def test_a_channel_that_was_never_seen_may_list_one_uid_twice(plane: DataPlane) -> None:
    await plane.reconciler.apply(
        DesiredState({}, deleted={plane.channel: deleted(plane, "mail", "post")})
    )
    await emptied(plane)


async def test_nobody_inherits_from_an_earlier_channel_of_that_name(
    plane: DataPlane, memory_server: NatsStreamingServer, unique_name: str
) -> None:
    """Not even a durable of the same name; leftovers of the earlier one are removed."""
    mail = subscriber("http://127.0.0.1:9/", "mail")
    plane.subscribe(mail)
    await plane.open()
    for epoch in ("e1", "e2"):
        later = Channel(plane.channel, (), (mail,), epoch=epoch)
        assert at_once(plane.reconciler.apply(DesiredState({later.name: later}))) == []
        await plane.open()
        (member,) = plane.reconciler.members.values()
        assert member.durable.name.subject == later.subject == f"{plane.subject}._{epoch}"
        assert set(await durables(memory_server, later.subject)) == {"uid-1"}
        former = plane.subject if epoch == "e1" else f"{plane.subject}._e1"

        async def is_removed(former: str = former) -> bool:
            return await durables(memory_server, former) == {}

        await eventually(is_removed)
        (record,) = plane.records.of(plane.channel)
        assert (record.subject, record.since, record.due) == (later.subject, None, None)


async def test_what_is_left_of_an_earlier_channel_goes_after_a_restart(
    memory_server: NatsStreamingServer, unique_name: str, tmp_path: Path
) -> None:
    mail = subscriber("http://127.0.0.1:9/", "mail")
    earlier = Channel(channel_id("default", unique_name), (), (mail,), epoch="e1")
    async with DataPlane(memory_server, unique_name, state_dir=tmp_path) as plane:
        at_once(plane.reconciler.apply(DesiredState({earlier.name: earlier})))
        await plane.open()
        assert await plane.records.write()
    later = replace(earlier, epoch="e2")
    async with DataPlane(memory_server, unique_name, state_dir=tmp_path) as plane:
        at_once(plane.reconciler.apply(DesiredState({later.name: later})))
        await plane.open()

        async def is_removed() -> bool:
            return await durables(memory_server, earlier.subject) == {}

        await eventually(is_removed)
        assert set(await durables(memory_server, later.subject)) == {"uid-1"}
