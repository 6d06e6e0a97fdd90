"""Durables on record: what is owed to them, and which are to be removed, over restarts."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.durables.ledger import DurableRecord
from dispatcher.durables.lifecycle import Life
from dispatcher.durables.member import MemberKey
from natss.contract.resources import Channel, DeliveryPolicy, DesiredState, ResourceName, Unread
from tests.conftest import StartServer
from tests.support.data_plane import DataPlane, durables, subscriber
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber, status
from tests.support.waiting import eventually

QUICK = DeliveryPolicy(ack_wait=1, retry=0, backoff_delay=0.05)
MARGIN = 3.0
"""In seconds: longer than the margin of a start by time."""


class TestOnARealServer:
    async def test_a_grace_that_a_restart_cut_ends_later(
        self, memory_server: NatsStreamingServer, unique_name: str, tmp_path: Path
    ) -> None:
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(subscriber("http://127.0.0.1:1/"))
            await plane.open()
            plane.subscribe()
            plane.records.dismiss(plane.channel, "uid-1", 0.0)
            assert await plane.records.write()
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe()

            async def is_gone() -> bool:
                return not await durables(memory_server, plane.subject)

            await eventually(is_gone)
            await eventually(lambda: nothing_left(plane))

    async def test_a_subscriber_removed_while_nobody_looked_is_unsubscribed(
        self, memory_server: NatsStreamingServer, unique_name: str, tmp_path: Path
    ) -> None:
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(subscriber("http://127.0.0.1:1/"))
            await plane.open()
            assert await plane.records.write()
        async with DataPlane(memory_server, unique_name, 0.05, tmp_path) as plane:
            plane.subscribe()
            await eventually(lambda: nothing_left(plane))
            assert await durables(memory_server, plane.subject) == {}

    @pytest.mark.parametrize("unread", ["anything", "channel", "subscription"])
    async def test_a_restart_while_a_document_cannot_be_read_removes_nobody(
        self,
        memory_server: NatsStreamingServer,
        unique_name: str,
        tmp_path: Path,
        sink: Subscriber,
        unread: str,
    ) -> None:
        mail = subscriber(sink.url)
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(mail)
            await plane.open()
            assert await plane.records.write()
        async with DataPlane(memory_server, unique_name, 0.0, tmp_path) as plane:
            empty = Channel(plane.channel, ())
            states = {
                "anything": DesiredState({}, unread=Unread(anything=True)),
                "channel": DesiredState({}, unread=Unread(channels=frozenset({plane.channel}))),
                "subscription": DesiredState(
                    {plane.channel: empty}, unread=Unread(subscriptions=frozenset({mail.ref}))
                ),
            }
            for _ in range(2):
                await plane.reconciler.apply(states[unread])
                await plane.open()
                assert [each.life for each in plane.reconciler.members.values()] == [Life.HELD]
            await plane.publish("e1")
            plane.subscribe(mail)
            await sink.wait_for_events(1)
            plane.subscribe()
            await eventually(lambda: nothing_left(plane))

    async def test_who_comes_back_after_a_restart_goes_on_where_it_was(
        self,
        memory_server: NatsStreamingServer,
        unique_name: str,
        tmp_path: Path,
        sink: Subscriber,
    ) -> None:
        """Also under another uid, as after a Subscription was deleted and created again."""
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(subscriber(sink.url), policy=QUICK)
            await plane.open()
            await plane.publish("e1")
            await plane.settled(1)
            plane.subscribe(policy=QUICK)
            await plane.publish("e2")
            assert await plane.records.write()
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(subscriber(sink.url, uid="uid-2"), policy=QUICK)
            await sink.wait_for_events(2)

            async def is_handed_over() -> bool:
                return set(await durables(memory_server, plane.subject)) == {"uid-2"}

            await eventually(is_handed_over)
            await eventually(lambda: are(plane, {"uid-2"}))
        assert sink.counts == {"e1": 1, "e2": 1}

    async def test_handovers_that_were_cut_short_lose_nothing(
        self,
        memory_server: NatsStreamingServer,
        unique_name: str,
        tmp_path: Path,
        sink: Subscriber,
    ) -> None:
        """Three uids, each process ended before the position was handed over."""
        sink.answer = status(503)
        for number in (1, 2):
            async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
                plane.subscribe(subscriber(sink.url, uid=f"uid-{number}"), policy=QUICK)
                await plane.open()
                await plane.publish(f"e{number}")
                await sink.wait_until(lambda number=number: has_tried(sink, f"e{number}"))  # type: ignore[misc]  # mypy knows no default in a lambda
                plane.subscribe(subscriber(sink.url, uid=f"uid-{number + 1}"), policy=QUICK)
                assert await plane.records.write()
        sink.answer = status(200)
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(subscriber(sink.url, uid="uid-3"), policy=QUICK)
            await sink.wait_for_events(2)
            await eventually(lambda: are(plane, {"uid-3"}))
            assert set(await durables(memory_server, plane.subject)) == {"uid-3"}

    async def test_what_is_learnt_meanwhile_does_not_hold_up_a_handover(
        self, memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
    ) -> None:
        """Uids that came and went before their handover are not leftovers of another process."""
        async with DataPlane(memory_server, unique_name, 60.0) as plane:
            for number in (1, 2, 3):
                plane.subscribe(subscriber(sink.url, uid=f"uid-{number}"), policy=QUICK)
                await plane.open()
            other = DurableRecord(plane.channel, ResourceName("default", "other"), "other", 1.0)
            plane.records.merge(plane.channel, {"other": other})
            plane.subscribe(subscriber(sink.url, uid="uid-4"), policy=QUICK)

            async def is_handed_over() -> bool:
                return set(await durables(memory_server, plane.subject)) == {"uid-4", "other"}

            await eventually(is_handed_over)

    @pytest.mark.parametrize("uid", ["new", "newer"])
    async def test_what_was_stored_before_a_durable_was_ever_open_reaches_it(
        self,
        natss_server: StartServer,
        unique_name: str,
        tmp_path: Path,
        sink: Subscriber,
        uid: str,
    ) -> None:
        """In the next process, as the same Subscription and as one that was created again."""
        server = await natss_server(store="FILE", streaming="store_limits { max_subs: 1 }")
        other = subscriber("http://127.0.0.1:1/", "other", "other")
        async with DataPlane(server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(other, policy=QUICK)
            await plane.open()
            await plane.publish("before")
            await asyncio.sleep(MARGIN)
            plane.subscribe(other, subscriber(sink.url, uid="new"), policy=QUICK)
            await plane.publish("e1")
            await eventually(lambda: is_refused(plane, "new"))
            assert await plane.records.write()
        await asyncio.sleep(MARGIN)
        server.streaming = ""
        await server.restart()
        async with DataPlane(server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(other, subscriber(sink.url, uid=uid), policy=QUICK)
            await sink.wait_for_events(1)
            await eventually(lambda: are(plane, {"other", uid}))
        assert sink.counts == {"e1": 1}

    async def test_a_standby_learns_that_another_process_has_finished(
        self, memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
    ) -> None:
        """Then it keeps no record of it, and does not touch it when it takes over."""
        first, standby = replicas(memory_server, unique_name)
        async with first, standby:
            for plane in (first, standby):
                plane.subscribe(subscriber(sink.url, uid="old"), policy=QUICK)
            await first.open()
            await first.publish("e1")
            await first.settled(1)
            tell(standby, first)
            for plane in (first, standby):
                plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
            tell(standby, first)
            await eventually(lambda: are(first, {"new"}))
            tell(standby, first)
            standby.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
            await standby.publish("e2")
            await first.settled(2)
            await first.close()
            taken_over = time.monotonic()
            await standby.publish("e3")
            await sink.wait_for_events(3)
            await eventually(lambda: are(standby, {"new"}))
            assert len(standby.store._durables) == 1
            assert time.monotonic() - taken_over < 5.0
        assert sink.counts == {"e1": 1, "e2": 1, "e3": 1}

    async def test_a_standby_gives_up_what_it_sees_changed_and_unsubscribed_at_once(
        self, memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
    ) -> None:
        """The spec and the record of the one that delivers may arrive together."""
        first, standby = replicas(memory_server, unique_name)
        gone = subscriber(sink.url, "gone", "gone")
        async with first, standby:
            for plane in (first, standby):
                plane.subscribe(subscriber(sink.url, uid="old"), gone, policy=QUICK)
            await first.open()
            tell(standby, first)
            standby.subscribe(subscriber(sink.url, uid="old"), gone, policy=QUICK)
            first.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
            members = first.reconciler.members
            members.end(members[MemberKey(first.channel, gone.ref)])
            await eventually(lambda: are(first, {"new"}))
            tell(standby, first)
            standby.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
            assert [each.durable for each in standby.records] == ["new"]
            standby.subscribe(subscriber(sink.url, uid="new"), gone, policy=QUICK)
            await first.close()
            await standby.publish("e1")
            await sink.wait_until(lambda: sink.counts["e1"] == 2)
            await eventually(lambda: are(standby, {"new", "gone"}))


def replicas(server: NatsStreamingServer, client_id: str) -> tuple[DataPlane, DataPlane]:
    """Return two replicas that share the client id of the durables, but not that for publishing."""
    first, standby = DataPlane(server, client_id), DataPlane(server, client_id)
    publishing = standby.store.publishing
    publishing._options = replace(publishing._options, client_id=f"{client_id}-standby")
    return first, standby


def has_tried(sink: Subscriber, event_id: str) -> bool:
    return any(each.id == event_id for each in sink.received)


def tell(plane: DataPlane, other: DataPlane) -> None:
    """Merge what the other one has recorded, as the Channel passes it on in a cluster."""
    plane.records.merge(
        plane.channel, {each.durable: replace(each, due=None) for each in other.records}
    )


async def nothing_left(plane: DataPlane) -> bool:
    return not list(plane.records)


async def are(plane: DataPlane, names: set[str]) -> bool:
    """Return whether these durables are on record and have been opened."""
    return {each.durable for each in plane.records if each.since is None} == names and len(
        list(plane.records)
    ) == len(names)


async def is_refused(plane: DataPlane, durable: str) -> bool:
    found = [
        m.durable for m in plane.reconciler.members.values() if m.durable.name.durable == durable
    ]
    return found[0].last_error is not None
