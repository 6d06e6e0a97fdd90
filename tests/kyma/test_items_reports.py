"""What is wrong is told where people look, and no channel becomes unready for it.

Item 18 of the index in ``test_index.py``.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from natss.document import Document
from tests.kyma.conftest import CLUSTER_ID, LIMITS, StartSubscriber, subscription
from tests.kyma.event_bus import API, EventBus, EventType, Outcome
from tests.support.installation import Installation
from tests.support.kubernetes import KubernetesServer
from tests.support.object_history import ObjectHistory
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import status
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

DISPATCHER_FLAGS = ("--ack-wait=2s", "--timeout=1s", "--stuck-after=2s")
AUTHORIZATION = 'authorization {{ user: "eb", password: "{}" }}'

ORDER_DELETED = EventType("ec-default", "order.deleted", "v1")

Restart = Callable[[str], Awaitable[None]]


@pytest_asyncio.fixture(loop_scope="module")
async def streaming(tmp_path: Path) -> AsyncIterator[NatsStreamingServer]:
    server = NatsStreamingServer(
        tmp_path / "nats-streaming",
        store="FILE",
        cluster_id=CLUSTER_ID,
        streaming=LIMITS,
        nats=AUTHORIZATION.format("right"),
    )
    await server.start()
    yield server
    await server.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def installation(
    kubernetes: KubernetesServer, streaming: NatsStreamingServer, tmp_path: Path
) -> AsyncIterator[Installation]:
    url = f"nats://eb:right@127.0.0.1:{streaming.port}"
    flags = ("--natss-url", url, *DISPATCHER_FLAGS)
    async with Installation(kubernetes, streaming, tmp_path / "installation", flags) as both:
        yield both


async def events_of(kubernetes: KubernetesServer, namespace: str, about: Document) -> set[str]:
    """Return the reasons of the Events of an object."""
    found = await asyncio.to_thread(kubernetes.get, f"/api/v1/namespaces/{namespace}/events")
    uid = about["metadata"]["uid"]
    return {each["reason"] for each in found["items"] if each["involvedObject"]["uid"] == uid}


async def has_event(bus: EventBus, events: EventType, reason: str) -> None:
    """Wait until a channel has an Event."""
    channel = await bus.channel(events)
    assert channel is not None

    async def is_told() -> bool:
        kubernetes = bus.installation.kubernetes
        return reason in await events_of(kubernetes, bus.namespace, channel)

    await eventually(is_told, 30.0)


async def new_events_of_provisioner(
    kubernetes: KubernetesServer,
) -> Callable[[], Awaitable[set[str]]]:
    """Return a function for the reasons of the provisioner's Events from now on."""
    path = "/api/v1/namespaces/default/events"
    before = await asyncio.to_thread(kubernetes.get, path)
    counts = {each["metadata"]["name"]: each.get("count") for each in before["items"]}

    async def found() -> set[str]:
        now = await asyncio.to_thread(kubernetes.get, path)
        return {
            each["reason"]
            for each in now["items"]
            if counts.get(each["metadata"]["name"]) != each.get("count")
        }

    return found


async def figure(bus: EventBus, name: str, *labels: str) -> float:
    """Return one metric, the first with these labels; 0 if there is none."""
    _, text = await bus.installation.dispatcher.admin("/metrics")
    for line in text.splitlines():
        if re.match(rf"{name}[ {{]", line) and all(each in line for each in labels):
            return float(line.rpartition(" ")[2])
    return 0.0


async def test_item_18_the_limit_of_channels(
    bus: EventBus,
    kubernetes: KubernetesServer,
    streaming: NatsStreamingServer,
    order_created: EventType,
) -> None:
    path = f"/apis/{API}/namespaces/{bus.namespace}/channels"
    async with ObjectHistory(kubernetes, path) as history:
        await bus.ensure_channel(order_created)
        assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED
        await bus.ensure_channel(ORDER_DELETED)
        await is_full(bus, streaming)
        await published(bus, order_created)
        assert await bus.publish(ORDER_DELETED, "e1") is Outcome.FAILED
        await has_event(bus, ORDER_DELETED, "ChannelLimitReached")
        channel = f'namespace="{bus.namespace}",channel="{ORDER_DELETED.channel}"'
        labels = (channel, 'result="channel_limit"')
        assert await figure(bus, "natss_channel_events_total", *labels) >= 1
        await published(bus, order_created)
        assert history.falls() == []


async def is_full(bus: EventBus, streaming: NatsStreamingServer) -> None:
    """Start the server again without room for one channel more than it has by now."""

    async def are_open() -> bool:
        channels = (await bus.installation.dispatcher.status())["channels"]
        return all(
            each["durableState"] == "open"
            for channel in channels
            for each in channel["subscriptions"]
        )

    await eventually(are_open)  # those of tests before, too
    count = (await streaming.monitor("/streaming/channelsz"))["total"]
    await streaming.stop()
    streaming.streaming = f"store_limits {{ max_channels: {count} }}"
    await streaming.start()


async def published(bus: EventBus, events: EventType) -> None:
    """Wait until an event is taken."""

    async def is_published() -> bool:
        return await bus.publish(events, "probe") is Outcome.PUBLISHED

    await eventually(is_published, 30.0)


async def test_item_18_a_subscriber_that_is_stuck(
    bus: EventBus,
    kubernetes: KubernetesServer,
    order_created: EventType,
    start_subscriber: StartSubscriber,
) -> None:
    sink = await start_subscriber(status(503))
    mail = subscription(order_created, sink.url)
    path = f"/apis/{API}/namespaces/{bus.namespace}/channels"
    async with ObjectHistory(kubernetes, path) as history:
        await bus.activate(mail)
        await bus.delivers(mail)
        assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED
        await has_event(bus, order_created, "SubscriberStuck")
        assert await figure(bus, "natss_subscription_stuck", bus.namespace) == 1
        await history.wait_until(lambda: "503" in str(subscribers(history)))
        (told,) = subscribers(history)
        assert told["ready"] == "False"
        sink.answer = status(200)
        await sink.wait_for_events(1)
        await has_event(bus, order_created, "SubscriberRecovered")
        assert await figure(bus, "natss_subscription_stuck", bus.namespace) == 0
        await history.wait_until(lambda: subscribers(history)[0]["ready"] == "True")
        assert history.falls() == []


def subscribers(history: ObjectHistory) -> list[Document]:
    """Return what the channel says about its subscribers by now."""
    status = history.states[-1][1].get("status") or {}
    told: list[Document] = (status.get("subscribableStatus") or {}).get("subscribers") or []
    return told


@pytest.mark.parametrize(
    ("password", "reason", "in_status"),
    [("right", "ConnectionLost", "closed"), ("changed", "AuthenticationFailed", "uthori")],
    ids=["lost", "refused"],
)
async def test_item_18_nats_streaming_is_away_or_refuses(
    bus: EventBus,
    streaming: NatsStreamingServer,
    order_created: EventType,
    password: str,
    reason: str,
    in_status: str,
) -> None:
    kubernetes = bus.installation.kubernetes
    path = f"/apis/{API}/namespaces/{bus.namespace}/channels"
    dispatcher = bus.installation.dispatcher
    async with ObjectHistory(kubernetes, path) as history:
        await bus.ensure_channel(order_created)
        assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED
        told = await new_events_of_provisioner(kubernetes)
        await streaming.stop()
        if password != "right":
            streaming.nats = AUTHORIZATION.format(password)
            await streaming.start()

        async def is_told() -> bool:
            return reason in await told()

        await eventually(is_told, 30.0)
        assert await figure(bus, "natss_connection_up", 'role="deliver"') == 0
        assert await figure(bus, "natss_connect_failures_total") >= 1
        assert in_status in (await dispatcher.status())["connections"]["deliver"]
        await streaming.stop()
        streaming.nats = AUTHORIZATION.format("right")
        await streaming.start()

        async def is_back() -> bool:
            return "ConnectionRestored" in await told()

        await eventually(is_back, 30.0)
        assert await bus.publish(order_created, "e2") is Outcome.PUBLISHED
        assert history.falls() == []
