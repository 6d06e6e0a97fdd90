"""What Kyma relies on in a channel: whose it is, its address, its headers, its bodies.

Numbers of items are those of the index in ``test_index.py``.
"""

import asyncio
import json
import random
import time

import pytest

from natss.document import Document
from tests.kyma.conftest import StartSubscriber, subscription
from tests.kyma.event_bus import API, OF_1_0, OF_1_2, PUBLISHERS, EventBus, EventType, Outcome
from tests.support.kubernetes import KubernetesServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL_TRUE = {
    "Addressable": "True",
    "Provisioned": "True",
    "ProvisionerInstalled": "True",
    "Ready": "True",
}


def conditions(document: Document) -> dict[str, str]:
    return {each["type"]: each["status"] for each in document["status"]["conditions"]}


@pytest.mark.parametrize("provisioner", [OF_1_0, OF_1_2], ids=["kyma-1.0", "kyma-1.2"])
async def test_item_01_channels_of_natss_are_ours(
    bus: EventBus, order_created: EventType, provisioner: dict[str, str]
) -> None:
    bus.provisioner = provisioner
    await bus.ensure_channel(order_created)
    assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED


async def test_item_01_all_others_are_left_alone(
    bus: EventBus, kubernetes: KubernetesServer, order_created: EventType
) -> None:
    path = f"/apis/{API}/namespaces/{bus.namespace}/channels"
    foreign = {
        "nil": {},
        "null": {"provisioner": None},
        "of-another": {"provisioner": {"name": "in-memory"}},
        "in-a-namespace": {"provisioner": {"name": "natss", "namespace": "kyma-system"}},
        "of-another-kind": {"provisioner": {"name": "natss", "kind": "Provisioner"}},
    }
    created = {
        name: kubernetes.create(
            path, {"apiVersion": API, "kind": "Channel", "metadata": {"name": name}, "spec": spec}
        )
        for name, spec in foreign.items()
    }
    await bus.ensure_channel(order_created)  # which was made later, and so is seen later
    for name, channel in created.items():
        assert kubernetes.get(f"{path}/{name}") == channel
        host = f"{name}.{bus.namespace}.channels.cluster.local"
        assert await bus.installation.dispatcher.post_to_host(host, "e1") == 404
    services = kubernetes.get(f"/api/v1/namespaces/{bus.namespace}/services")["items"]
    assert [each["metadata"]["labels"]["channel"] for each in services] == [order_created.channel]


async def test_item_02_ready_with_an_address_in_10_seconds(
    bus: EventBus, kubernetes: KubernetesServer, order_created: EventType
) -> None:
    bus.patience = 10.0
    channel = await bus.ensure_channel(order_created)
    assert conditions(channel) == ALL_TRUE
    hostname = channel["status"]["address"]["hostname"]
    assert hostname.endswith(f".{bus.namespace}.svc.cluster.local")
    provisioner = kubernetes.get(f"/apis/{API}/clusterchannelprovisioners/natss")
    assert conditions(provisioner)["Ready"] == "True"
    # Ready means that events are taken: the first one is no 404.
    assert await bus.post(hostname, {"Ce-Id": "e1"}, b"{}") == 202


async def test_item_04_both_hosts_with_or_without_port_in_any_case(
    bus: EventBus, order_created: EventType
) -> None:
    channel = await bus.ensure_channel(order_created)
    hosts = [
        channel["status"]["address"]["hostname"],
        f"{order_created.channel}.{bus.namespace}.channels.cluster.local",
    ]
    post = bus.installation.dispatcher.post_to_host
    for host in hosts:
        for spelling in (host, host.upper(), host.title()):
            for written in (spelling, f"{spelling}:80", f"{spelling}:8080", f"{spelling}."):
                assert await post(written, "e1") == 202, written


async def test_item_06_large_bodies_byte_for_byte(
    bus: EventBus, order_created: EventType, start_subscriber: StartSubscriber
) -> None:
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    await bus.delivers(mail)
    bodies = {f"e{size}": random.Random(size).randbytes(size) for size in (65_536, 65_537, 600_000)}
    for event, body in bodies.items():
        assert await bus.publish(order_created, event, body) is Outcome.PUBLISHED
    await sink.wait_for_events(len(bodies))
    assert {each.id: each.body for each in sink.received} == bodies


async def test_item_06_400_publishers_at_once_with_a_connection_each(
    bus: EventBus, order_created: EventType, start_subscriber: StartSubscriber
) -> None:
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    await bus.delivers(mail)
    channel = await bus.ensure_channel(order_created)
    host = channel["status"]["address"]["hostname"]
    ids = [f"e{number}" for number in range(PUBLISHERS)]
    answers = await asyncio.gather(*(bus.post(host, {"ce-id": each}, b"{}") for each in ids))
    assert set(answers) == {202}
    await sink.wait_for_events(PUBLISHERS)
    assert set(sink.counts) == set(ids)


FORWARDED = {
    "content-type": "application/json",
    "x-request-id": "r1",
    "ce-source-id": "ec-default",
    "knative-correlation-id": "k1",
    "x-b3-traceid": "463ac35c9f6413ad48485a3953bb6124",
    "x-b3-sampled": "1",
    "x-ot-span-context": "o1",
}


async def test_item_07_headers_that_are_forwarded(
    bus: EventBus, order_created: EventType, start_subscriber: StartSubscriber
) -> None:
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    await bus.delivers(mail)
    theirs = {"authorization": "Bearer secret", "x-forwarded-for": "1.2.3.4", "cookie": "a=b"}
    outcome = await bus.publish_with(order_created, {**FORWARDED, **theirs}, b'"data"')
    assert outcome is Outcome.PUBLISHED
    await sink.wait_until(lambda: bool(sink.received))
    headers = sink.received[0].headers
    assert {name: headers.get(name) for name in FORWARDED} == FORWARDED
    assert not [name for name in theirs if name in headers]


async def test_item_08_the_golden_vector() -> None:
    channel = EventType("ec-default", "order.created", "v1").channel
    assert channel == "kf5wxkg4bobejchlt6ekbpuwiixddqenw"


async def test_item_08_the_headers_that_an_application_gets(
    bus: EventBus, order_created: EventType, start_subscriber: StartSubscriber
) -> None:
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    await bus.delivers(mail)
    exact = {
        "content-type": "application/json",
        "ce-source": "ec-default",
        "ce-type": "order.created",
        "ce-eventtypeversion": "v1",
        "ce-xcustomheader": "custom",
    }
    any_value = {"ce-id": "4ea567cf-812b-49d9-a4b2", "ce-time": time.strftime("%FT%TZ")}
    data = json.dumps({"orderCode": "ö-1"}).encode()
    outcome = await bus.publish_with(order_created, {**exact, **any_value}, data)
    assert outcome is Outcome.PUBLISHED
    await sink.wait_for_events(1)
    (received,) = sink.received
    assert {name: received.headers[name] for name in exact} == exact
    assert all(received.headers[name] for name in any_value)
    assert received.body == data


async def test_item_10_a_whole_url_is_taken_word_for_word(
    bus: EventBus, order_created: EventType, start_subscriber: StartSubscriber
) -> None:
    sink = await start_subscriber()
    endpoint = f"http://127.0.0.1:{sink.port}/v1/events/%C3%B6rders;a=b?x=1&y=%2F"
    mail = subscription(order_created, endpoint)
    await bus.activate(mail)
    document = await bus.delivers(mail)
    assert document["status"]["physicalSubscription"]["subscriberURI"] == endpoint
    assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED
    await sink.wait_for_events(1)
    assert sink.received[0].target == "/v1/events/%C3%B6rders;a=b?x=1&y=%2F"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("orders", "http://orders.{namespace}.svc.cluster.local/"),
        ("orders:8080/in", "http://orders.{namespace}.svc.cluster.local:8080/in"),
        ("orders.other:8080/in", "http://orders.other:8080/in"),
    ],
)
async def test_item_10_names_without_scheme(
    bus: EventBus, order_created: EventType, written: str, meant: str
) -> None:
    mail = subscription(order_created, written)
    await bus.activate(mail)
    document = await bus.delivers(mail)
    name = f"{bus.namespace}/{document['metadata']['name']}"
    posted_to = (await bus.installation.delivers_to(name))["subscriber"]
    assert posted_to == meant.format(namespace=bus.namespace)
    _, _, rest = meant.partition("//")
    host = rest.format(namespace=bus.namespace).partition("/")[0].partition(":")[0]
    assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED

    async def is_looked_up() -> bool:
        return host in str((await bus.installation.delivers_to(name)).get("lastError"))

    await eventually(is_looked_up)
