"""What Kyma relies on between a publisher and a subscriber, while everything is well.

Numbers of items are those of the index in ``test_index.py``.
"""

import asyncio
import json
import re
from pathlib import Path

import pytest

from bench.measure import resident_mib
from natss import nats_streaming
from natss.nats_streaming import StartAt, SubscriptionOptions
from tests.kyma.conftest import StartSubscriber, subscription
from tests.kyma.event_bus import EventBus, EventType, Outcome
from tests.kyma.traffic import Traffic
from tests.support.data_plane import connection_options, durables
from tests.support.repository import GOLDEN_FOLDER
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import status, when
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

DISPATCHER_FLAGS = ("--ack-wait=3s", "--timeout=1s", "--retry=1", "--backoff-delay=100ms")
"""Kyma's channels have no arguments; AckWait was a minute, which is too long for a test."""

GOLDEN = json.loads((GOLDEN_FOLDER / "go-v0.6.0.json").read_text())


async def test_item_05_paths_methods_and_hosts(bus: EventBus, order_created: EventType) -> None:
    channel = await bus.ensure_channel(order_created)
    host = channel["status"]["address"]["hostname"]
    dispatcher = bus.installation.dispatcher

    async def answer(method: str, path: str, host: str) -> int:
        headers = {"Host": host, "Ce-Id": "e1"}
        async with dispatcher.http.request(
            method, dispatcher.url + path, data=b"{}", headers=headers
        ) as response:
            return response.status

    assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED
    assert await answer("POST", "", host) == 202
    assert await answer("POST", "", f"x{host}") == 404
    assert await answer("POST", "v1/events", host) == 404
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert await answer(method, "", host) == 405


async def test_item_05_202_comes_after_the_puback(
    bus: EventBus, order_created: EventType, streaming: NatsStreamingServer
) -> None:
    """A server that stands still stores nothing, so nobody may be told that it did."""
    channel = await bus.ensure_channel(order_created)
    host = channel["status"]["address"]["hostname"]
    assert await bus.post(host, {"Ce-Id": "before"}, b"{}") == 202
    streaming.pause()
    try:
        posted = asyncio.create_task(bus.post(host, {"Ce-Id": "meanwhile"}, b"{}"))
        assert not (await asyncio.wait([posted], timeout=1.0))[0], "answered without a PubAck"
    finally:
        streaming.resume()
    assert await posted == 202
    subject = f"{order_created.channel}.{bus.namespace}"
    assert (await streaming.channelsz(subject))["msgs"] == 2


async def test_item_09_what_is_stored_is_what_go_stored(
    bus: EventBus,
    order_created: EventType,
    streaming: NatsStreamingServer,
    start_subscriber: StartSubscriber,
    unique_name: str,
) -> None:
    """Subject, stored form, durable and client id."""
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    uid = (await bus.delivers(mail))["metadata"]["uid"]
    case = next(each for each in GOLDEN if each["name"] == "kyma-1.0")
    assert (
        await bus.publish_with(order_created, dict(case["request"]["headers"]), b'"data"')
        is Outcome.PUBLISHED
    )
    subject = f"{order_created.channel}.{bus.namespace}"
    (durable,) = (await durables(streaming, subject)).values()
    assert durable["durable_name"] == uid
    assert durable["client_id"] == "knative-natss-dispatcher"
    reader = await nats_streaming.connect(connection_options(streaming, unique_name))
    stored: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    await reader.subscribe(
        subject,
        lambda message: stored.set_result(message.data),
        SubscriptionOptions(start=StartAt.first()),
    )
    channel = await bus.ensure_channel(order_created)
    by_go = case["stored"]["data"].replace("bench.test", channel["status"]["address"]["hostname"])
    assert (await stored).decode() == by_go
    await reader.close()


async def test_item_11_only_2xx_settles_and_nobody_waits_for_another(
    bus: EventBus, order_created: EventType, start_subscriber: StartSubscriber
) -> None:
    answered = asyncio.Event()
    well = await start_subscriber()
    sinks = {
        "refusing": await start_subscriber(status(400)),
        "failing": await start_subscriber(status(503)),
        "redirecting": await start_subscriber(status(302)),
        "silent": await start_subscriber(when(answered)),
        "absent": await start_subscriber(),
    }
    subscribed = [subscription(order_created, well.url, "well")]
    subscribed += [subscription(order_created, each.url, name) for name, each in sinks.items()]
    for mail in subscribed:
        await bus.activate(mail)
    for mail in subscribed:
        await bus.delivers(mail)
    await sinks["absent"].stop()
    for number in range(20):
        assert await bus.publish(order_created, f"e{number}") is Outcome.PUBLISHED
    await well.wait_for_events(20, timeout=10.0)
    for name in ("refusing", "failing", "redirecting"):
        # Each attempt again after AckWait: more often than the two attempts of one delivery.
        await sinks[name].wait_until(lambda name=name: len(sinks[name].received) > 40)  # type: ignore[misc]  # mypy knows no default in a lambda
        assert sinks[name].counts == {}
        sinks[name].answer = status(200)
    answered.set()
    await sinks["absent"].start()
    for each in sinks.values():
        await each.wait_for_events(20)
    assert well.duplicates == 0


async def test_item_13_deleted_and_made_again_within_seconds(
    bus: EventBus,
    order_created: EventType,
    streaming: NatsStreamingServer,
    start_subscriber: StartSubscriber,
) -> None:
    """Delivery ends at once; what is published in the gap waits; then it goes on, once each."""
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    neighbour = subscription(order_created, (await start_subscriber()).url, "neighbour")
    await bus.activate(neighbour)
    await bus.activate(mail)
    first = (await bus.delivers(mail))["metadata"]["uid"]
    assert await bus.publish(order_created, "before") is Outcome.PUBLISHED
    await sink.wait_for_events(1)
    await bus.deactivate(mail)
    name = f"{bus.namespace}/{mail.knative_name}"

    async def is_paused() -> bool:
        found = await bus.installation.dispatcher.subscription(name)
        return bool(found["state"] == "paused")

    await eventually(is_paused)
    assert await bus.publish(order_created, "in-the-gap") is Outcome.PUBLISHED
    await asyncio.sleep(1.0)  # an absence, not a wait for something
    assert list(sink.counts) == ["before"]
    await bus.activate(mail)
    second = (await bus.delivers(mail))["metadata"]["uid"]
    await sink.wait_for_events(2)
    assert await bus.publish(order_created, "after") is Outcome.PUBLISHED
    await sink.wait_for_events(3)
    assert sink.counts == {"before": 1, "in-the-gap": 1, "after": 1}
    subject = f"{order_created.channel}.{bus.namespace}"

    async def has_changed_hands() -> bool:
        names = set(await durables(streaming, subject))
        return second in names and first not in names

    await eventually(has_changed_hands)


async def test_item_19_metrics(
    bus: EventBus, order_created: EventType, start_subscriber: StartSubscriber
) -> None:
    released = asyncio.Event()
    sink, failing = await start_subscriber(when(released)), await start_subscriber(status(503))
    mail = subscription(order_created, sink.url)
    broken = subscription(order_created, failing.url, "broken")
    for each in (mail, broken):
        await bus.activate(each)
        await bus.delivers(each)
    assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED
    channel = f'namespace="{bus.namespace}",channel="{order_created.channel}"'

    async def figure(name: str, *labels: str) -> float:
        _, text = await bus.installation.dispatcher.admin("/metrics")
        for line in text.splitlines():
            if re.match(rf"{name}(\{{|\s)", line) and all(each in line for each in labels):
                return float(line.rpartition(" ")[2])
        return 0.0

    by_name = f'subscription="{bus.namespace}/{{}}"'
    of_mail = by_name.format(mail.knative_name)
    of_broken = by_name.format(broken.knative_name)
    prefix = "natss_subscription"

    async def all_are_told() -> bool:
        return (
            await figure("natss_channel_events_total", channel, 'result="stored"') == 1
            and await figure(f"{prefix}_attempts_total", of_broken, 'code="503"') >= 2
            and await figure(f"{prefix}_attempt_duration_seconds_count", of_broken) >= 2
            and await figure(f"{prefix}_redelivered_messages_total", of_broken) >= 1
            and await figure(f"{prefix}_pending_events", of_mail) == 1
            and await figure("natss_connection_up", 'role="publish"') == 1
            and await figure("natss_connection_up", 'role="deliver"') == 1
        )

    await eventually(all_are_told)
    released.set()
    await sink.wait_for_events(1)

    async def nothing_is_pending() -> bool:
        return await figure(f"{prefix}_pending_events", of_mail) == 0

    await eventually(nothing_is_pending)


async def test_item_20_a_short_run_at_kymas_rate(
    bus: EventBus, order_created: EventType, start_subscriber: StartSubscriber
) -> None:
    """10 events a second with a connection each, for 8 s: the hour is for the soak.

    It finds what leaks much for an event: a connection, a task with its buffers.
    """
    sink = await start_subscriber()
    mail = subscription(order_created, sink.url)
    await bus.activate(mail)
    await bus.delivers(mail)
    pid = bus.installation.dispatcher.pid

    def files() -> int:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())

    async with Traffic(bus, order_created, rest=0.0) as warm_up:
        await warm_up.go_on(100)
    await warm_up.all_reach(sink)
    memory, descriptors = resident_mib(pid), files()
    sink.counts.clear()
    async with Traffic(bus, order_created, rest=0.1) as traffic:
        await asyncio.sleep(8.0)
    await traffic.all_reach(sink)
    assert set(traffic.outcomes.values()) == {Outcome.PUBLISHED}
    assert sink.duplicates == 0
    assert resident_mib(pid) < memory + 2.0
    assert files() <= descriptors + 2
