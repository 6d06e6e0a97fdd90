"""The dispatcher process on a real Kubernetes API, as the account of the manifests."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cluster_dispatcher import ChannelsOf, ClusterDispatcher, taken
from tests.support.data_plane import durables
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually

OWN_KUBERNETES = True  # tests here stop it


@pytest.fixture
async def dispatcher(
    kubernetes: KubernetesServer,
    memory_server: NatsStreamingServer,
    unique_name: str,
    tmp_path: Path,
) -> AsyncIterator[ClusterDispatcher]:
    """Return a dispatcher that is not started yet."""
    flags = (f"--client-id={unique_name}", "--removal-grace=1s")
    process = ClusterDispatcher(kubernetes, memory_server, tmp_path, flags)
    yield process
    await process.close_http()
    await process.stop()


async def kept(dispatcher: ClusterDispatcher, text: str) -> None:
    """Wait until a restart would find it."""
    file = dispatcher.state_dir / "channels.json"

    async def is_kept() -> bool:
        return file.exists() and text in file.read_text()

    await eventually(is_kept)


async def test_a_channel_from_apply_to_delete(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    other_sink: Subscriber,
    memory_server: NatsStreamingServer,
) -> None:
    await dispatcher.start()
    assert await dispatcher.post_to(channels.namespace, "orders", "none") == 404
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await taken(dispatcher, channels, "e1")
    await sink.wait_for_events(1)

    await channels.apply("orders", channels.entry("mail", other_sink.url, "u1"))
    await dispatcher.wait_for_log("subscription changed", where="mail")
    assert await dispatcher.post_to(channels.namespace, "orders", "e2") == 202
    await other_sink.wait_for_events(1)
    assert sink.counts == {"e1": 1}

    await channels.delete("orders")
    await eventually(lambda: channels.is_gone("orders"))
    assert await durables(memory_server, channels.subject("orders")) == {}
    assert await dispatcher.post_to(channels.namespace, "orders", "e3") == 404


async def test_other_channels_are_left_alone(
    dispatcher: ClusterDispatcher, channels: ChannelsOf, sink: Subscriber
) -> None:
    await dispatcher.start()
    other = channels.document("other")
    other["spec"]["provisioner"]["name"] = "in-memory"
    channels.kubernetes.create(channels.path, other)
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await taken(dispatcher, channels, "e1")
    assert await channels.finalizers("other") == []
    assert await dispatcher.post_to(channels.namespace, "other", "e1") == 404


async def test_it_goes_on_while_the_api_is_away_and_sees_what_was_missed(
    dispatcher: ClusterDispatcher,
    kubernetes: KubernetesServer,
    channels: ChannelsOf,
    sink: Subscriber,
    other_sink: Subscriber,
) -> None:
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await dispatcher.start()
    await taken(dispatcher, channels, "e1")
    await asyncio.to_thread(kubernetes.kill_apiserver)
    await dispatcher.wait_for_log("the Kubernetes API fails")
    assert await dispatcher.post_to(channels.namespace, "orders", "e2") == 202
    await sink.wait_for_events(2)

    await asyncio.to_thread(kubernetes.start_apiserver)
    await channels.apply("orders", channels.entry("mail", other_sink.url, "u1"))
    await dispatcher.wait_for_log("the Kubernetes API answers again")
    await dispatcher.wait_for_log("subscription changed", where="mail")
    assert await dispatcher.post_to(channels.namespace, "orders", "e3") == 202
    await other_sink.wait_for_events(1)
    assert (await dispatcher.admin("/readyz"))[0] == 200


async def test_it_starts_without_the_api_from_what_it_knew(
    dispatcher: ClusterDispatcher,
    kubernetes: KubernetesServer,
    channels: ChannelsOf,
    sink: Subscriber,
) -> None:
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await dispatcher.start()
    await taken(dispatcher, channels, "e1")
    await sink.wait_for_events(1)
    await kept(dispatcher, channels.namespace)
    await dispatcher.kill()
    await asyncio.to_thread(kubernetes.kill_apiserver)
    try:
        await dispatcher.start()
        assert await dispatcher.post_to(channels.namespace, "orders", "e2") == 202
        await sink.wait_for_events(2)
    finally:
        await asyncio.to_thread(kubernetes.start_apiserver)
    await dispatcher.wait_for_log("the Kubernetes API answers again")
    await channels.apply("new")
    await taken(dispatcher, channels, "e3", "new")


async def test_without_api_and_memory_it_waits(
    dispatcher: ClusterDispatcher, kubernetes: KubernetesServer, channels: ChannelsOf
) -> None:
    await channels.apply("orders")
    await asyncio.to_thread(kubernetes.kill_apiserver)
    try:
        await dispatcher.start(until="/healthz")
        await dispatcher.wait_for_log("the Kubernetes API fails")
        with pytest.raises(OSError, match="503"):
            await asyncio.to_thread(dispatcher._get, "/readyz")
    finally:
        await asyncio.to_thread(kubernetes.start_apiserver)
    await taken(dispatcher, channels, "e1")


async def test_a_subscriber_removed_while_nobody_looked_is_unsubscribed(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    memory_server: NatsStreamingServer,
) -> None:
    await channels.apply(
        "orders", channels.entry("mail", sink.url, "u1"), channels.entry("sms", sink.url, "u2")
    )
    await dispatcher.start()
    await taken(dispatcher, channels, "e1")
    await sink.wait_for_events(1)
    await kept(dispatcher, channels.namespace)
    await dispatcher.stop()
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await dispatcher.start()

    async def only_one_is_left() -> bool:
        return set(await durables(memory_server, channels.subject("orders"))) == {"u1"}

    await eventually(only_one_is_left)
