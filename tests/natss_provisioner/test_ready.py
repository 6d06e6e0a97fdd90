"""When a Channel becomes ready, and that it stays so: with and without a real dispatcher.

On an API of its own, so that nothing else serves what these tests create.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from natss.contract.names import DISPATCHER_FINALIZER
from natss.document import Document
from natss.kube import EventRecorder, KubeClient, connection_info
from natss_provisioner.children import DispatcherPlace
from natss_provisioner.handlers import channel
from natss_provisioner.handlers.context import Context
from tests.natss_provisioner.conftest import Shop
from tests.support.channel_ids import channel_id
from tests.support.installation import Installation
from tests.support.kubernetes import KubernetesServer, until
from tests.support.object_history import ObjectHistory
from tests.support.provisioner_process import ACCOUNT, NAMESPACE, ProvisionerProcess
from tests.support.servers import NatsStreamingServer

OWN_KUBERNETES = True

LONG_AGO = "2019-06-01T10:00:00Z"
ALL_TRUE = [
    {"type": kind, "status": "True", "lastTransitionTime": LONG_AGO}
    for kind in ("Addressable", "Provisioned", "ProvisionerInstalled", "Ready")
]
NOT_SERVED = ("False", "DispatcherNotReady")


@pytest.fixture
def shop(kubernetes: KubernetesServer, namespace: str) -> Shop:
    """Return a namespace whose channels are not served."""
    return Shop(kubernetes, namespace)


@pytest.fixture
def provisioner(kubernetes: KubernetesServer, tmp_path: Path) -> Iterator[ProvisionerProcess]:
    process = ProvisionerProcess(kubernetes, tmp_path / "log")
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def context(
    kubernetes: KubernetesServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Context]:
    """Return the context of handlers, with the account of the provisioner, a minute from now."""
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig_of(NAMESPACE, ACCOUNT)))
    client = KubeClient(connection_info, field_manager="natss-provisioner")
    events = EventRecorder(client, component="tests", instance="one")

    def in_a_minute() -> str:
        return (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    yield Context(client, events, DispatcherPlace(NAMESPACE, "cluster.local"), now=in_a_minute)
    await client.close()


def told(shop: Shop, kind: str, name: str = "orders") -> tuple[str, str | None]:
    condition = shop.condition(kind, name)
    return condition["status"], condition.get("reason")


def serve(shop: Shop, host: str, name: str = "orders") -> None:
    """Report a channel as served, as a dispatcher does."""
    body = {"status": {"dispatcher": {"host": host}}}
    shop.kubernetes.patch(f"{shop.channels}/{name}/status", body)


def test_a_channel_is_ready_once_its_own_host_is_served(
    shop: Shop, provisioner: ProvisionerProcess
) -> None:
    shop.create()
    address = until(lambda: shop.channel()["status"]["address"]["hostname"], 20.0)
    for kind in ("Provisioned", "Ready"):
        assert told(shop, kind) == NOT_SERVED
        assert address in shop.condition(kind)["message"]
    assert told(shop, "Addressable") == ("True", None)
    serve(shop, "another.host")
    # What belongs to this change is done when a channel that came after it has its address.
    shop.create("later")
    until(lambda: shop.condition("Addressable", "later"), 20.0)
    assert told(shop, "Ready") == NOT_SERVED
    serve(shop, address)
    shop.ready()
    assert shop.events("DispatcherNotReady") == [], "every new channel waits for a moment"


@pytest.fixture
def of_go(shop: Shop) -> Document:
    """Create a channel as Go left it, ready, with a Service named by Go; return its status."""
    owner = {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "name": "orders",
        "uid": shop.create()["metadata"]["uid"],
        "controller": True,
    }
    labels = {"channel": "orders", "provisioner": "natss"}
    service = {
        "metadata": {
            "name": "orders-channel-x7k2p",
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {"type": "ExternalName", "externalName": "to.be.repaired"},
    }
    shop.kubernetes.create(shop.services, service)
    host = f"orders-channel-x7k2p.{shop.namespace}.svc.cluster.local"
    status = {"address": {"hostname": host}, "conditions": ALL_TRUE, "observedGeneration": 1}
    shop.kubernetes.patch(f"{shop.channels}/orders/status", {"status": status})
    return status


def test_what_go_called_ready_stays_so_before_a_dispatcher_of_ours_is_there(
    shop: Shop, of_go: Document, provisioner: ProvisionerProcess
) -> None:
    until(lambda: shop.service()["spec"]["externalName"] != "to.be.repaired", 20.0)
    change: Document = {"spec": {"arguments": {"retry": 1}}}
    changed = shop.kubernetes.patch(f"{shop.channels}/orders", change)
    generation = changed["metadata"]["generation"]
    until(lambda: shop.channel()["status"]["observedGeneration"] == generation, 20.0)
    assert shop.channel()["status"] == {**of_go, "observedGeneration": generation}


def test_it_stays_ready_when_its_service_gets_another_name(
    shop: Shop, of_go: Document, provisioner: ProvisionerProcess
) -> None:
    until(lambda: shop.service()["spec"]["externalName"] != "to.be.repaired", 20.0)
    shop.kubernetes.delete(f"{shop.services}/orders-channel-x7k2p")
    until(lambda: shop.channel()["status"]["address"] != of_go["address"], 20.0)
    assert shop.channel()["status"]["conditions"] == ALL_TRUE


async def test_that_no_dispatcher_comes_is_told(shop: Shop, context: Context) -> None:
    def look() -> list[str]:
        return shop.events("DispatcherNotReady")

    await asyncio.to_thread(shop.create)
    # There is no process here that would do so.
    await asyncio.to_thread(
        shop.kubernetes.patch,
        "/apis/eventing.knative.dev/v1alpha1/clusterchannelprovisioners/natss/status",
        {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
    )
    name = channel_id(shop.namespace, "orders")
    assert await channel.reconcile(context, name) == 10.0
    assert await asyncio.to_thread(look) == []
    long_ago = [
        {**each, "lastTransitionTime": LONG_AGO} for each in shop.channel()["status"]["conditions"]
    ]
    body = {"status": {"conditions": long_ago}}
    await asyncio.to_thread(shop.kubernetes.patch, f"{shop.channels}/orders/status", body)
    assert await channel.reconcile(context, name) is None
    (message,) = await asyncio.to_thread(look)
    assert "look at the pods with the label role=dispatcher" in message


@pytest.mark.timeout(120)
async def test_with_a_dispatcher_it_is_ready_at_once_and_never_falls(
    kubernetes: KubernetesServer,
    shop: Shop,
    file_server: NatsStreamingServer,
    tmp_path: Path,
) -> None:
    async with (
        Installation(kubernetes, file_server, tmp_path / "both") as installed,
        ObjectHistory(kubernetes, shop.channels) as history,
    ):
        began = time.monotonic()
        await asyncio.to_thread(shop.create)
        await history.wait_until(lambda: _is_ready(history.of("orders")))
        assert time.monotonic() - began < 10, "Kyma waits no longer"
        address = history.of("orders")[-1]["status"]["address"]["hostname"]
        assert await installed.dispatcher.post_to_host(address, "1") == 202
        await file_server.kill()
        await installed.dispatcher.kill()
        await asyncio.to_thread(installed.provisioner.kill)
        await asyncio.to_thread(installed.provisioner.start)
        change: Document = {"spec": {"arguments": {"retry": 1}}}
        generation = kubernetes.patch(f"{shop.channels}/orders", change)["metadata"]["generation"]
        await history.wait_until(
            lambda: history.of("orders")[-1]["status"]["observedGeneration"] == generation
        )
        assert await asyncio.to_thread(shop.ready)
        await file_server.start()
        await installed.dispatcher.start()
        assert await installed.dispatcher.post_to_host(address, "2") == 202
        assert history.falls() == []


@pytest.mark.timeout(120)
async def test_a_channel_stays_with_natss_until_it_is_deleted(
    kubernetes: KubernetesServer, shop: Shop, file_server: NatsStreamingServer, tmp_path: Path
) -> None:
    async with (
        Installation(kubernetes, file_server, tmp_path / "both") as installed,
        ObjectHistory(kubernetes, shop.channels) as history,
    ):
        await asyncio.to_thread(shop.create)
        address = (await asyncio.to_thread(shop.ready))["status"]["address"]["hostname"]
        other: Document = {"spec": {"provisioner": {"name": "in-memory"}}}
        await asyncio.to_thread(kubernetes.patch, f"{shop.channels}/orders", other)
        await asyncio.to_thread(
            until, lambda: shop.condition("SpecAccepted")["reason"] == "Immutable", 20.0
        )
        await installed.dispatcher.stop()
        await installed.dispatcher.start()
        assert await installed.dispatcher.post_to_host(address, "1") == 202
        assert history.falls() == []
        await asyncio.to_thread(kubernetes.delete, f"{shop.channels}/orders")
        await history.wait_until(lambda: history.states[-1][0] == "DELETED")


def _is_ready(states: list[Document]) -> bool:
    conditions = (states[-1].get("status") or {}).get("conditions") if states else None
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions or ())


async def test_that_no_dispatcher_releases_a_deleted_channel_is_told(
    shop: Shop, context: Context
) -> None:
    def deleted() -> Document:
        shop.create()
        finalizers: Document = {"metadata": {"finalizers": [DISPATCHER_FINALIZER, "some.body/x"]}}
        shop.kubernetes.patch(f"{shop.channels}/orders", finalizers)
        shop.kubernetes.delete(f"{shop.channels}/orders")
        return shop.channel()

    def look() -> list[str]:
        return shop.events("DispatcherNotReady")

    at: str = (await asyncio.to_thread(deleted))["metadata"]["deletionTimestamp"]
    name = channel_id(shop.namespace, "orders")
    assert await channel.reconcile(replace(context, now=lambda: at), name) == 10.0
    assert await asyncio.to_thread(look) == [], "the dispatcher needs a moment"
    assert await channel.reconcile(context, name) is None
    (message,) = await asyncio.to_thread(look)
    assert "The channel waits to be deleted" in message
    assert "look at the pods with the label role=dispatcher" in message
    others: Document = {"metadata": {"finalizers": ["some.body/x"]}}
    await asyncio.to_thread(shop.kubernetes.patch, f"{shop.channels}/orders", others)
    assert await channel.reconcile(replace(context, now=lambda: at), name) is None
