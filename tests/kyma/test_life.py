"""The life of a Kyma Subscription, in the order in which Kyma lives it, with events all along.

All that is answered with 202 while a Subscription is there reaches its endpoint, or that which has
taken its place.
"""

import asyncio

import pytest

from tests.kyma.conftest import StartSubscriber, subscription
from tests.kyma.event_bus import API, EventBus, EventType, Outcome
from tests.kyma.traffic import Traffic
from tests.support.data_plane import durables
from tests.support.kubernetes import KubernetesServer
from tests.support.object_history import ObjectHistory
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import slow
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

DISPATCHER_FLAGS = ("--ack-wait=5s",)


async def test_the_life_of_a_subscription(
    bus: EventBus,
    kubernetes: KubernetesServer,
    streaming: NatsStreamingServer,
    order_created: EventType,
    start_subscriber: StartSubscriber,
) -> None:
    audit, old, new = [await start_subscriber(slow(0.02)) for _ in range(3)]
    first = subscription(order_created, audit.url, "audit")
    second = subscription(order_created, old.url)
    channels = f"/apis/{API}/namespaces/{bus.namespace}/channels"
    assert await bus.publish(order_created, "too-early") is Outcome.IGNORED
    async with ObjectHistory(kubernetes, channels) as history:
        await bus.activate(first)
        await bus.delivers(first)
        async with Traffic(bus, order_created) as traffic:
            await traffic.go_on()
            await bus.activate(second)
            uid = (await bus.delivers(second))["metadata"]["uid"]
            begun = traffic.mark
            await traffic.go_on()
            moved = await bus.move(second, new.url)
            assert (await bus.delivers(moved))["metadata"]["uid"] != uid
            await traffic.go_on()
            at_old = len(old.received)
            await traffic.go_on()
            assert len(old.received) == at_old, "the old endpoint is left alone"
            ended = traffic.mark
            await traffic.all_reach(old, new, since=begun)
            await bus.deactivate(moved)
            await traffic.go_on()
            await traffic.all_reach(audit)
        assert history.falls() == []
    assert set(traffic.outcomes.values()) == {Outcome.PUBLISHED}
    assert audit.duplicates == 0
    assert not set(traffic.published[ended + 10 :]) & set(new.counts), "after its end"
    await bus.deactivate(first)

    async def is_all_gone() -> bool:
        channel = await bus.channel(order_created)
        subject = f"{order_created.channel}.{bus.namespace}"
        return channel is None and not await durables(streaming, subject)

    await eventually(is_all_gone)
    assert await bus.publish(order_created, "too-late") is Outcome.IGNORED


async def test_endpoints_change_again_and_again(
    bus: EventBus,
    order_created: EventType,
    streaming: NatsStreamingServer,
    start_subscriber: StartSubscriber,
) -> None:
    """Also before the last change is through: other uid, other URI, and nothing is lost."""
    sinks = [await start_subscriber(slow(0.02)) for _ in range(5)]
    mail = subscription(order_created, sinks[0].url)
    await bus.activate(mail)
    await bus.delivers(mail)
    async with Traffic(bus, order_created) as traffic:
        for number, sink in enumerate(sinks[1:]):
            await traffic.go_on(5 + 10 * (number % 2))
            mail = await bus.move(mail, sink.url)
        uid = (await bus.delivers(mail))["metadata"]["uid"]
        await traffic.go_on()
    await traffic.all_reach(*sinks)
    subject = f"{order_created.channel}.{bus.namespace}"

    async def is_the_only_one() -> bool:
        return set(await durables(streaming, subject)) == {uid}

    await eventually(is_the_only_one, 30.0)


async def test_an_endpoint_that_was_down_gets_its_events_at_its_new_place(
    bus: EventBus,
    order_created: EventType,
    streaming: NatsStreamingServer,
    start_subscriber: StartSubscriber,
) -> None:
    """Moved because it was broken, to one that is not up yet: its backlog moves with it."""
    broken, repaired = await start_subscriber(), await start_subscriber()
    mail = subscription(order_created, broken.url)
    await bus.activate(mail)
    await bus.delivers(mail)
    await broken.stop()
    await repaired.stop()
    ids = [f"e{number}" for number in range(30)]
    outcomes = await asyncio.gather(*(bus.publish(order_created, each) for each in ids))
    assert set(outcomes) == {Outcome.PUBLISHED}
    await asyncio.sleep(4.0)  # a durable that begins anew looks back for less
    moved = await bus.move(mail, repaired.url)
    uid = (await bus.delivers(moved))["metadata"]["uid"]
    subject = f"{order_created.channel}.{bus.namespace}"

    async def is_the_only_one() -> bool:
        return set(await durables(streaming, subject)) == {uid}

    await eventually(is_the_only_one, 30.0)
    await bus.installation.dispatcher.kill()  # so that it is not from its memory that they come
    await repaired.start()
    await bus.installation.dispatcher.start()
    await repaired.wait_for_events(len(ids), timeout=30.0)
    assert repaired.duplicates == 0
