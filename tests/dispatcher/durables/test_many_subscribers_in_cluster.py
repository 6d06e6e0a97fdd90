"""A Channel of a cluster with more subscribers than are served, and pods that come and go."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.cluster_dispatcher import ChannelsOf, ClusterDispatcher, taken
from tests.support.data_plane import durables
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually

Start = Callable[..., Awaitable[ClusterDispatcher]]


@pytest.fixture
async def pod(
    kubernetes: KubernetesServer,
    file_server: NatsStreamingServer,
    tmp_path: Path,
    unique_name: str,
) -> AsyncIterator[Start]:
    """Start pods with empty folders; call it with the limit of subscribers."""
    started: list[ClusterDispatcher] = []

    async def start(most: int) -> ClusterDispatcher:
        folder = tmp_path / f"pod-{len(started)}"
        folder.mkdir()
        flags = (f"--client-id={unique_name}", "--removal-grace=1s", f"--max-subscribers={most}")
        started.append(ClusterDispatcher(kubernetes, file_server, folder, flags))
        await started[-1].start()
        return started[-1]

    yield start
    for each in started:
        await each.close_http()
        await each.kill()


async def told(channels: ChannelsOf) -> dict[str, str]:
    """Return what the status of ``orders`` says of each uid."""
    status = ((await channels.get("orders")) or {}).get("status") or {}
    entries = (status.get("subscribableStatus") or {}).get("subscribers") or []
    return {each["uid"]: each["ready"] for each in entries}


async def wait_told(channels: ChannelsOf, **ready: str) -> None:
    async def is_told() -> bool:
        return await told(channels) == ready

    await eventually(is_told, 20)


async def wait_durables(server: NatsStreamingServer, subject: str, *names: str) -> None:
    async def are_there() -> bool:
        return set(await durables(server, subject)) == set(names)

    await eventually(are_there, 20)


async def test_whose_place_it_is_outlives_pods_and_orders(
    pod: Start, file_server: NatsStreamingServer, channels: ChannelsOf, sink: Subscriber
) -> None:
    subject = channels.subject("orders")
    entries = {uid: channels.entry(f"s-{uid}", sink.url, uid) for uid in ("u1", "u2", "u3")}
    first = await pod(2)
    await channels.apply("orders", entries["u2"], entries["u3"])
    await wait_told(channels, u2="True", u3="True")
    await channels.apply("orders", *entries.values())
    await wait_told(channels, u2="True", u3="True", u1="False")
    assert set(await channels.recorded("orders")) == {"u2", "u3"}

    async def is_described() -> bool:
        what = ("channel", "orders", "-n", channels.namespace)
        text = await asyncio.to_thread(channels.kubernetes.kubectl, "describe", *what)
        return "--max-subscribers" in text and "more subscribers than the 2" in text

    await eventually(is_described, 20)
    _, page = await first.admin("/")
    assert "1 subscribers too many" in page
    assert "the channel has more subscribers than the 2 that are served of one" in page

    await first.kill()
    await channels.apply("orders", entries["u1"], entries["u3"], entries["u2"])
    second = await pod(2)
    await taken(second, channels, "e1")
    await sink.wait_until(lambda: sink.counts["e1"] == 2)
    await wait_durables(file_server, subject, "u2", "u3")

    await channels.apply("orders", entries["u1"], entries["u2"])
    await wait_told(channels, u1="True", u2="True")
    await wait_durables(file_server, subject, "u1", "u2")


async def test_a_pod_that_serves_fewer_unsubscribes_nobody(
    pod: Start, file_server: NatsStreamingServer, channels: ChannelsOf, sink: Subscriber
) -> None:
    subject = channels.subject("orders")
    entries = [channels.entry(f"s-{uid}", sink.url, uid) for uid in ("u1", "u2", "u3")]
    first = await pod(3)
    await channels.apply("orders", *entries)
    await wait_told(channels, u1="True", u2="True", u3="True")
    await first.kill()
    second = await pod(1)
    await wait_told(channels, u1="True", u2="False", u3="False")
    await taken(second, channels, "e1")
    await sink.wait_until(lambda: sink.counts["e1"] == 1)
    await second.stop()
    await wait_durables(file_server, subject, "u1", "u2", "u3")
    await pod(3)
    await sink.wait_until(lambda: sink.counts["e1"] == 3)
    await wait_told(channels, u1="True", u2="True", u3="True")
