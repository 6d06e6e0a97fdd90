"""Pods are replaced and die while publishers go on: nothing is lost, no update refuses anybody."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from natss.contract.names import channel_host
from tests.support.cluster_dispatcher import ChannelsOf, ClusterDispatcher
from tests.support.data_plane import durables
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.service import Publishers, Service
from tests.support.subscriber import Subscriber, slow
from tests.support.waiting import eventually

ENDPOINTS_LEAVE = 0.5
"""Seconds until no connection is led to a terminating pod any more."""

PRE_STOP = 1.0
"""Seconds before it gets SIGTERM, as ``preStop`` of the Deployment has it: there 5."""

StartReplica = Callable[[], Awaitable[ClusterDispatcher]]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as made:
        yield made


@pytest.fixture
async def start_replica(
    kubernetes: KubernetesServer,
    file_server: NatsStreamingServer,
    service: Service,
    unique_name: str,
    tmp_path: Path,
) -> AsyncIterator[StartReplica]:
    """Start one more pod of the same Deployment and wait until it is ready."""
    started: list[ClusterDispatcher] = []

    async def start() -> ClusterDispatcher:
        folder = tmp_path / f"pod-{len(started)}"
        folder.mkdir()
        flags = (f"--client-id={unique_name}", "--removal-grace=1s")
        replica = ClusterDispatcher(kubernetes, file_server, folder, flags)
        started.append(replica)
        await replica.start()
        service.add(replica)
        await service.ready(replica)
        return replica

    yield start
    for replica in started:
        await replica.close_http()
        await replica.kill()


@pytest.fixture
def publishers(service: Service, channels: ChannelsOf) -> Publishers:
    return Publishers(service, channel_host(channels.namespace, "orders", "cluster.local"))


async def serve_orders(replica: ClusterDispatcher, channels: ChannelsOf, sink: Subscriber) -> None:
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))

    async def is_taken() -> bool:
        return await replica.post_to(channels.namespace, "orders", "first") == 202

    await eventually(is_taken)
    await sink.wait_until(lambda: sink.counts["first"] >= 1)


async def terminate(replica: ClusterDispatcher, service: Service) -> int:
    """Terminate as kubelet and endpoints controller do; return the exit status."""
    await asyncio.sleep(ENDPOINTS_LEAVE)
    service.remove(replica)
    await asyncio.sleep(PRE_STOP - ENDPOINTS_LEAVE)
    return await replica.stop()


async def has_session(replica: ClusterDispatcher) -> bool:
    return bool((await replica.status())["connections"]["deliver"] == "open")


async def all_arrived(publishers: Publishers, sink: Subscriber) -> None:
    await sink.wait_until(lambda: set(publishers.accepted) <= set(sink.counts), timeout=30)


async def test_a_rolling_update_loses_nothing_and_refuses_nobody(
    start_replica: StartReplica,
    service: Service,
    channels: ChannelsOf,
    publishers: Publishers,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    """``maxSurge: 1``: the new pod serves before the old one goes. Twice in a row."""
    sink.answer = slow(0.01)
    replica = await start_replica()
    await serve_orders(replica, channels, sink)
    publishers.start()
    for _ in range(2):
        await publishers.until(30)
        successor = await start_replica()
        assert not await has_session(successor), "it serves while the other one delivers"
        assert await terminate(replica, service) == 0
        await eventually(lambda: has_session(successor))  # noqa: B023  it is awaited here
        replica = successor
    await publishers.until(30)
    await publishers.stop()
    await all_arrived(publishers, sink)
    assert publishers.refused == {}
    assert sink.duplicates == 0, "who stops has acknowledged what it has delivered"
    entry = (await durables(file_server, channels.subject("orders")))["u1"]
    assert not entry["is_offline"]


async def test_every_replica_takes_events_in_and_one_delivers(
    start_replica: StartReplica, channels: ChannelsOf, sink: Subscriber
) -> None:
    first = await start_replica()
    await serve_orders(first, channels, sink)
    second = await start_replica()
    await asyncio.gather(
        *(
            replica.post_to(channels.namespace, "orders", f"{number}-{name}")
            for number in range(20)
            for name, replica in (("first", first), ("second", second))
        )
    )
    await sink.wait_for_events(41)
    assert sink.duplicates == 0
    assert await has_session(first)
    assert not await has_session(second)
    assert (await second.admin("/readyz"))[0] == 200
    standing_by = await second.subscription(f"{channels.namespace}/mail")
    assert standing_by["settled"] == 0


async def test_another_replica_delivers_within_5_seconds_of_a_sigkill(
    start_replica: StartReplica,
    service: Service,
    channels: ChannelsOf,
    publishers: Publishers,
    sink: Subscriber,
    record_property: Callable[[str, object], None],
) -> None:
    first = await start_replica()
    await serve_orders(first, channels, sink)
    second = await start_replica()
    service.remove(first)  # publishers are led to the other one, so that none is cut off
    publishers.start()
    await publishers.until(30)
    killing = time.monotonic()
    await first.kill()
    killed = time.monotonic()
    await sink.wait_until(lambda: sink.received[-1].at > killed)
    took = min(each.at for each in sink.received if each.at > killed) - killing
    await publishers.until(30)
    await publishers.stop()
    await all_arrived(publishers, sink)
    record_property("seconds until another replica delivers", round(took, 3))
    assert took < 5.0
    assert publishers.refused == {}
    assert await has_session(second)


async def test_kills_of_whoever_delivers_lose_nothing(
    start_replica: StartReplica,
    service: Service,
    channels: ChannelsOf,
    publishers: Publishers,
    sink: Subscriber,
) -> None:
    """Two replicas; the one that delivers is killed and replaced, three times, under load."""
    sink.answer = slow(0.02)
    delivering = await start_replica()
    await serve_orders(delivering, channels, sink)
    standby = await start_replica()
    publishers.start()
    for _ in range(3):
        await publishers.until(20)
        await delivering.kill()
        service.remove(delivering)
        delivering, standby = standby, await start_replica()
        await eventually(lambda: has_session(delivering))  # noqa: B023  it is awaited here
    await publishers.until(20)
    await publishers.stop()
    await all_arrived(publishers, sink)


async def test_two_replicas_get_finalizers_and_durables_right(
    start_replica: StartReplica,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    """Channels come and go, and the standby keeps nothing of them."""
    replicas = [await start_replica(), await start_replica()]
    for number in range(4):
        names = [f"c{number}-{index}" for index in range(3)]
        for name in names:
            await channels.apply(name, channels.entry("mail", sink.url, f"u-{name}"))
        for replica in replicas:
            await eventually(lambda: takes(replica, channels, names))  # noqa: B023  awaited here
        for name in names:
            await channels.delete(name)
        for name in names:
            await eventually(lambda: channels.is_gone(name))  # noqa: B023  awaited here
            assert await durables(file_server, channels.subject(name)) == {}
    for replica in replicas:
        await eventually(lambda: keeps_nothing(replica, channels))  # noqa: B023  awaited here
    await replicas[0].kill()
    await eventually(lambda: has_session(replicas[1]))
    await serve_orders(replicas[1], channels, sink)
    unsubscribed = [
        each["durable"]
        for replica in replicas
        for each in replica.entries()
        if each["event"] == "durable unsubscribed"
    ]
    assert len(unsubscribed) == len(set(unsubscribed)) == 12, "each of them once"


async def takes(replica: ClusterDispatcher, channels: ChannelsOf, names: list[str]) -> bool:
    answers = [await replica.post_to(channels.namespace, name, "e") for name in names]
    return set(answers) == {202}


async def keeps_nothing(replica: ClusterDispatcher, channels: ChannelsOf) -> bool:
    told = (await replica.status())["channels"]
    return channels.namespace not in {each["namespace"] for each in told}
