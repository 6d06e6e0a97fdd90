"""The store and its durables through what happens to NATS Streaming."""

import asyncio
import time
from dataclasses import replace
from typing import cast

import pytest

from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.interface import (
    DeliveredElsewhere,
    DurableName,
    DurableOptions,
    EventTooLarge,
    LoginRefused,
    NotStored,
    StartPosition,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    TooManyChannels,
    TooManySubscriptions,
)
from dispatcher.stores.nats_streaming.errors import not_stored, store_error
from dispatcher.stores.nats_streaming.store import NatsStreamingStore
from natss import nats_streaming
from natss.contract.resources import DeliveryPolicy, Start
from natss.nats_streaming import Connection, ConnectionOptions
from tests.conftest import StartServer
from tests.support.data_plane import DataPlane, durables, subscriber
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber, slow
from tests.support.waiting import eventually

QUICK = DeliveryPolicy(ack_wait=2, retry=1, backoff_delay=0.05, timeout=5.0)


async def publish_surely(plane: DataPlane, event_id: str) -> None:
    """Publish again and again until it is stored, as a publisher does that gets 503."""

    async def is_stored() -> bool:
        try:
            await plane.publish(event_id)
        except (NotStored, nats_streaming.NatsStreamingError):
            return False
        return True

    await eventually(is_stored)


@pytest.mark.parametrize(
    ("error", "reason", "retriable"),
    [
        (nats_streaming.MessageTooLarge(5, 4), "too_large", False),
        (nats_streaming.ChannelLimitReached("too many channels"), "channel_limit", True),
        (nats_streaming.PublishTimeout(), "timeout", True),
        (nats_streaming.TooManyPublishes(), "overload", True),
        (nats_streaming.SessionLost("x"), "unavailable", True),
        (nats_streaming.NotConnected("x"), "unavailable", True),
        (nats_streaming.InvalidChannelName("a b", "no spaces"), "refused", False),
        (ZeroDivisionError(), "error", True),
    ],
)
def test_why_an_event_is_not_stored(error: Exception, reason: str, retriable: bool) -> None:
    explained = not_stored(error)
    assert (explained.reason, explained.retriable) == (reason, retriable)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (nats_streaming.AuthenticationFailed("wrong password"), LoginRefused),
        (nats_streaming.ClientIdInUse("taken"), DeliveredElsewhere),
        (nats_streaming.ChannelLimitReached("too many channels"), TooManyChannels),
        (nats_streaming.SubscriptionLimitReached("too many subscriptions"), TooManySubscriptions),
        (nats_streaming.NatsUnreachable(("refused",)), StoreUnavailable),
        (nats_streaming.NoResponders("nobody"), StoreUnavailable),
        (nats_streaming.SubscribeRefused("not now"), StoreUnavailable),
        (nats_streaming.TlsNotOffered("no TLS"), StoreRefused),
        (nats_streaming.InvalidSubscription("never"), StoreRefused),
    ],
)
def test_why_the_store_fails_is_told_in_words_of_the_interface(
    error: nats_streaming.NatsStreamingError, kind: type[StoreError]
) -> None:
    translated = store_error(error)
    assert type(translated) is kind
    assert str(translated) == str(error)
    assert translated.retriable is error.retriable


async def test_publishing_fails_at_once_while_nats_was_never_reached(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    plane = DataPlane(memory_server, unique_name)
    with pytest.raises(NotStored, match="cannot be reached") as caught:
        plane.store.publish("a.b", b"x")
    assert caught.value.retriable
    await plane.close()


async def test_an_event_that_is_too_large_is_refused_with_both_sizes(
    natss_server: StartServer, unique_name: str
) -> None:
    server = await natss_server(nats="max_payload: 4096")
    async with DataPlane(server, unique_name) as plane:
        assert plane.store.max_event_bytes == 4096
        with pytest.raises(EventTooLarge, match="4096"):
            plane.store.publish(plane.subject, b"x" * 5000)
        await plane.publish("small")


@pytest.mark.parametrize("store", ["MEMORY", "FILE"])
async def test_delivery_goes_on_after_a_restart_of_the_server(
    natss_server: StartServer, unique_name: str, sink: Subscriber, store: str
) -> None:
    """MEMORY forgets everything; what is stored before the durable is there again counts too."""
    server = await natss_server(store=store)
    async with DataPlane(server, unique_name) as plane:
        plane.subscribe(subscriber(sink.url), policy=QUICK)
        await plane.publish("before")
        await plane.settled(1)
        await server.kill()
        await server.start()
        for number in range(20):
            await publish_surely(plane, f"after-{number}")
        await sink.wait_for_events(21)


async def test_nothing_is_delivered_twice_over_a_reconnect_of_nats(
    natss_server: StartServer, unique_name: str, sink: Subscriber
) -> None:
    server = await natss_server(store="FILE")
    sink.answer = slow(0.2)
    async with DataPlane(server, unique_name) as plane:
        plane.subscribe(subscriber(sink.url), policy=replace(QUICK, ack_wait=5, max_inflight=8))
        await plane.publish(*(f"e{number}" for number in range(60)))
        await sink.wait_for_events(20)
        await server.restart()
        await sink.wait_for_events(60)
    assert sink.duplicates == 0


async def test_a_second_dispatcher_publishes_at_once_and_takes_over_delivery(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    first = DataPlane(memory_server, unique_name)
    second = DataPlane(memory_server, unique_name)
    second.store.publishing._options = replace(
        second.store.publishing._options, client_id=f"{unique_name}-second"
    )
    async with first, second:
        first.subscribe(subscriber(sink.url), policy=QUICK)
        await first.open()
        second.subscribe(subscriber(sink.url), policy=QUICK)
        await second.publish("e1")
        await first.settled(1)
        assert not second.store.delivering.is_open
        assert "another client" in str(second.store.delivering.last_error)
        await first.close()
        await second.open()
        await second.publish("e2")
        await second.settled(1)
    assert sink.counts == {"e1": 1, "e2": 1}


async def test_a_durable_that_is_refused_is_told_and_tried_again(
    natss_server: StartServer, unique_name: str, sink: Subscriber
) -> None:
    server = await natss_server(streaming="store_limits { max_channels: 1 }")
    async with DataPlane(server, unique_name) as plane:
        await plane.store.publish("other.channel", b"takes the only place")
        plane.subscribe(subscriber(sink.url), policy=QUICK)
        durable = next(iter(plane.reconciler.members.values())).durable

        async def is_told() -> bool:
            return durable.last_error is not None

        await eventually(is_told)
        assert "too many channels" in str(durable.last_error)
        with pytest.raises(nats_streaming.ChannelLimitReached):
            await plane.publish("e1")
        server.streaming = "store_limits { max_channels: 2 }"
        await server.restart()
        await publish_surely(plane, "e1")
        await sink.wait_for_events(1)
        await durable.wait_open()
        assert durable.last_error is None


async def test_a_removal_while_nats_is_away_is_done_when_it_is_back(
    natss_server: StartServer, unique_name: str, sink: Subscriber
) -> None:
    server = await natss_server(store="FILE")
    async with DataPlane(server, unique_name, grace=0.01) as plane:
        plane.subscribe(subscriber(sink.url), policy=QUICK)
        await plane.open()
        member = next(iter(plane.reconciler.members.values()))
        await server.stop()
        plane.subscribe()

        async def is_over() -> bool:
            return not plane.reconciler.members

        await eventually(is_over)
        await server.start()
        assert await member.durable.wait_removed()
        assert await durables(server, plane.subject) == {}


async def test_what_was_not_restored_and_is_removed_is_no_trouble_any_more(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    """Else ``/status`` would tell of it until the session ends."""
    async with DataPlane(memory_server, unique_name, grace=0.0) as plane:
        plane.subscribe(subscriber("http://127.0.0.1:9/"))
        await plane.open()
        (member,) = plane.reconciler.members.values()
        plane.store.delivering.not_restored[member.durable.name] = "refused"
        plane.subscribe()
        async with asyncio.timeout(20):
            await plane.records.emptied(plane.channel)
        assert plane.store.delivering.not_restored == {}


class NeverAnswers:
    """A session of which no request is answered."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def subscribe(self, *_: object) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_a_durable_that_another_process_has_unsubscribed_leaves_no_task() -> None:
    """Its request was under way when the session was lost."""
    store = NatsStreamingStore(
        ConnectionOptions(cluster_id="cluster", client_id="client"), "publisher", Metrics()
    )
    name = DurableName("orders.default", "u1")
    beginning = StartPosition(Start(), time.monotonic(), was_open=True)
    options = DurableOptions.of(DeliveryPolicy())
    durable = store.durable(name, beginning, options, lambda _: None)
    connection = NeverAnswers()
    durable.connect(cast("Connection", connection))
    await connection.asked.wait()
    durable.disconnect(time.monotonic())
    assert store.release_elsewhere(name) is False
    durable.remove()
    assert await store.removed(durable)
    assert not [each for each in asyncio.all_tasks() if each.get_name().startswith("durable")]
