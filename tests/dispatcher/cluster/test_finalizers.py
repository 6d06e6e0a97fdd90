"""The finalizer of a Channel, on a real Kubernetes API: when it is added and when removed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dispatcher.cluster.orphans import CONFIG_MAP
from tests.support.cluster_dispatcher import NAMESPACE, ChannelsOf, ClusterDispatcher, taken
from tests.support.data_plane import durables
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually

FINALIZER = "natss-dispatcher"


@pytest.fixture
async def dispatcher(
    kubernetes: KubernetesServer, file_server: NatsStreamingServer, unique_name: str, tmp_path: Path
) -> AsyncIterator[ClusterDispatcher]:
    """Return a dispatcher that is not started yet."""
    folder = tmp_path / "dispatcher"
    folder.mkdir()
    flags = (f"--client-id={unique_name}",)
    process = ClusterDispatcher(kubernetes, file_server, folder, flags)
    yield process
    await process.close_http()
    await process.stop()


def has(
    server: NatsStreamingServer, channels: ChannelsOf, *names: str
) -> Callable[[], Awaitable[bool]]:
    """Return a condition: the durables of ``orders`` are these."""

    async def are_these() -> bool:
        return set(await durables(server, channels.subject("orders"))) == set(names)

    return are_these


def kept_durables(channels: ChannelsOf) -> list[str]:
    """Return the kept durables of deleted Channels of the test's namespace."""
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"
    data = channels.kubernetes.get(path).get("data") or {}
    return [text for text in data.values() if channels.namespace in text]


async def test_a_channel_that_is_served_has_it(
    dispatcher: ClusterDispatcher, channels: ChannelsOf, sink: Subscriber
) -> None:
    await dispatcher.start()
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"), finalizers=["a/b"])
    await taken(dispatcher, channels, "e1")
    assert await channels.finalizers("orders") == ["a/b", FINALIZER]


async def test_the_one_of_the_go_dispatcher_is_adopted(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"), finalizers=[FINALIZER])
    before = await channels.get("orders")
    await dispatcher.start()
    await taken(dispatcher, channels, "e1")
    await eventually(lambda: channels.recorded("orders"))
    after = await channels.get("orders")
    assert before is not None
    assert after is not None
    for document in (before, after):
        for changed in ("annotations", "managedFields", "resourceVersion"):
            document["metadata"].pop(changed, None)
    assert after == before, "its record of durables is all that was written"
    await channels.delete("orders")
    await eventually(lambda: channels.is_gone("orders"))
    assert await durables(file_server, channels.subject("orders")) == {}


async def test_of_a_channel_that_others_hold_only_ours_is_taken_off(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    await dispatcher.start()
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"), finalizers=["a/b"])
    await taken(dispatcher, channels, "e1")
    await channels.delete("orders")

    async def only_theirs_is_left() -> bool:
        return await channels.finalizers("orders") == ["a/b"]

    await eventually(only_theirs_is_left)
    assert await durables(file_server, channels.subject("orders")) == {}
    assert await dispatcher.post_to(channels.namespace, "orders", "e2") == 404
    await channels.patch("orders", {"metadata": {"finalizers": []}})


async def test_a_channel_deleted_while_nobody_looked(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await dispatcher.start()
    await taken(dispatcher, channels, "e1")
    await sink.wait_for_events(1)
    await dispatcher.stop()
    await channels.delete("orders")
    (dispatcher.state_dir / "channels.json").unlink(missing_ok=True)
    await dispatcher.start()
    await eventually(lambda: channels.is_gone("orders"))
    assert await durables(file_server, channels.subject("orders")) == {}


@pytest.mark.parametrize("another_pod", [True, False])
async def test_nats_streaming_being_away_holds_no_channel(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
    another_pod: bool,
) -> None:
    """Its durable is kept on record, also for another pod, and is removed later."""
    await dispatcher.start()
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await taken(dispatcher, channels, "e1")
    await sink.wait_for_events(1)
    await file_server.kill()
    await channels.delete("orders")
    await eventually(lambda: channels.is_gone("orders"))
    assert await asyncio.to_thread(kept_durables, channels)
    if another_pod:
        await dispatcher.kill()
        dispatcher.forget_state()
        await dispatcher.start(until="/healthz")
    await file_server.restart()
    await dispatcher.wait_for_log("durable unsubscribed")
    assert await durables(file_server, channels.subject("orders")) == {}

    async def nothing_is_kept() -> bool:
        return not await asyncio.to_thread(kept_durables, channels)

    await eventually(nothing_is_kept)


async def test_a_channel_made_again_at_once_begins_anew(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    await dispatcher.start()
    for number in range(3):
        await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
        await taken(dispatcher, channels, f"e{number}")
        await sink.wait_for_events(number + 1)
        await channels.delete("orders")
        await eventually(lambda: channels.is_gone("orders"))
    assert await durables(file_server, channels.subject("orders")) == {}
    assert sink.counts["e2"] == 1, "only events of the last seconds before it began may come again"
