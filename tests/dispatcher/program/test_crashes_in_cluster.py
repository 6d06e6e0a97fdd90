"""kill -9 while Channels and subscribers come and go: no finalizer is stuck, no durable is left."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cluster_dispatcher import ChannelsOf, ClusterDispatcher, taken
from tests.support.data_plane import durables
from tests.support.kubernetes import KubernetesServer
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber, status
from tests.support.waiting import eventually

FINALIZER = "natss-dispatcher"


@pytest.fixture
async def dispatcher(
    kubernetes: KubernetesServer,
    file_server: NatsStreamingServer,
    nats: Proxy,
    unique_name: str,
    tmp_path: Path,
) -> AsyncIterator[ClusterDispatcher]:
    """Yield a dispatcher, not started yet. When it is killed its pod is lost."""
    folder = tmp_path / "dispatcher"
    folder.mkdir()
    flags = (f"--client-id={unique_name}", f"--natss-url={nats.url}", "--removal-grace=2s")
    process = ClusterDispatcher(kubernetes, file_server, folder, flags)
    yield process
    await process.close_http()
    await process.kill()


@pytest.fixture
async def api(dispatcher: ClusterDispatcher) -> AsyncIterator[Proxy]:
    """Yield a proxy between the dispatcher and the Kubernetes API."""
    async with dispatcher.behind_proxy() as proxy:
        yield proxy


async def serve_orders(
    dispatcher: ClusterDispatcher, channels: ChannelsOf, sink: Subscriber
) -> None:
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await taken(dispatcher, channels, "before")
    await sink.wait_for_events(1)

    async def is_recorded() -> bool:
        return await channels.recorded("orders") == {"u1": {"subscription": "mail"}}

    await eventually(is_recorded)


async def lose_pod(dispatcher: ClusterDispatcher) -> None:
    await dispatcher.kill()
    dispatcher.forget_state()


async def durables_are(server: NatsStreamingServer, channels: ChannelsOf, *names: str) -> None:
    async def are_these() -> bool:
        return set(await durables(server, channels.subject("orders"))) == set(names)

    await eventually(are_these)


async def everything_is_gone(server: NatsStreamingServer, channels: ChannelsOf) -> None:
    await eventually(lambda: channels.is_gone("orders"))
    await durables_are(server, channels)


async def test_before_the_finalizer_is_written(
    dispatcher: ClusterDispatcher, api: Proxy, channels: ChannelsOf, sink: Subscriber
) -> None:
    await dispatcher.start()
    api.drop_to_server()
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await asyncio.sleep(0.5)  # until it tries, which nobody can see
    assert await dispatcher.post_to(channels.namespace, "orders", "early") == 404
    await lose_pod(dispatcher)
    assert await channels.finalizers("orders") == []
    api.release()
    await dispatcher.start()
    await taken(dispatcher, channels, "e1")
    await sink.wait_for_events(1)
    assert await channels.finalizers("orders") == [FINALIZER]


async def test_of_a_deleted_channel_before_its_durables_are_unsubscribed(
    dispatcher: ClusterDispatcher,
    nats: Proxy,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    await dispatcher.start()
    await serve_orders(dispatcher, channels, sink)
    nats.drop_to_server()
    await channels.delete("orders")

    async def is_seen() -> bool:
        told = (await dispatcher.status())["channels"]
        return channels.namespace not in {each["namespace"] for each in told}

    await eventually(is_seen)
    await lose_pod(dispatcher)
    assert await channels.finalizers("orders") == [FINALIZER]
    assert set(await durables(file_server, channels.subject("orders"))) == {"u1"}
    nats.release()
    await dispatcher.start()
    await everything_is_gone(file_server, channels)


async def test_of_a_deleted_channel_between_its_durables_and_its_finalizer(
    dispatcher: ClusterDispatcher,
    api: Proxy,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    await dispatcher.start()
    await serve_orders(dispatcher, channels, sink)
    api.drop_to_server()
    await channels.delete("orders")
    await durables_are(file_server, channels)
    await lose_pod(dispatcher)
    assert await channels.finalizers("orders") == [FINALIZER]
    api.release()
    await dispatcher.start()
    await everything_is_gone(file_server, channels)


async def test_of_a_deleted_channel_while_nats_streaming_is_down(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    """The next pod lets it go, and has its durable unsubscribed when NATS Streaming is back."""
    await dispatcher.start()
    await serve_orders(dispatcher, channels, sink)
    await file_server.kill()
    await channels.delete("orders")
    await lose_pod(dispatcher)
    await dispatcher.start(until="/healthz")
    await eventually(lambda: channels.is_gone("orders"), timeout=25)
    await lose_pod(dispatcher)
    await file_server.start()
    await dispatcher.start()
    await durables_are(file_server, channels)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_in_the_grace_of_a_removed_subscriber(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
    comes_back: bool,
) -> None:
    entry = channels.entry("mail", sink.url, "u1")
    await dispatcher.start()
    await serve_orders(dispatcher, channels, sink)
    sink.answer = status(503)
    await taken(dispatcher, channels, "e1")
    await channels.apply("orders")
    await dispatcher.wait_for_log("subscription removed")
    await lose_pod(dispatcher)
    sink.answer = status(200)
    if comes_back:
        await channels.apply("orders", entry)
    await dispatcher.start()
    if comes_back:
        await sink.wait_until(lambda: sink.counts["e1"] == 1)
        assert sink.counts["before"] == 1
    else:
        await durables_are(file_server, channels)
        assert "e1" not in sink.counts
    await channels.delete("orders")
    await everything_is_gone(file_server, channels)


async def test_between_unsubscribing_and_taking_it_off_the_record(
    dispatcher: ClusterDispatcher,
    api: Proxy,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    """The next pod finds a durable on record that is not there; who comes back begins anew."""
    await dispatcher.start()
    await serve_orders(dispatcher, channels, sink)
    await channels.apply("orders")
    await dispatcher.wait_for_log("subscription removed")
    api.drop_to_server()
    await durables_are(file_server, channels)
    await lose_pod(dispatcher)
    assert set(await channels.recorded("orders")) == {"u1"}
    api.release()
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await dispatcher.start()
    await taken(dispatcher, channels, "e1")
    await sink.wait_until(lambda: sink.counts["e1"] == 1)
    await channels.apply("orders")
    await durables_are(file_server, channels)

    async def nothing_is_recorded() -> bool:
        return await channels.recorded("orders") == {}

    await eventually(nothing_is_recorded)
