"""The walk: install, channel, subscriptions, events, delete, uninstall; as a user does it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import CONFIG
from tests.data_plane import eventually
from tests.kubernetes import Document, KubernetesServer
from tests.servers import NatsStreamingServer
from tests.subscriber import Subscriber
from tests.walk.pods import Pod

DEPLOYMENTS = "/apis/apps/v1/namespaces/knative-eventing/deployments"
SERVICES = "/api/v1/namespaces/shop/services"
CHANNEL = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: eventing.knative.dev/v1alpha1
kind: Channel
metadata: {name: orders, namespace: shop}
spec:
  provisioner: {name: natss}
"""
SUBSCRIPTION = """
---
apiVersion: eventing.knative.dev/v1alpha1
kind: Subscription
metadata: {name: NAME, namespace: shop}
spec:
  channel: {apiVersion: eventing.knative.dev/v1alpha1, kind: Channel, name: orders}
  subscriber: {uri: "URI"}
"""
READY = ["wait", "--for=condition=Ready", "--timeout=25s", "--namespace=shop"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesServer]:
    """A cluster in which nothing was ever installed."""
    server = KubernetesServer(tmp_path / "kubernetes")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def streaming(tmp_path: Path) -> AsyncIterator[NatsStreamingServer]:
    server = NatsStreamingServer(
        tmp_path / "natss", store="FILE", cluster_id="knative-nats-streaming"
    )
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def subscribers() -> AsyncIterator[list[Subscriber]]:
    started = [Subscriber(), Subscriber()]
    for each in started:
        await each.start()
    yield started
    for each in started:
        await each.stop()


@pytest.mark.timeout(150)
async def test_the_walk(
    cluster: KubernetesServer,
    streaming: NatsStreamingServer,
    subscribers: list[Subscriber],
    tmp_path: Path,
) -> None:
    await kubectl(cluster, "apply", "-k", str(CONFIG / "default"))
    cluster.start_controllers()
    pods = [pod(cluster, name, tmp_path, streaming) for name in ("controller", "dispatcher")]
    try:
        await asyncio.gather(*(each.start() for each in pods))
        await events_reach_all(cluster, pods[1], subscribers)
        await deletion_leaves_nothing(cluster, streaming)
    finally:
        statuses = [await each.stop() for each in pods]
    assert statuses == [0, 0]
    await kubectl(cluster, "delete", "--timeout=25s", "-k", str(CONFIG / "default"))
    left = await kubectl(cluster, "get", "crd,namespace,clusterrole,clusterrolebinding")
    assert "knative" not in left
    assert "natss" not in left


def pod(cluster: KubernetesServer, name: str, folder: Path, streaming: NatsStreamingServer) -> Pod:
    overrides = {"DEFAULT_NATSS_URL": streaming.url, "EGRESS_DENY": "none"}
    return Pod(cluster, cluster.get(f"{DEPLOYMENTS}/natss-{name}"), folder, overrides)


async def events_reach_all(
    cluster: KubernetesServer, dispatcher: Pod, subscribers: list[Subscriber]
) -> None:
    text = CHANNEL
    for name, subscriber in zip(("mail", "audit"), subscribers, strict=True):
        text += SUBSCRIPTION.replace("NAME", name).replace("URI", subscriber.url + name)
    await kubectl(cluster, "apply", "-f", "-", text=text)
    await kubectl(cluster, *READY, "channel/orders", "subscription/mail", "subscription/audit")
    head, row = (await kubectl(cluster, "get", "channel", "--namespace=shop")).splitlines()
    (service,) = cluster.get(SERVICES)["items"]
    host = f"{service['metadata']['name']}.shop.svc.cluster.local"
    assert head.split() == ["NAME", "READY", "REASON", "ADDRESS", "AGE"]
    assert row.split()[:3] == ["orders", "True", host]  # there is no reason
    ids = [f"event-{number}" for number in range(20)]
    async with aiohttp.ClientSession() as session:
        for event_id in ids:
            assert await post(session, dispatcher.url("events"), host, event_id) == 202
    for subscriber in subscribers:
        await eventually(partial(has_all, subscriber, ids), 25.0)
        assert subscriber.duplicates == 0


async def post(session: aiohttp.ClientSession, url: str, host: str, event_id: str) -> int:
    headers = {
        "Host": host,
        "Content-Type": "application/json",
        "Ce-Id": event_id,
        "Ce-Source": "/shop",
        "Ce-Type": "order.created",
        "Ce-Specversion": "1.0",
    }
    async with session.post(url, data=b'{"order": 1}', headers=headers) as response:
        return response.status


async def has_all(subscriber: Subscriber, ids: list[str]) -> bool:
    return set(subscriber.counts) == set(ids)


async def deletion_leaves_nothing(
    cluster: KubernetesServer, streaming: NatsStreamingServer
) -> None:
    assert len(await durables(streaming)) == 2
    everything = ["subscription/mail", "subscription/audit", "channel/orders"]
    await kubectl(cluster, "delete", "--timeout=25s", "--namespace=shop", *everything)

    async def is_service_gone() -> bool:
        return not (await asyncio.to_thread(cluster.get, SERVICES))["items"]

    async def are_durables_gone() -> bool:
        return not await durables(streaming)

    await eventually(is_service_gone, 45.0)
    await eventually(are_durables_gone, 25.0)


async def durables(streaming: NatsStreamingServer) -> list[Document]:
    return list((await streaming.channelsz("orders.shop")).get("subscriptions") or ())


async def kubectl(cluster: KubernetesServer, *arguments: str, text: str | None = None) -> str:
    return await asyncio.to_thread(cluster.kubectl, *arguments, text=text)
