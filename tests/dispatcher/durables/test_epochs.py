"""Channels with an epoch: a later channel of the same name gets none of the former one's events."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast
from urllib.error import HTTPError

import pytest

from dispatcher.cluster.annotation import DURABLES
from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.cluster.finalizers import Finalizers
from dispatcher.cluster.orphans import CONFIG_MAP
from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.runtime.state_folder import StateFolder
from natss.contract.names import EPOCH_ANNOTATION, epoch_of
from natss.contract.resources import Defaults, ResourceName
from natss.kube import KubeClient
from tests.dispatcher.cluster.test_channel_table import ORDERS, subscribers, with_epoch
from tests.support.cluster_dispatcher import NAMESPACE, ChannelsOf, ClusterDispatcher, taken
from tests.support.data_plane import durables
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually

Pod = Callable[..., ClusterDispatcher]
ON, OFF = "--channel-epochs=on", "--channel-epochs=off"


@pytest.fixture
async def pod(
    kubernetes: KubernetesServer, file_server: NatsStreamingServer, unique_name: str, tmp_path: Path
) -> AsyncIterator[Pod]:
    """Create pods of one Deployment, each with a flag of its own; they are not started yet."""
    made: list[ClusterDispatcher] = []

    def make(flag: str) -> ClusterDispatcher:
        folder = tmp_path / f"pod-{len(made)}"
        folder.mkdir()
        flags = (f"--client-id={unique_name}", flag)
        made.append(ClusterDispatcher(kubernetes, file_server, folder, flags))
        return made[-1]

    yield make
    for each in made:
        await each.close_http()
        if each.is_running:
            await each.stop()


async def epoch(channels: ChannelsOf, name: str = "orders") -> str | None:
    channel = await channels.get(name)
    assert channel is not None
    found: str | None = (channel["metadata"].get("annotations") or {}).get(EPOCH_ANNOTATION)
    return found


async def subject(channels: ChannelsOf, name: str = "orders") -> str:
    found = await epoch(channels, name)
    return channels.subject(name) + (f"._{found}" if found else "")


async def create(channels: ChannelsOf, sink: Subscriber, uid: str, name: str = "orders") -> None:
    """Create a Channel whose subscriber wants all stored events."""
    document = channels.document(name, channels.entry("mail", sink.url, uid))
    document["spec"]["arguments"]["start"] = "first"
    await asyncio.to_thread(channels.kubernetes.create, channels.path, document)


async def serving(
    pod: Pod, flag: str, channels: ChannelsOf, sink: Subscriber, name: str = "orders"
) -> ClusterDispatcher:
    """Start a pod with a Channel whose first event has been delivered."""
    dispatcher = pod(flag)
    await dispatcher.start()
    await create(channels, sink, "u1", name)
    await taken(dispatcher, channels, "e1", name)
    await sink.wait_for_events(1)
    return dispatcher


async def delete(channels: ChannelsOf, name: str = "orders") -> None:
    await channels.delete(name)
    await eventually(lambda: channels.is_gone(name))


@pytest.mark.parametrize(("flag", "expected"), [(OFF, {"e1", "e2"}), (ON, {"e2"})])
async def test_what_a_channel_of_that_name_held_before(
    pod: Pod,
    channels: ChannelsOf,
    sink: Subscriber,
    other_sink: Subscriber,
    flag: str,
    expected: set[str],
) -> None:
    dispatcher = await serving(pod, flag, channels, sink)
    await delete(channels)
    await create(channels, other_sink, "u2")
    await taken(dispatcher, channels, "e2")
    await other_sink.wait_for_events(len(expected))
    assert set(other_sink.counts) == expected
    told = await dispatcher.status()
    (shown,) = [each for each in told["channels"] if each["namespace"] == channels.namespace]
    assert shown["subject"] == await subject(channels)


async def test_a_new_channel_is_given_the_epoch_of_its_uid(
    pod: Pod, channels: ChannelsOf, sink: Subscriber, file_server: NatsStreamingServer
) -> None:
    await serving(pod, ON, channels, sink)
    channel = await channels.get("orders")
    assert channel is not None
    assert await epoch(channels) == epoch_of(channel["metadata"]["uid"])
    assert set(await durables(file_server, await subject(channels))) == {"u1"}
    with pytest.raises(HTTPError, match="404"):
        await durables(file_server, channels.subject("orders"))


async def test_who_has_none_keeps_none_and_who_has_one_keeps_it(
    pod: Pod, channels: ChannelsOf, sink: Subscriber
) -> None:
    """The flag of the next pod does not matter, and the Channels alone have the information."""
    first = await serving(pod, OFF, channels, sink, "old")
    await sink.stop()
    await taken(first, channels, "e2", "old")
    await first.stop()
    second = pod(ON)
    await second.start()
    await create(channels, sink, "u2", "new")
    await taken(second, channels, "e3", "new")
    await taken(second, channels, "e4", "old")
    assert await epoch(channels, "old") is None
    given = await epoch(channels, "new")
    assert given
    await second.stop()
    third = pod(OFF)
    await third.start()
    await taken(third, channels, "e5", "new")
    await sink.start()
    await sink.wait_for_events(5)
    assert set(sink.counts) == {"e1", "e2", "e3", "e4", "e5"}
    assert await epoch(channels, "old") is None
    assert await epoch(channels, "new") == given


async def test_replicas_agree_that_are_told_different_things(
    pod: Pod, channels: ChannelsOf, sink: Subscriber
) -> None:
    """As in a rolling update: both accept events, one delivers, and none is lost between them."""
    one, other = pod(ON), pod(OFF)
    await one.start()
    await other.launch()
    await other.wait_ready("/healthz")
    names = [f"c{number}" for number in range(6)]
    for name in names:
        await create(channels, sink, f"u-{name}", name)
    for name in names:
        await taken(one, channels, f"{name}-by-one", name)
        await taken(other, channels, f"{name}-by-other", name)
    await sink.wait_for_events(2 * len(names))
    assert set(sink.counts) == {f"{name}-by-{who}" for name in names for who in ("one", "other")}


def _nothing() -> None:
    """Notify nobody."""


async def test_what_an_earlier_channel_left_is_not_written_on_a_later_one() -> None:
    """There it would count as a durable of the later one's subject."""
    known = ChannelTable(Defaults())
    known.put(with_epoch("e2", subscribable=subscribers("u2")))
    (entry,) = known
    records = Ledger(StateFolder(None), 60.0)
    records.note_session(is_open=True)
    ref = ResourceName("shop", "orders")
    for epoch in ("e1", "e2"):
        record = DurableRecord(ORDERS, ref, f"left-of-{epoch}", subject=f"orders.shop._{epoch}")
        assert records.adopt(record)
    finalizers = Finalizers(cast("KubeClient", None), known, records, records.emptied, _nothing)
    written = finalizers._annotation(entry)[DURABLES]
    assert set(json.loads(written or "")) == {"left-of-e2", "u2"}


@pytest.mark.parametrize("written", [None, "another", "../x"])
async def test_a_channel_that_is_served_keeps_its_subject_whatever_is_written(
    pod: Pod, channels: ChannelsOf, sink: Subscriber, written: str | None
) -> None:
    dispatcher = pod(ON)
    await dispatcher.start()
    await create(channels, sink, "u1")
    await taken(dispatcher, channels, "e1")
    given = await epoch(channels)
    await channels.patch("orders", {"metadata": {"annotations": {EPOCH_ANNOTATION: written}}})

    async def is_put_back() -> bool:
        return await epoch(channels) == given

    await eventually(is_put_back)
    await taken(dispatcher, channels, "e2")
    await sink.wait_for_events(2)


async def test_its_durables_go_although_nats_streaming_was_away(
    pod: Pod,
    channels: ChannelsOf,
    sink: Subscriber,
    other_sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    """Another pod removes them, even while there is a new Channel of that name."""
    dispatcher = await serving(pod, ON, channels, sink)
    former = await subject(channels)
    await file_server.kill()
    await delete(channels)
    await dispatcher.kill()
    await create(channels, other_sink, "u2")
    another = pod(OFF)
    await another.start(until="/healthz")
    await file_server.restart()
    await taken(another, channels, "e2")
    await other_sink.wait_for_events(1)

    async def is_removed() -> bool:
        return await durables(file_server, former) == {}

    await eventually(is_removed)
    assert set(await durables(file_server, await subject(channels))) == {"u2"}
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"

    def kept() -> list[str]:
        data = channels.kubernetes.get(path).get("data") or {}
        return [text for text in data.values() if channels.namespace in text]

    async def nothing_is_kept() -> bool:
        return not await asyncio.to_thread(kept)

    await eventually(nothing_is_kept)
