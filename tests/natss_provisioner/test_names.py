"""Channels with unusual names, on both programs: each works, or its status says why not."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from natss.contract.names import MAX_SUBJECT, channel_service_name
from natss.document import Document
from tests.natss_provisioner.conftest import Shop
from tests.support.data_plane import durables
from tests.support.installation import Installation
from tests.support.kubernetes import ApiAnswer, KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

LABEL = 63
"""The most characters of a DNS label, and so of a namespace."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    kubernetes: KubernetesServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("names")
    limits = "store_limits { max_channels: 0 }"
    server = NatsStreamingServer(folder / "nats-streaming", store="FILE", streaming=limits)
    await server.start()
    try:
        async with Installation(kubernetes, server, folder / "installation") as both:
            yield both
    finally:
        await server.stop()


@pytest.fixture
def shop(kubernetes: KubernetesServer, namespace: str) -> Shop:
    """Return a namespace without a stand-in for the dispatcher."""
    return Shop(kubernetes, namespace)


@pytest_asyncio.fixture(loop_scope="module")
async def sinks() -> AsyncIterator[list[Subscriber]]:
    started = [Subscriber() for _ in range(3)]
    for each in started:
        await each.start()
    yield started
    for each in started:
        await each.stop()


async def ready(shop: Shop, name: str) -> Document:
    return await asyncio.to_thread(shop.ready, name, 30.0)


async def serve(installation: Installation, shop: Shop, name: str, sink: Subscriber) -> str:
    """Create a channel with a subscriber; return its address as soon as events are delivered."""
    shop.create(name)
    shop.subscribe(f"to-{name}"[:LABEL].rstrip("-."), name, subscriber={"uri": sink.url})
    channel = await ready(shop, name)
    await installation.delivers_to(f"{shop.namespace}/{f'to-{name}'[:LABEL].rstrip('-.')}")
    return str(channel["status"]["address"]["hostname"])


async def test_names_alike_up_to_dots(
    installation: Installation, shop: Shop, sinks: list[Subscriber]
) -> None:
    names = ["orders.v1", "orders-v1", "ordersv1"]
    hosts = {
        name: await serve(installation, shop, name, sink)
        for name, sink in zip(names, sinks, strict=True)
    }
    assert len(set(hosts.values())) == len(names)
    post = installation.dispatcher.post_to_host
    for name, host in hosts.items():
        assert await post(host, f"{name}-1") == 202
        assert await post(f"{name}.{shop.namespace}.channels.cluster.local", f"{name}-2") == 202
    for name, sink in zip(names, sinks, strict=True):
        await sink.wait_for_events(2)
        found = await durables(installation.server, f"{name}.{shop.namespace}")
        assert len(found) == 1
    for name, sink in zip(names, sinks, strict=True):
        assert sink.counts == {f"{name}-1": 1, f"{name}-2": 1}


async def test_names_alike_up_to_case(installation: Installation, shop: Shop) -> None:
    """Kubernetes has small letters only; a Host has any."""
    shop.create("orders")
    host = (await ready(shop, "orders"))["status"]["address"]["hostname"]
    with pytest.raises(ApiAnswer, match="lowercase"):
        shop.create("Orders")
    assert await installation.dispatcher.post_to_host(host.upper(), "e1") == 202


async def test_a_dot_in_the_name_is_no_end_of_it(
    installation: Installation,
    kubernetes: KubernetesServer,
    shop: Shop,
    sinks: list[Subscriber],
    unique_name: str,
) -> None:
    """The channel ``a.b`` of the namespace ``c``, and ``a`` of ``b-c``."""
    other = Shop(kubernetes, f"b-{shop.namespace}")
    kubernetes.create("/api/v1/namespaces", {"metadata": {"name": other.namespace}})
    hosts = [
        await serve(installation, shop, f"{unique_name}.b", sinks[0]),
        await serve(installation, other, unique_name, sinks[1]),
    ]
    for number, host in enumerate(hosts):
        assert await installation.dispatcher.post_to_host(host, f"e{number}") == 202
    for number, sink in enumerate(sinks[:2]):
        await sink.wait_for_events(1)
        assert sink.counts == {f"e{number}": 1}


def long_name(length: int) -> str:
    """Return a name of so many characters, in DNS labels."""
    return ".".join(["n" * 62] * 4)[:length]


async def test_a_name_at_the_limit_in_a_namespace_of_63_characters(
    installation: Installation,
    kubernetes: KubernetesServer,
    sinks: list[Subscriber],
    unique_name: str,
) -> None:
    shop = Shop(kubernetes, f"{unique_name}-".ljust(LABEL, "x"))
    kubernetes.create("/api/v1/namespaces", {"metadata": {"name": shop.namespace}})
    name = long_name(MAX_SUBJECT - LABEL - 1)
    host = await serve(installation, shop, name, sinks[0])
    service, _, rest = host.partition(".")
    assert len(service) == LABEL
    assert rest == f"{shop.namespace}.svc.cluster.local"
    assert await installation.dispatcher.post_to_host(host, "e1") == 202
    await sinks[0].wait_for_events(1)
    assert "Ready" in {each["reason"] for each in events_about(shop, name)}

    too_long = f"{name}n"
    shop.create(too_long)
    await told(shop, too_long, "Provisioned", "Refused")
    assert "metadata.name" in shop.condition("Provisioned", too_long)["message"]
    other_host = f"{too_long}.{shop.namespace}.channels.cluster.local"
    assert await installation.dispatcher.post_to_host(other_host, "e1") in {400, 404}
    assert not shop.channel(too_long)["metadata"].get("finalizers")
    kubernetes.delete(f"{shop.channels}/{too_long}")  # which takes effect at once
    with pytest.raises(ApiAnswer, match="not found"):
        shop.channel(too_long)


async def test_a_service_of_a_long_name_that_lost_its_owner_is_put_right(
    installation: Installation, shop: Shop
) -> None:
    """Its label cannot hold the name of the channel and has only a digest of it."""
    name = long_name(100)
    shop.create(name)
    host = (await ready(shop, name))["status"]["address"]["hostname"]
    path = f"{shop.services}/{host.partition('.')[0]}"
    owners = shop.kubernetes.get(path)["metadata"]["ownerReferences"]
    shop.kubernetes.patch(path, {"metadata": {"ownerReferences": None}})

    async def is_right() -> bool:
        return bool(shop.kubernetes.get(path)["metadata"].get("ownerReferences") == owners)

    await eventually(is_right)


async def test_utf8_in_annotations(
    installation: Installation, shop: Shop, sinks: list[Subscriber]
) -> None:
    notes = {"note": "Grüße ✓ 注文 🚚", "line": "a\u2028b\nc\td\u0000".replace("\u0000", "")}
    host = await serve(installation, shop, "orders", sinks[0])
    for path in (f"{shop.channels}/orders", f"{shop.subscriptions}/to-orders"):
        shop.kubernetes.patch(path, {"metadata": {"annotations": notes}})
    arguments = {"Größe": "✓", "deadLetterURI": "http://größe/"}
    shop.kubernetes.patch(f"{shop.channels}/orders", {"spec": {"arguments": arguments}})

    async def is_told() -> bool:
        told = [each["message"] for each in events_about(shop, "orders")]
        return any("Größe" in each or "Gr\\xf6" in each for each in told)

    await eventually(is_told)
    assert await installation.dispatcher.post_to_host(host, "e1") == 202
    await sinks[0].wait_for_events(1)
    for path in (f"{shop.channels}/orders", f"{shop.subscriptions}/to-orders"):
        assert notes.items() <= shop.kubernetes.get(path)["metadata"]["annotations"].items()


async def test_a_service_that_somebody_else_made_is_left_alone_and_told(
    installation: Installation, shop: Shop
) -> None:
    name = channel_service_name(shop.namespace, "orders")
    spec = {"type": "ExternalName", "externalName": "theirs.example"}
    theirs = shop.kubernetes.create(shop.services, {"metadata": {"name": name}, "spec": spec})
    shop.create()
    await told(shop, "orders", "Addressable", "ServiceNameTaken")
    assert f"{shop.namespace}/{name}" in shop.condition("Ready")["message"]
    assert shop.kubernetes.get(f"{shop.services}/{name}") == theirs
    host = f"{name}.{shop.namespace}.svc.cluster.local"
    assert await installation.dispatcher.post_to_host(host, "e1") == 404
    shop.kubernetes.delete(f"{shop.services}/{name}")
    assert (await ready(shop, "orders"))["status"]["address"]["hostname"] == host
    assert await installation.dispatcher.post_to_host(host, "e1") == 202


def events_about(shop: Shop, name: str) -> list[Document]:
    items: list[Document] = shop.kubernetes.get(f"/api/v1/namespaces/{shop.namespace}/events")[
        "items"
    ]
    return [each for each in items if each["involvedObject"]["name"] == name]


async def told(shop: Shop, name: str, kind: str, reason: str) -> None:
    """Wait until a condition of a channel is False, and says why."""

    async def is_told() -> bool:
        conditions = shop.channel(name).get("status", {}).get("conditions", ())
        found = {each["type"]: each for each in conditions}.get(kind, {})
        return (found.get("status"), found.get("reason")) == ("False", reason)

    await eventually(is_told)
