"""Subscribers that come, change, go and come back, on a real NATS Streaming server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from dispatcher.durables.lifecycle import Life
from dispatcher.stores.interface import DurableState, NotStored
from natss.contract.resources import Channel, DeliveryPolicy, DesiredState, Start, StartKind, Unread
from natss.nats_streaming import NatsStreamingError
from tests.conftest import StartServer
from tests.support.data_plane import DataPlane, durables, subscriber
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Received, Subscriber, status
from tests.support.waiting import eventually

QUICK = DeliveryPolicy(ack_wait=1, retry=1, backoff_delay=0.05, timeout=5.0)


@pytest.fixture
async def plane(memory_server: NatsStreamingServer, unique_name: str) -> AsyncIterator[DataPlane]:
    async with DataPlane(memory_server, unique_name) as data_plane:
        yield data_plane


def ids(first: int, last: int) -> list[str]:
    return [f"e{number}" for number in range(first, last + 1)]


async def test_every_subscriber_gets_every_event(
    plane: DataPlane, sink: Subscriber, other_sink: Subscriber
) -> None:
    plane.subscribe(subscriber(sink.url, "a", "u1"), subscriber(other_sink.url, "b", "u2"))
    await plane.publish(*ids(1, 50))
    await sink.wait_for_events(50)
    await other_sink.wait_for_events(50)
    assert sink.duplicates == other_sink.duplicates == 0


async def test_the_durable_is_named_by_the_uid_or_as_v05_did(
    plane: DataPlane, sink: Subscriber, memory_server: NatsStreamingServer
) -> None:
    plane.subscribe(subscriber(sink.url, "a", "u1"), subscriber(sink.url, "b", None))
    await plane.open()
    found = await durables(memory_server, plane.subject)
    assert set(found) == {"u1", "b.default"}
    assert {entry["client_id"] for entry in found.values()} == {plane.client_id}


async def test_an_event_published_as_soon_as_a_subscriber_is_wanted_reaches_it(
    plane: DataPlane, sink: Subscriber
) -> None:
    """The durable is not open yet when the event is stored."""
    plane.subscribe(subscriber(sink.url))
    member = next(iter(plane.reconciler.members.values()))
    assert member.durable.state is DurableState.CLOSED
    await plane.publish("early")
    await sink.wait_for_events(1)


async def test_start_first_delivers_what_was_stored_before(
    plane: DataPlane, sink: Subscriber
) -> None:
    await plane.publish(*ids(1, 5))
    plane.subscribe(subscriber(sink.url), policy=replace(QUICK, start=Start(StartKind.FIRST)))
    await sink.wait_for_events(5)


async def test_start_at_a_sequence(plane: DataPlane, sink: Subscriber) -> None:
    await plane.publish("e1")
    await plane.publish("e2")
    await plane.publish("e3")
    start = Start(StartKind.SEQUENCE, 2)
    plane.subscribe(subscriber(sink.url), policy=replace(QUICK, start=start))
    await sink.wait_for_events(2)
    assert set(sink.counts) == {"e2", "e3"}


async def test_another_uri_takes_effect_at_once_for_events_that_fail(
    plane: DataPlane, sink: Subscriber, other_sink: Subscriber
) -> None:
    """The durable stays subscribed; nothing is lost or delivered twice."""
    sink.answer = status(503)
    patient = replace(QUICK, retry=3, backoff_delay=600.0, ack_wait=60)
    plane.subscribe(subscriber(sink.url), policy=patient)
    await plane.publish(*ids(1, 10))
    await sink.wait_until(lambda: len(sink.received) >= 10)
    durable = next(iter(plane.reconciler.members.values())).durable
    plane.subscribe(subscriber(other_sink.url), policy=patient)
    await other_sink.wait_for_events(10)
    assert next(iter(plane.reconciler.members.values())).durable is durable
    assert other_sink.duplicates == 0


async def test_another_uri_brings_back_events_whose_rounds_have_failed(
    plane: DataPlane, sink: Subscriber, other_sink: Subscriber
) -> None:
    sink.answer = status(400)
    slow = replace(QUICK, ack_wait=60)
    plane.subscribe(subscriber(sink.url), policy=slow)
    await plane.publish("e1")
    await sink.wait_until(lambda: len(sink.received) >= 1)
    plane.subscribe(subscriber(other_sink.url), policy=slow)
    await other_sink.wait_for_events(1, timeout=5.0)


async def test_removal_stops_delivery_at_once_and_keeps_the_durable(
    plane: DataPlane, sink: Subscriber, other_sink: Subscriber, memory_server: NatsStreamingServer
) -> None:
    remaining = subscriber(other_sink.url, "b", "u2")
    plane.subscribe(subscriber(sink.url), remaining, policy=QUICK)
    await plane.open()
    plane.subscribe(remaining, policy=QUICK)
    await plane.publish(*ids(1, 5))
    await other_sink.wait_for_events(5)
    entry = (await durables(memory_server, plane.subject))["uid-1"]
    assert entry["pending_count"] == 5, "the server has sent them"
    assert sink.received == []


async def test_after_its_grace_a_removed_subscriber_is_unsubscribed(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    async with DataPlane(memory_server, unique_name, grace=0.05) as plane:
        plane.subscribe(subscriber(sink.url))
        await plane.publish("e1")
        await sink.wait_for_events(1)
        plane.subscribe()

        async def is_gone() -> bool:
            return not await durables(memory_server, plane.subject)

        await eventually(is_gone)
        assert plane.reconciler.members == {}


async def test_a_grace_does_not_end_while_an_unreadable_document_may_want_the_subscriber(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    """It was removed, and then somebody wrote it again, with a mistake."""
    async with DataPlane(memory_server, unique_name, grace=3600.0) as plane:
        plane.subscribe(subscriber(sink.url))
        await plane.open()
        plane.subscribe()
        (member,) = plane.reconciler.members.in_grace()
        await plane.reconciler.apply(DesiredState({}, unread=Unread(anything=True)))
        assert [each.life for each in plane.reconciler.members.values()] == [Life.HELD]
        assert not plane.reconciler.members.in_grace()
        (record,) = plane.records
        assert record.due is None, "nor does it after a restart"
        plane.subscribe()
        assert [each.life for each in plane.reconciler.members.values()] == [Life.RETAINED]
        assert plane.reconciler.members.in_grace() == [member]


async def test_a_subscriber_that_comes_back_in_its_grace_goes_on_where_it_was(
    plane: DataPlane, sink: Subscriber
) -> None:
    plane.subscribe(subscriber(sink.url), policy=QUICK)
    await plane.publish("e1")
    await plane.settled(1)
    plane.subscribe()
    await plane.publish("e2", "e3")
    plane.subscribe(subscriber(sink.url), policy=QUICK)
    await sink.wait_for_events(3)
    assert sink.duplicates == 0


async def test_the_same_name_under_another_uid_inherits_the_backlog(
    plane: DataPlane, sink: Subscriber, memory_server: NatsStreamingServer
) -> None:
    """What Kyma does to change an endpoint: delete, then create, within seconds."""
    plane.subscribe(subscriber(sink.url, uid="old"), policy=QUICK)
    await plane.publish(*ids(1, 20))
    await sink.wait_for_events(20)
    sink.answer = status(503)
    await plane.publish(*ids(21, 30))
    await sink.wait_until(lambda: len(sink.received) >= 30)
    plane.subscribe()
    await plane.publish(*ids(31, 40))
    sink.answer = status(200)
    plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
    await plane.publish(*ids(41, 50))
    await sink.wait_for_events(50)

    async def is_handed_over() -> bool:
        return set(await durables(memory_server, plane.subject)) == {"new"}

    await eventually(is_handed_over)
    await plane.publish(*ids(51, 60))
    await sink.wait_for_events(60)
    assert sink.duplicates == 0


async def test_a_handover_survives_the_end_of_the_process(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    """After it, the new durable alone has everything that was not settled."""
    async with DataPlane(memory_server, unique_name) as plane:
        plane.subscribe(subscriber(sink.url, uid="old"), policy=QUICK)
        await plane.publish(*ids(1, 5))
        await sink.wait_for_events(5)
        sink.answer = status(503)
        await plane.publish(*ids(6, 9))
        await sink.wait_until(lambda: len(sink.received) >= 9)
        plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)

        async def is_handed_over() -> bool:
            return set(await durables(memory_server, plane.subject)) == {"new"}

        await eventually(is_handed_over)
    sink.answer = status(200)
    async with DataPlane(memory_server, unique_name) as plane:
        plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
        await sink.wait_for_events(9)
    assert sink.duplicates == 0


async def test_a_handover_of_an_idle_subscription_loses_nothing(
    plane: DataPlane, sink: Subscriber, memory_server: NatsStreamingServer
) -> None:
    plane.subscribe(subscriber(sink.url, uid="old"), policy=QUICK)
    await plane.open()
    plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)

    async def is_handed_over() -> bool:
        return set(await durables(memory_server, plane.subject)) == {"new"}

    sending = asyncio.create_task(plane.publish(*ids(1, 5)))
    await eventually(is_handed_over)
    await sending
    await plane.publish("last")
    await sink.wait_for_events(6)
    assert sink.duplicates == 0


@pytest.mark.parametrize("store", ["FILE", "MEMORY"])
async def test_a_subscriber_that_comes_back_while_it_is_unsubscribed_is_not_hit_by_that(
    natss_server: StartServer, unique_name: str, sink: Subscriber, store: str
) -> None:
    """Its grace is over: it starts anew, after the server has forgotten its former durable."""
    server = await natss_server(store=store)
    async with DataPlane(server, unique_name, grace=0.01) as plane:
        plane.subscribe(subscriber(sink.url), policy=QUICK)
        await plane.publish("before")
        await plane.settled(1)
        await server.stop()  # so that the removal takes its time
        plane.subscribe()

        async def is_over() -> bool:
            return not plane.reconciler.members

        await eventually(is_over)
        plane.subscribe(subscriber(sink.url), policy=QUICK)
        await server.start()
        await plane.open()

        async def is_published() -> bool:
            try:
                await plane.publish("after")
            except (NotStored, NatsStreamingError):
                return False
            return True

        await eventually(is_published)
        await sink.wait_until(lambda: sink.counts["after"] == 1)
        assert set(await durables(server, plane.subject)) == {"uid-1"}
        assert len(plane.store._durables) == 1, "the former one is done with"
        assert sink.duplicates == 0


async def test_a_uid_that_changes_there_and_back_loses_nothing(
    plane: DataPlane, sink: Subscriber, memory_server: NatsStreamingServer
) -> None:
    plane.subscribe(subscriber(sink.url, uid="a"), policy=QUICK)
    await plane.publish(*ids(1, 5))
    await plane.settled(5)
    for number, uid in enumerate(("b", "a", "b", "a")):
        plane.subscribe(subscriber(sink.url, uid=uid), policy=QUICK)
        await plane.publish(f"x{number}")
        await asyncio.sleep(0)

    async def is_settled() -> bool:
        member = next(iter(plane.reconciler.members.values()))
        assert member.handover is not None
        return member.handover.done() and set(await durables(memory_server, plane.subject)) == {"a"}

    await eventually(is_settled)
    await plane.publish("last")
    await sink.wait_for_events(10)
    assert sink.duplicates == 0
    assert [(each.durable, each.since, each.due) for each in plane.records] == [("a", None, None)]


async def test_uids_that_come_and_go_before_their_turn_leave_nothing(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    async with DataPlane(memory_server, unique_name, grace=0.05) as plane:
        plane.subscribe(subscriber(sink.url, uid="a"), policy=QUICK)
        await plane.open()
        for uid in ("b", "c"):
            plane.subscribe(subscriber(sink.url, uid=uid), policy=QUICK)
        member = next(iter(plane.reconciler.members.values()))
        assert member.handover is not None
        await member.handover
        assert [each.durable for each in plane.records] == ["c"]
        plane.subscribe(subscriber(sink.url, uid="d"), policy=QUICK)
        plane.subscribe()

        async def nothing_is_left() -> bool:
            return not list(plane.records) and not await durables(memory_server, plane.subject)

        await eventually(nothing_is_left)


async def test_a_uid_that_another_one_takes_while_it_is_removed_stays_on_record(
    plane: DataPlane, sink: Subscriber
) -> None:
    plane.subscribe(subscriber(sink.url, "mail", "old"), policy=QUICK)
    await plane.open()
    member = next(iter(plane.reconciler.members.values()))
    old = member.durable
    plane.subscribe(subscriber(sink.url, "mail", "new"), policy=QUICK)
    await asyncio.wait_for(old.wait_leaving(), 15.0)
    plane.subscribe(
        subscriber(sink.url, "mail", "new"), subscriber(sink.url, "other", "old"), policy=QUICK
    )
    assert member.handover is not None
    await asyncio.wait_for(member.handover, 15.0)
    await plane.open()
    assert {each.durable for each in plane.records} == {"old", "new"}


async def test_another_name_with_the_same_uid_goes_on_where_the_former_was(
    plane: DataPlane, sink: Subscriber
) -> None:
    """The durable is named after the uid, so its backlog stays whatever the Subscription's name."""
    sink.answer = status(503)
    slow_again = replace(QUICK, ack_wait=60, retry=0)
    plane.subscribe(subscriber(sink.url, "before", "u1"), policy=slow_again)
    await plane.publish("e1", "e2")
    await sink.wait_until(lambda: len(sink.received) >= 2)
    sink.answer = status(200)
    plane.subscribe(subscriber(sink.url, "after", "u1"), policy=replace(slow_again, retry=1))
    await plane.publish("e3")
    await sink.wait_for_events(3, timeout=5.0)
    assert [str(key.ref) for key in plane.reconciler.members] == ["default/after"]


async def test_two_subscribers_with_one_uid_are_told_and_the_first_goes_on(
    plane: DataPlane, sink: Subscriber, other_sink: Subscriber
) -> None:
    both = (subscriber(sink.url, "a", "u1"), subscriber(other_sink.url, "b", "u1"))
    problems = await plane.reconciler.apply(
        DesiredState({plane.channel: Channel(plane.channel, (), both, QUICK)})
    )
    assert [problem.path for problem in problems] == ["metadata.uid"]
    await plane.publish("e1")
    await sink.wait_for_events(1)
    assert other_sink.received == []


async def test_a_handover_does_not_make_the_new_durable_stand_still(
    plane: DataPlane, sink: Subscriber
) -> None:
    """One event is stuck; later ones are settled, and acknowledged when they come again."""
    patient = replace(QUICK, ack_wait=60, max_inflight=4, retry=8, backoff_delay=600.0)

    async def answer(received: Received) -> web.Response:
        return web.Response(status=503 if received.id == "e1" else 200)

    sink.answer = answer
    plane.subscribe(subscriber(sink.url, uid="old"), policy=patient)
    await plane.publish("e1")
    await plane.publish(*ids(2, 20))
    await sink.wait_for_events(19)
    plane.subscribe(subscriber(sink.url, uid="new"), policy=patient)
    member = next(iter(plane.reconciler.members.values()))
    assert member.handover is not None
    await member.handover
    await plane.publish("fresh")
    await sink.wait_until(lambda: sink.counts["fresh"] == 1, timeout=5.0)
    assert sink.duplicates == 0


async def test_closing_in_a_grace_does_not_unsubscribe(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    async with DataPlane(memory_server, unique_name, grace=0.05) as plane:
        plane.subscribe(subscriber(sink.url))
        await plane.open()
        plane.subscribe()
        await plane.reconciler.close()
        await asyncio.sleep(0.1)  # the grace would end
        assert set(await durables(memory_server, plane.subject)) == {"uid-1"}


async def test_metrics_of_a_removed_subscriber_are_shown_no_longer(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    async with DataPlane(memory_server, unique_name, grace=0.0) as plane:
        plane.subscribe(subscriber(sink.url))
        await plane.open()
        plane.subscribe()

        async def are_gone() -> bool:
            return plane.metrics.subscriptions() == []

        await eventually(are_gone)


async def test_max_inflight_and_ack_wait_change_in_place(
    plane: DataPlane, sink: Subscriber, memory_server: NatsStreamingServer
) -> None:
    plane.subscribe(subscriber(sink.url), policy=QUICK)
    await plane.open()
    plane.subscribe(subscriber(sink.url), policy=replace(QUICK, max_inflight=7, ack_wait=5))

    async def has_changed() -> bool:
        entry = (await durables(memory_server, plane.subject))["uid-1"]
        return (entry["max_inflight"], entry["ack_wait"]) == (7, 5)

    await eventually(has_changed)
    await plane.publish("e1")
    await sink.wait_for_events(1)


async def test_closing_never_unsubscribes(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    async with DataPlane(memory_server, unique_name, grace=0.01) as plane:
        plane.subscribe(subscriber(sink.url))
        await plane.publish("e1")
        await plane.settled(1)
    entry = (await durables(memory_server, plane.subject))["uid-1"]
    assert entry["is_offline"]
    assert entry["pending_count"] == 0, "what was settled is acknowledged before the end"


async def test_a_broken_uri_keeps_the_events_and_harms_no_other(
    plane: DataPlane, sink: Subscriber
) -> None:
    broken = subscriber("http://bad host/", "broken", "u-broken")
    good = subscriber(sink.url, "good", "u-good")
    channel = Channel(plane.channel, (), (broken, good), QUICK)
    problems = await plane.reconciler.apply(DesiredState({plane.channel: channel}))
    assert [str(problem).partition(":")[0] for problem in problems] == [
        "Subscription default/broken"
    ]
    await plane.publish("e1")
    await sink.wait_for_events(1)
    plane.subscribe(subscriber(sink.url, "broken", "u-broken"), good, policy=QUICK)
    await sink.wait_until(lambda: sink.counts["e1"] == 2)
