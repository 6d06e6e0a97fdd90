"""The walk: install, subscribe, publish, delete, remove; with docs/install.md in hand."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from natss.document import Document
from tests.support.documents import examples, section
from tests.support.kubernetes import KubernetesServer, running_kubernetes
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually
from tests.walk.node import Node
from tests.walk.pods import Pod
from tests.walk.shell import Shell

SERVICES = "/api/v1/namespaces/shop/services"
SUBSCRIPTION = """
---
apiVersion: eventing.knative.dev/v1alpha1
kind: Subscription
metadata: {name: NAME, namespace: shop}
spec:
  channel: {apiVersion: eventing.knative.dev/v1alpha1, kind: Channel, name: orders}
  subscriber: {uri: "URI"}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesServer]:
    """Yield a cluster in which nothing was ever installed."""
    with running_kubernetes(tmp_path / "kubernetes") as server:
        yield server


@pytest.fixture
async def streaming(tmp_path: Path) -> AsyncIterator[NatsStreamingServer]:
    cluster_id = "knative-nats-streaming"
    server = NatsStreamingServer(tmp_path / "natss", store="FILE", cluster_id=cluster_id)
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


class Installed:
    """A cluster in which a person does what the document says; pods are processes.

    Args:
        cluster: Where to.
        streaming: The server of the dispatcher, in place of that of the manifests.
        folder: For pods and shell.
    """

    def __init__(
        self, cluster: KubernetesServer, streaming: NatsStreamingServer, folder: Path
    ) -> None:
        self.cluster = cluster
        self.shell = Shell(cluster, folder / "shell")
        self.pods: dict[str, Pod] = {}
        self._folder = folder
        # The subscribers of the test are on loopback, which is refused in a cluster.
        self._overrides = {"DEFAULT_NATSS_URL": streaming.url, "EGRESS_DENY": "none"}

    async def follow(self, heading: str) -> None:
        """Run all commands of a section of the document."""
        for script in examples("sh", section("docs/install.md", heading)):
            await self.run(script)

    async def run(self, script: str) -> str:
        return await asyncio.to_thread(self.shell.run, script)

    def start(self, workload: Document) -> None:
        """Start one pod of a Deployment of this project."""
        if workload["metadata"]["name"] != "nats-streaming":
            pod = Pod(self.cluster, workload, self._folder, self._overrides)
            self.pods[pod.name] = pod
            pod.start()

    def stop(self) -> dict[str, int]:
        """End all pods; return their exit statuses."""
        return {name: pod.stop() for name, pod in self.pods.items()}


@pytest.mark.timeout(200)
async def test_the_walk(
    cluster: KubernetesServer,
    streaming: NatsStreamingServer,
    subscribers: list[Subscriber],
    tmp_path: Path,
) -> None:
    installed = Installed(cluster, streaming, tmp_path)
    try:
        with Node(cluster, installed.start):
            await installed.follow("An empty cluster")
            cluster.start_controllers()  # they would take half a minute to see new kinds
            host = await ready_channel(installed, subscribers)
            await events_reach_all(installed, host, subscribers)
            await deletion_leaves_nothing(installed, streaming)
            await installed.follow("Remove it")
    finally:
        statuses = await asyncio.to_thread(installed.stop)
    assert statuses == {"natss-controller": 0, "natss-dispatcher": 0}
    kinds = "crd,namespace,clusterrole,clusterrolebinding,priorityclass"
    left = await installed.run(f"kubectl get {kinds} -o name")
    assert "natss" not in left
    assert "knative" not in left


async def ready_channel(installed: Installed, subscribers: list[Subscriber]) -> str:
    """Subscribe all to the channel of the example; return its host, as ``kubectl get`` shows it."""
    text = "".join(
        SUBSCRIPTION.replace("NAME", name).replace("URI", subscriber.url + name)
        for name, subscriber in zip(("mail", "audit"), subscribers, strict=True)
    )
    await installed.run(f"kubectl apply -f - <<'END'\n{text}\nEND")
    wait = "kubectl wait --for=condition=Ready -n shop --timeout=30s"
    await installed.run(f"{wait} channel/orders subscription/mail subscription/audit")
    head, row = (await installed.run("kubectl get channel -n shop")).splitlines()
    (service,) = installed.cluster.get(SERVICES)["items"]
    host = f"{service['metadata']['name']}.shop.svc.cluster.local"
    assert head.split() == ["NAME", "READY", "REASON", "ADDRESS", "PROVISIONER", "AGE"]
    assert row.split()[:3] == ["orders", "True", host]  # there is no reason
    return host


async def events_reach_all(installed: Installed, host: str, subscribers: list[Subscriber]) -> None:
    url = installed.pods["natss-dispatcher"].url("events")
    ids = [f"event-{number}" for number in range(20)]
    async with aiohttp.ClientSession() as session:
        for event_id in ids:
            assert await post(session, url, host, event_id) == 202
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


async def deletion_leaves_nothing(installed: Installed, streaming: NatsStreamingServer) -> None:
    assert len(await durables(streaming)) == 3  # that of the example as well
    everything = "subscription/mail subscription/audit subscription/warehouse channel/orders"
    await installed.run(f"kubectl delete -n shop --timeout=30s {everything}")

    async def is_service_gone() -> bool:
        return not (await asyncio.to_thread(installed.cluster.get, SERVICES))["items"]

    async def are_durables_gone() -> bool:
        return not await durables(streaming)

    await eventually(is_service_gone, 45.0)
    await eventually(are_durables_gone, 25.0)


async def durables(streaming: NatsStreamingServer) -> list[Document]:
    return list((await streaming.channelsz("orders.shop")).get("subscriptions") or ())
