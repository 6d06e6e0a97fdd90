"""Where the dispatcher tells that it serves a host: on a real API, as the manifests' account."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.cluster_dispatcher import ACCOUNT, NAMESPACE, ChannelsOf, ClusterDispatcher
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

OWN_KUBERNETES = True  # tests here take roles away

CONTROLLER = "natss-controller"
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/natss-dispatcher"


@pytest.fixture
async def natss(natss_server: StartServer) -> NatsStreamingServer:
    """Return a server of the test's own, to be killed."""
    return await natss_server()


@pytest.fixture
async def dispatchers(
    kubernetes: KubernetesServer, natss: NatsStreamingServer, tmp_path: Path, unique_name: str
) -> AsyncIterator[list[ClusterDispatcher]]:
    """Yield two replicas, not started yet."""
    replicas = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        flags = (f"--client-id={unique_name}",)
        replicas.append(ClusterDispatcher(kubernetes, natss, folder, flags))
    yield replicas
    for replica in replicas:
        await replica.close_http()
        await replica.stop()


@pytest.fixture
def dispatcher(dispatchers: list[ClusterDispatcher]) -> ClusterDispatcher:
    return dispatchers[0]


async def give_address(channels: ChannelsOf, name: str, host: str) -> None:
    """Write the address as the controller does, with its account."""
    kubernetes = channels.kubernetes
    await asyncio.to_thread(
        kubernetes.request,
        "PATCH",
        f"{channels.path}/{name}/status",
        {"status": {"address": {"hostname": host}}},
        token=kubernetes.token_of(NAMESPACE, CONTROLLER),
        content_type="application/merge-patch+json",
    )


async def reported(channels: ChannelsOf, name: str) -> object:
    """Return the host that is reported as served; None if there is none."""
    channel = await channels.get(name)
    status = (channel or {}).get("status") or {}
    return (status.get("dispatcher") or {}).get("host")


async def wait_reported(channels: ChannelsOf, name: str, host: str) -> None:
    async def is_reported() -> bool:
        return await reported(channels, name) == host

    await eventually(is_reported)


def writes(channels: ChannelsOf) -> list[str]:
    """Return every report of dispatchers on channels of the test's namespace."""
    return [
        write
        for write in channels.kubernetes.writes(NAMESPACE, ACCOUNT)
        if f"/namespaces/{channels.namespace}/" in write and "/status" in write
    ]


async def test_a_host_is_told_once_it_is_served(
    dispatcher: ClusterDispatcher, channels: ChannelsOf
) -> None:
    host = f"orders-channel-x.{channels.namespace}.svc.cluster.local"
    await channels.apply("orders")
    await dispatcher.start()
    await channels.apply("served-without-address")
    await give_address(channels, "orders", host)
    await wait_reported(channels, "orders", host)
    assert await dispatcher.post_to_host(host, "e1") == 202
    assert await reported(channels, "served-without-address") is None

    await give_address(channels, "orders", f"new-{host}")
    await wait_reported(channels, "orders", f"new-{host}")
    assert await dispatcher.post_to_host(f"new-{host}", "e2") == 202


async def test_a_tenant_cannot_take_the_host_of_another(
    dispatcher: ClusterDispatcher, channels: ChannelsOf, natss: NatsStreamingServer
) -> None:
    """Nor have its events refused: who may edit Channels may often write their status, too."""
    host = f"orders-channel-x.{channels.namespace}.svc.cluster.local"
    thief = ChannelsOf(channels.kubernetes, f"{channels.namespace}-thief")
    channels.kubernetes.create("/api/v1/namespaces", {"metadata": {"name": thief.namespace}})
    await thief.apply("orders")
    await give_address(thief, "orders", host)
    await channels.apply("orders")
    await give_address(channels, "orders", host)
    await dispatcher.start()
    await wait_reported(channels, "orders", host)
    assert await dispatcher.post_to_host(host, "e1") == 202
    assert (await natss.channelsz(channels.subject("orders")))["msgs"] == 1
    assert await reported(thief, "orders") is None

    def told() -> list[str]:
        events = channels.kubernetes.get(f"/api/v1/namespaces/{thief.namespace}/events")["items"]
        return [each["message"] for each in events if each["reason"] == "Ignored"]

    async def is_told() -> bool:
        return any(
            "is a name of another namespace" in text for text in await asyncio.to_thread(told)
        )

    await eventually(is_told)


async def test_two_replicas_and_their_restarts_write_it_once(
    dispatchers: list[ClusterDispatcher], channels: ChannelsOf
) -> None:
    await asyncio.gather(*(each.start() for each in dispatchers))
    names = [f"c{number}" for number in range(20)]
    for name in names:
        await channels.apply(name)
        await give_address(channels, name, f"{name}.{channels.namespace}.example")
    for name in names:
        await wait_reported(channels, name, f"{name}.{channels.namespace}.example")
    stored = [await channels.get(name) for name in names]
    for replica in dispatchers:
        await replica.stop()
        await replica.start()
        await asyncio.sleep(2)  # it looks every second
    assert [await channels.get(name) for name in names] == stored
    assert len(writes(channels)) <= 1.5 * len(names), "both write only when one is slow"


async def test_neither_an_outage_nor_an_end_takes_it_back(
    dispatcher: ClusterDispatcher, channels: ChannelsOf, natss: NatsStreamingServer
) -> None:
    host = f"orders.{channels.namespace}.example"
    await dispatcher.start()
    await channels.apply("orders")
    await give_address(channels, "orders", host)
    await wait_reported(channels, "orders", host)
    await natss.kill()
    await dispatcher.wait_for_log("connection lost")
    await channels.apply("new")  # in the outage, and yet its requests come here
    await give_address(channels, "new", f"new.{host}")
    await wait_reported(channels, "new", f"new.{host}")
    await dispatcher.stop()
    assert await reported(channels, "orders") == host


async def test_a_host_that_two_channels_claim_is_told_for_neither(
    dispatcher: ClusterDispatcher, channels: ChannelsOf
) -> None:
    host = f"shared.{channels.namespace}.example"
    for name in ("a", "b"):
        await channels.apply(name)
        await give_address(channels, name, host)
    await dispatcher.start()
    await dispatcher.wait_for_log("problem in the channels", where=host)
    await give_address(channels, "b", f"b.{host}")
    await wait_reported(channels, "a", host)
    await wait_reported(channels, "b", f"b.{host}")
    assert len(writes(channels)) == 2


async def test_nothing_is_told_before_nats_streaming_was_reached(
    dispatcher: ClusterDispatcher, channels: ChannelsOf, natss: NatsStreamingServer
) -> None:
    """No request is led to a dispatcher that is not ready."""
    host = f"orders.{channels.namespace}.example"
    await natss.kill()
    await channels.apply("orders")
    await give_address(channels, "orders", host)
    await dispatcher.start(until="/healthz")
    await dispatcher.wait_for_log("channels applied")
    await asyncio.sleep(1.5)
    assert await reported(channels, "orders") is None
    await natss.restart()
    await wait_reported(channels, "orders", host)


async def test_without_the_role_events_are_delivered_and_it_is_told_later(
    dispatcher: ClusterDispatcher, channels: ChannelsOf
) -> None:
    kubernetes = channels.kubernetes
    role = await asyncio.to_thread(kubernetes.get, ROLE)
    rules = [rule for rule in role["rules"] if rule["resources"] == ["channels"]]
    assert rules
    host = f"orders.{channels.namespace}.example"
    await channels.apply("orders")
    await give_address(channels, "orders", host)
    for number in range(5):
        wrong = channels.document(f"wrong{number}")
        wrong["spec"]["arguments"] = {"ackWiat": "5s"}
        await asyncio.to_thread(kubernetes.create, channels.path, wrong)
    await asyncio.to_thread(kubernetes.patch, ROLE, {"rules": rules})
    try:
        await dispatcher.start()
        await dispatcher.wait_for_log("the status of channels cannot be written")
        await dispatcher.wait_for_log("an Event could not be written")
        assert await dispatcher.post_to_host(host, "e1") == 202
        await asyncio.sleep(2)
    finally:
        await asyncio.to_thread(kubernetes.patch, ROLE, {"rules": role["rules"]})
    await wait_reported(channels, "orders", host)
    await dispatcher.wait_for_log("the status of channels is written again")
    told = [each["event"] for each in dispatcher.entries()]
    assert len([each for each in told if "status of channels" in each]) == 2, told
    assert len([each for each in told if "could not be written" in each]) == 1, told
