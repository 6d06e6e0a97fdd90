"""Channels that are deleted while what is listed in them changes, on a real server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from contract.resources import Channel, DesiredState
from tests.data_plane import DataPlane, durables, subscriber
from tests.servers import NatsStreamingServer


@pytest.fixture
async def plane(memory_server: NatsStreamingServer, unique_name: str) -> AsyncIterator[DataPlane]:
    async with DataPlane(memory_server, unique_name) as data_plane:
        yield data_plane


def deleted(plane: DataPlane, *names: str) -> Channel:
    """The channel of the plane, deleted, with entries of these names and the uid of the first."""
    entries = tuple(subscriber("http://127.0.0.1:9/", name) for name in names)
    return Channel(plane.channel, ("test.host",), entries)


async def emptied(plane: DataPlane) -> None:
    """Wait until nothing of the channel is on record, which is when it is unsubscribed."""
    async with asyncio.timeout(20):
        await plane.records.emptied(plane.channel)


async def test_an_entry_that_got_another_name_goes_with_its_channel(
    plane: DataPlane, memory_server: NatsStreamingServer
) -> None:
    """Anybody may edit the list of his Channel and delete it at once: it is seen as one change."""
    plane.subscribe(subscriber("http://127.0.0.1:9/", "mail"))
    await plane.open()
    await plane.fanout.apply(DesiredState({}, deleted={plane.channel: deleted(plane, "post")}))
    await emptied(plane)
    assert "uid-1" not in await durables(memory_server, plane.subject)


async def test_a_channel_that_was_never_seen_may_list_one_uid_twice(plane: DataPlane) -> None:
    await plane.fanout.apply(
        DesiredState({}, deleted={plane.channel: deleted(plane, "mail", "post")})
    )
    await emptied(plane)
