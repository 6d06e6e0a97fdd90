"""A Subscription that is created anew inherits the backlog, whatever happens meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from natss.contract.resources import DeliveryPolicy, Order
from tests.support.data_plane import DataPlane, durables, subscriber
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Received, Subscriber, status
from tests.support.waiting import eventually

QUICK = DeliveryPolicy(ack_wait=1, retry=0, backoff_delay=0.05, timeout=5.0)
PATIENT = replace(QUICK, ack_wait=60)
LONG_AGO = 3.0
"""In seconds: after this time a durable once counted as known, whatever it had received."""


def ids(first: int, last: int) -> list[str]:
    return [f"e{number}" for number in range(first, last + 1)]


def are(
    plane: DataPlane, server: NatsStreamingServer, *names: str
) -> Callable[[], Awaitable[bool]]:
    """Return whether exactly these durables are on record and on the server."""

    async def check() -> bool:
        recorded = {each.durable for each in plane.records}
        return recorded == set(names) == set(await durables(server, plane.subject))

    return check


async def removed_with_a_backlog(
    plane: DataPlane, sink: Subscriber, policy: DeliveryPolicy
) -> None:
    """Publish twenty events for a subscriber that fails and then is no longer wanted."""
    sink.answer = status(503)
    plane.subscribe(subscriber(sink.url, uid="old"), policy=policy)
    await plane.open()
    await plane.publish(*ids(1, 20))
    await sink.wait_until(lambda: len(sink.received) >= min(20, policy.concurrency))
    await asyncio.sleep(LONG_AGO)  # otherwise a start by time would include them, too
    plane.subscribe(policy=policy)
    sink.answer = status(200)


POLICIES = {
    "many at once": PATIENT,
    "in order": replace(QUICK, order=Order.CHANNEL),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
async def test_made_anew_long_after_a_restart(
    memory_server: NatsStreamingServer,
    unique_name: str,
    tmp_path: Path,
    sink: Subscriber,
    policy: DeliveryPolicy,
) -> None:
    """Events that came while it was not wanted were sent long ago, and not delivered."""
    async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
        await removed_with_a_backlog(plane, sink, policy)
        assert await plane.records.write()
    async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
        plane.subscribe(policy=policy)
        await plane.open()
        await asyncio.sleep(LONG_AGO)
        plane.subscribe(subscriber(sink.url, uid="new"), policy=policy)
        await plane.publish("e21")
        await sink.wait_for_events(21)
        await eventually(are(plane, memory_server, "new"))
        await plane.publish("e22")
        await sink.wait_for_events(22)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
async def test_made_anew_after_another_process_has_taken_over(
    memory_server: NatsStreamingServer,
    unique_name: str,
    sink: Subscriber,
    policy: DeliveryPolicy,
) -> None:
    """A standby has known the durable for long, and never received anything from it."""
    first, standby = DataPlane(memory_server, unique_name), DataPlane(memory_server, unique_name)
    publishing = standby.store.publishing
    publishing._options = replace(publishing._options, client_id=f"{unique_name}-standby")
    async with first, standby:
        standby.subscribe(subscriber(sink.url, uid="old"), policy=policy)
        await removed_with_a_backlog(first, sink, policy)
        standby.subscribe(policy=policy)
        await first.close()
        await standby.open()
        await asyncio.sleep(LONG_AGO)
        standby.subscribe(subscriber(sink.url, uid="new"), policy=policy)
        await standby.publish("e21")
        await sink.wait_for_events(21)


async def test_made_anew_over_a_slow_link(
    memory_server: NatsStreamingServer, unique_name: str, tmp_path: Path, sink: Subscriber
) -> None:
    """The first pending event takes longer than any pause that one could wait for."""
    large = b'"' + 50_000 * b"x" + b'"'
    async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
        sink.answer = status(503)
        plane.subscribe(subscriber(sink.url, uid="old"), policy=QUICK)
        await plane.open()
        await plane.publish(*ids(1, 5), body=large)
        await sink.wait_until(lambda: len(sink.received) >= 5)
        assert await plane.records.write()
    sink.answer = status(200)
    async with (
        Proxy(memory_server.port) as proxy,
        DataPlane(memory_server, unique_name, 60.0, tmp_path, url=proxy.url) as plane,
    ):
        await plane.store.delivering.was_open.wait()
        proxy.limit(25_000)
        plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
        await sink.wait_for_events(5, timeout=40.0)
        proxy.release()
        await eventually(are(plane, memory_server, "new"), timeout=40.0)


@pytest.mark.parametrize("publishes_first", [True, False])
async def test_made_anew_again_and_again_before_its_first_event(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber, *, publishes_first: bool
) -> None:
    async with DataPlane(memory_server, unique_name) as plane:
        sink.answer = status(503)
        if publishes_first:
            await plane.publish("of nobody")
        plane.subscribe(subscriber(sink.url, uid="u0"), policy=QUICK)
        await plane.open()
        for number in range(1, 6):
            plane.subscribe(policy=QUICK)
            await plane.publish(f"e{number}")
            plane.subscribe(subscriber(sink.url, uid=f"u{number}"), policy=QUICK)
            await asyncio.sleep(0.02 * number)
        sink.answer = status(200)
        await sink.wait_until(lambda: all(sink.counts[f"e{number}"] for number in range(1, 6)))
        await eventually(are(plane, memory_server, "u5"))


class TestOneEventIsStuckFarBehind:
    """More events than a window remembers were settled since."""

    COUNT = 400

    async def _stuck(self, plane: DataPlane, sink: Subscriber, policy: DeliveryPolicy) -> None:
        async def answer(received: Received) -> web.Response:
            return web.Response(status=503 if received.id == "e1" else 200)

        sink.answer = answer
        plane.subscribe(subscriber(sink.url, uid="old"), policy=policy)
        await plane.open()
        await plane.publish(*ids(1, self.COUNT))
        await sink.wait_until(lambda: len(sink.counts) >= self.COUNT - 1)
        await plane.settled(self.COUNT - 1)
        member = next(iter(plane.reconciler.members.values()))
        member.subscription.window._settled.clear()  # as if it was long ago

    async def _finishes(
        self, plane: DataPlane, server: NatsStreamingServer, sink: Subscriber
    ) -> None:
        """Assert that the new durable gets later events, and the old one those that are stuck."""
        await plane.publish("fresh")
        await sink.wait_until(lambda: sink.counts["fresh"] == 1)
        sink.answer = status(200)
        await eventually(are(plane, server, "new"))

    async def test_nothing_comes_twice_and_the_old_durable_finishes_it(
        self,
        memory_server: NatsStreamingServer,
        unique_name: str,
        tmp_path: Path,
        sink: Subscriber,
    ) -> None:
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            await self._stuck(plane, sink, QUICK)
            plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
            await eventually(are(plane, memory_server, "old", "new"))
            await self._finishes(plane, memory_server, sink)
        assert sink.counts["e1"] == 1
        assert sink.duplicates == 0

    async def test_a_restart_meanwhile_goes_on_with_it(
        self,
        memory_server: NatsStreamingServer,
        unique_name: str,
        tmp_path: Path,
        sink: Subscriber,
    ) -> None:
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            await self._stuck(plane, sink, QUICK)
            plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
            await eventually(are(plane, memory_server, "old", "new"))
            assert await plane.records.write()
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
            await self._finishes(plane, memory_server, sink)
        assert sink.counts["e1"] == 1
        assert sink.duplicates == 0

    async def test_and_made_anew_again_meanwhile(
        self,
        memory_server: NatsStreamingServer,
        unique_name: str,
        tmp_path: Path,
        sink: Subscriber,
    ) -> None:
        async with DataPlane(memory_server, unique_name, 60.0, tmp_path) as plane:
            await self._stuck(plane, sink, QUICK)
            for uid in ("new", "newer", "new"):
                plane.subscribe(subscriber(sink.url, uid=uid), policy=QUICK)
                await eventually(lambda uid=uid: has(plane, memory_server, uid))  # type: ignore[misc]  # mypy knows no default in a lambda
                await plane.publish(f"after {uid}")
            await sink.wait_until(lambda: sink.counts["after new"] == 2)
            sink.answer = status(200)
            await eventually(are(plane, memory_server, "new"))
        assert sink.counts["e1"] == 1
        assert {each: count for each, count in sink.counts.items() if count != 1} == {
            "after new": 2
        }

    async def test_without_a_state_folder_the_new_durable_has_it_too(
        self, memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
    ) -> None:
        """Otherwise no other process would know of the old one."""
        async with DataPlane(memory_server, unique_name) as plane:
            await self._stuck(plane, sink, QUICK)
            plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
            await eventually(are(plane, memory_server, "new"))
            await plane.publish("fresh")
            await sink.wait_until(lambda: sink.counts["fresh"] == 1)
            assert sink.duplicates == 0
        sink.answer = status(200)
        async with DataPlane(memory_server, unique_name) as plane:
            plane.subscribe(subscriber(sink.url, uid="new"), policy=QUICK)
            await sink.wait_until(lambda: sink.counts["e1"] == 1)


async def has(plane: DataPlane, server: NatsStreamingServer, name: str) -> bool:
    return name in await durables(server, plane.subject)


class TestWhatIsPending:
    async def test_is_what_was_sent_and_not_acknowledged(
        self, memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
    ) -> None:
        async def answer(received: Received) -> web.Response:
            return web.Response(status=503 if received.id in ("e4", "e7") else 200)

        sink.answer = answer
        async with DataPlane(memory_server, unique_name) as plane:
            plane.subscribe(subscriber(sink.url), policy=PATIENT)
            await plane.publish(*ids(1, 9))
            await plane.settled(7)
            await sink.wait_until(lambda: len(sink.received) >= 9)
            member = next(iter(plane.reconciler.members.values()))
            window = member.subscription.window
            pending = await plane.store.find_pending([member.durable])
            assert pending is not None
            assert pending.is_certain
            assert (pending.owed.start, pending.owed.stop) == (window.first_unsettled(ALL), 10)

    async def test_is_nothing_when_all_is_settled(
        self, memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
    ) -> None:
        async with DataPlane(memory_server, unique_name) as plane:
            plane.subscribe(subscriber(sink.url), policy=PATIENT)
            await plane.publish(*ids(1, 9))
            await plane.settled(9)
            member = next(iter(plane.reconciler.members.values()))
            pending = await plane.store.find_pending([member.durable])
            assert pending is not None
            assert pending.is_certain
            assert pending.owed == range(10, 10)

    async def test_is_not_certain_without_any_event(
        self, memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
    ) -> None:
        async with DataPlane(memory_server, unique_name) as plane:
            plane.subscribe(subscriber(sink.url), policy=PATIENT)
            member = next(iter(plane.reconciler.members.values()))
            pending = await plane.store.find_pending([member.durable])
            assert pending is not None
            assert not pending.is_certain

    async def test_ends_with_what_was_sent_when_max_inflight_is_reached(
        self, memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
    ) -> None:
        sink.answer = status(503)
        async with DataPlane(memory_server, unique_name) as plane:
            plane.subscribe(subscriber(sink.url), policy=replace(PATIENT, max_inflight=4))
            await plane.publish(*ids(1, 9))
            await sink.wait_until(lambda: len(sink.received) >= 4)
            member = next(iter(plane.reconciler.members.values()))
            pending = await plane.store.find_pending([member.durable])
            assert pending is not None
            assert pending.owed == range(1, 5)


ALL = range(1, 2**63)
