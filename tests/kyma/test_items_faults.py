"""What Kyma relies on when things fail: each test has programs and a server of its own to harm.

Numbers of items are those of the index in ``test_index.py``.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kyma.conftest import StartSubscriber, streaming_server, subscription
from tests.kyma.event_bus import API, EventBus, EventType, Outcome
from tests.kyma.traffic import Traffic
from tests.support.data_plane import durables
from tests.support.installation import Installation
from tests.support.kubernetes import KubernetesServer
from tests.support.object_history import ObjectHistory
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTAGES = [float(each) for each in os.environ.get("OUTAGES", "5 20").split()]
"""Seconds that NATS Streaming is away. Every wait of ours is at its longest after 15 s, when the
session is given up, so that a minute and ten minutes are like 20 s; OUTAGES="60 600" tries them."""


@pytest.fixture
def streaming(tmp_path: Path) -> Iterator[NatsStreamingServer]:
    server = streaming_server(tmp_path / "nats-streaming")
    server.start_blocking()
    yield server
    server.stop_blocking()


@pytest_asyncio.fixture(loop_scope="module")
async def installation(
    kubernetes: KubernetesServer, streaming: NatsStreamingServer, tmp_path: Path
) -> AsyncIterator[Installation]:
    folder = tmp_path / "installation"
    async with Installation(kubernetes, streaming, folder, ("--ack-wait=3s",)) as both:
        yield both


def channels_of(bus: EventBus) -> str:
    return f"/apis/{API}/namespaces/{bus.namespace}/channels"


def subject_of(bus: EventBus, events: EventType) -> str:
    return f"{events.channel}.{bus.namespace}"


async def publishes(bus: EventBus, events: EventType) -> None:
    """Wait until events are taken again."""

    async def is_published() -> bool:
        return await bus.publish(events, "probe") is Outcome.PUBLISHED

    await eventually(is_published, 30.0)


async def test_item_03_no_outage_makes_a_channel_unready(
    bus: EventBus, order_created: EventType, streaming: NatsStreamingServer
) -> None:
    """Unready, and Kyma would answer "ignored" to its applications, and drop their events."""
    installation = bus.installation
    async with ObjectHistory(bus.installation.kubernetes, channels_of(bus)) as history:
        await bus.ensure_channel(order_created)
        await streaming.kill()
        asked = time.monotonic()
        assert await bus.publish(order_created, "e1") is Outcome.FAILED
        assert time.monotonic() - asked < 10.0
        await asyncio.to_thread(installation.provisioner.kill)
        await asyncio.to_thread(installation.provisioner.start)
        await streaming.start()
        await publishes(bus, order_created)
        await installation.dispatcher.kill()
        assert await bus.publish(order_created, "e2") is Outcome.FAILED
        await installation.dispatcher.start()
        await publishes(bus, order_created)
        # What the programs do about a channel is done before what comes after it.
        await bus.ensure_channel(EventType("ec-default", "order.deleted", "v1"))
        assert history.falls() == []
        assert history.states


async def test_item_05_while_nats_streaming_fails_the_answer_is_5xx_in_10_seconds(
    bus: EventBus, order_created: EventType, streaming: NatsStreamingServer
) -> None:
    """It stands still for longer than that: neither an answer nor a closed connection."""
    channel = await bus.ensure_channel(order_created)
    host = channel["status"]["address"]["hostname"]
    assert await bus.post(host, {"Ce-Id": "before"}, b"{}") == 202
    streaming.pause()
    try:
        asked = time.monotonic()
        status = await bus.post(host, {"Ce-Id": "meanwhile"}, b"{}")
        assert 500 <= status < 600
        assert time.monotonic() - asked < 12.0, "10 s, and some for a busy machine"
    finally:
        streaming.resume()
    await publishes(bus, order_created)


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
async def test_item_12_an_end_of_the_dispatcher_never_unsubscribes(
    bus: EventBus,
    order_created: EventType,
    streaming: NatsStreamingServer,
    start_subscriber: StartSubscriber,
    end: str,
) -> None:
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    uid = (await bus.delivers(mail))["metadata"]["uid"]
    assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED
    await sink.wait_for_events(1)
    await sink.stop()
    assert await bus.publish(order_created, "e2") is Outcome.PUBLISHED
    dispatcher = bus.installation.dispatcher
    await (dispatcher.stop() if end == "SIGTERM" else dispatcher.kill())
    assert set(await durables(streaming, subject_of(bus, order_created))) == {uid}
    await sink.start()
    await dispatcher.start()
    await sink.wait_for_events(2)
    other = subscription(order_created, sink.url, "other")
    await bus.activate(other)
    await bus.delivers(other)
    await bus.deactivate(other)
    await bus.deactivate(mail)  # the last one, so the channel goes as well
    name = subject_of(bus, order_created)

    async def are_unsubscribed() -> bool:
        return not await durables(streaming, name)

    await eventually(are_unsubscribed)


@pytest.mark.timeout(90 + 2 * max(OUTAGES))
@pytest.mark.parametrize("seconds", OUTAGES)
async def test_item_14_nats_streaming_is_away(
    bus: EventBus,
    order_created: EventType,
    streaming: NatsStreamingServer,
    start_subscriber: StartSubscriber,
    seconds: float,
) -> None:
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    await bus.delivers(mail)
    async with Traffic(bus, order_created) as traffic:
        await traffic.go_on(50)
        await streaming.kill()
        await asyncio.sleep(seconds)
        assert traffic.outcomes[list(traffic.outcomes)[-1]] is Outcome.FAILED
        await streaming.start()
        back = time.monotonic()
        await traffic.go_on(1)
        assert time.monotonic() - back < 10.0
        await traffic.go_on(50)
    await traffic.all_reach(sink)
    assert Outcome.IGNORED not in traffic.outcomes.values()


async def test_item_14_the_store_is_wiped(
    bus: EventBus,
    order_created: EventType,
    streaming: NatsStreamingServer,
    start_subscriber: StartSubscriber,
) -> None:
    """What was stored and not delivered is gone with it; all that comes later is delivered."""
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    await bus.delivers(mail)
    async with Traffic(bus, order_created) as traffic:
        await traffic.go_on(50)
        await streaming.kill()
        stored_before = traffic.mark
        streaming.wipe()
        await streaming.start()
        await traffic.go_on(100)
    await traffic.all_reach(sink, since=stored_before)


async def test_item_16_the_finalizer_comes_and_goes_also_without_nats_streaming(
    bus: EventBus,
    order_created: EventType,
    streaming: NatsStreamingServer,
    start_subscriber: StartSubscriber,
) -> None:
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    await bus.delivers(mail)
    channel = await bus.channel(order_created)
    assert channel is not None
    assert channel["metadata"]["finalizers"] == ["natss-dispatcher"]
    await streaming.kill()
    await bus.deactivate(mail)

    async def is_gone() -> bool:
        return await bus.channel(order_created) is None

    await eventually(is_gone)
    await streaming.start()

    async def is_unsubscribed() -> bool:
        return not await durables(streaming, subject_of(bus, order_created))

    await eventually(is_unsubscribed, 30.0)


async def test_item_17_an_orphaned_service_is_adopted_and_never_doubled(
    bus: EventBus, kubernetes: KubernetesServer, order_created: EventType
) -> None:
    """As Velero restores: no owner, another name than we would give."""
    services = f"/api/v1/namespaces/{bus.namespace}/services"
    await asyncio.to_thread(bus.installation.provisioner.stop)
    labels = {"channel": order_created.channel, "provisioner": "natss"}
    orphan = kubernetes.create(
        services,
        {
            "metadata": {"name": f"{order_created.channel}-channel-x7k2p", "labels": labels},
            "spec": {
                "type": "ExternalName",
                "externalName": "natss-dispatcher.knative-eventing.svc.cluster.local",
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            },
        },
    )
    await asyncio.to_thread(bus.installation.provisioner.start)
    channel = await bus.ensure_channel(order_created)
    (service,) = kubernetes.get(services)["items"]
    assert service["metadata"]["uid"] == orphan["metadata"]["uid"]
    (owner,) = service["metadata"]["ownerReferences"]
    assert owner["uid"] == channel["metadata"]["uid"]
    assert channel["status"]["address"]["hostname"].startswith(f"{orphan['metadata']['name']}.")
    assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED


@pytest.mark.timeout(120)
async def test_item_17_a_refusal_of_the_api_is_tried_again(
    bus: EventBus, kubernetes: KubernetesServer, order_created: EventType
) -> None:
    """A quota that is used up refuses the Service; it is tried again within 36 s."""
    bus.patience = 60.0
    quotas = f"/api/v1/namespaces/{bus.namespace}/resourcequotas"
    hard = {"services": "0"}
    kubernetes.create(quotas, {"metadata": {"name": "none"}, "spec": {"hard": hard}})
    full = {"hard": hard, "used": {"services": "0"}}  # written by a controller, elsewhere
    kubernetes.patch(f"{quotas}/none/status", {"status": full})
    waiting = asyncio.create_task(bus.ensure_channel(order_created))

    async def is_refused() -> bool:
        channel = await bus.channel(order_created)
        return "exceeded quota" in str((channel or {}).get("status"))

    await eventually(is_refused)
    kubernetes.delete(f"{quotas}/none")
    await waiting
    assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED
