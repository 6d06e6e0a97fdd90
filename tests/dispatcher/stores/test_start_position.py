"""Where a durable starts that the server does not know."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.stores.nats_streaming.start_position import NatsStreamingStart
from natss.contract.resources import DeliveryPolicy, Start, StartKind
from natss.nats_streaming import StartAt
from tests.conftest import StartServer
from tests.support.data_plane import DataPlane, event, subscriber
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually

LAST = DeliveryPolicy(ack_wait=2, start=Start(StartKind.LAST))
MARGIN = 2.5
"""Seconds that a start by time looks further back."""


def seconds_ago(start: StartAt) -> float:
    assert start.epoch is not None
    return time.time() - start.epoch


@pytest.mark.parametrize(
    ("start", "ago"),
    [(Start(), 100.0), (Start(StartKind.AGO, 20), 120.0), (Start(StartKind.LAST), 100.0)],
)
def test_a_time_counts_from_when_it_was_wanted(start: Start, ago: float) -> None:
    beginning = NatsStreamingStart(start, time.monotonic() - 100.0)
    assert seconds_ago(beginning.start_at(None)) == pytest.approx(ago + MARGIN, abs=1)


def test_a_store_that_was_lost_is_read_since_it_was_last_known() -> None:
    beginning = NatsStreamingStart(Start(StartKind.FIRST), time.monotonic() - 100.0)
    assert beginning.start_at(None) == StartAt.first()
    alive_at = time.monotonic() - 7.0
    assert seconds_ago(beginning.start_at(alive_at)) == pytest.approx(7 + MARGIN, abs=1)


def test_who_was_open_and_is_unknown_begins_with_all_that_a_new_store_has() -> None:
    beginning = NatsStreamingStart(Start(), time.monotonic() - 100.0).known()
    assert beginning.start_at(None) == StartAt.first()
    assert not beginning.is_by_time


def test_who_is_succeeded_has_nothing_unless_it_was_never_open() -> None:
    never_open = NatsStreamingStart(Start(), time.monotonic() - 100.0)
    assert never_open.forgone() is never_open
    assert never_open.known().forgone().start_at(None) == StartAt.new_only()


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_last_is_the_last_one_and_all_that_follow(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber, before: int
) -> None:
    async with DataPlane(memory_server, unique_name) as plane:
        for number in range(before):
            await plane.publish(f"before-{number}")
        await asyncio.sleep(MARGIN + 0.5)
        plane.subscribe(subscriber(sink.url), policy=LAST)
        await plane.publish("e1")
        await plane.publish("e2")
        last = [f"before-{before - 1}"] if before else []
        await sink.wait_for_events(2 + len(last))
    assert set(sink.counts) == {"e1", "e2", *last}


async def test_last_is_that_of_when_it_was_wanted_not_of_when_it_could_be_opened(
    natss_server: StartServer, unique_name: str, sink: Subscriber
) -> None:
    server = await natss_server(store="FILE", streaming="store_limits { max_subs: 1 }")
    other = subscriber("http://127.0.0.1:1/", "other", "other")
    quiet = replace(LAST, backoff_delay=0.05)
    async with DataPlane(server, unique_name) as plane:
        plane.subscribe(other, policy=quiet)
        await plane.open()
        plane.subscribe(other, subscriber(sink.url), policy=quiet)
        durable = list(plane.reconciler.members.values())[1].durable

        async def is_refused() -> bool:
            return durable.last_error is not None

        await eventually(is_refused)
        for number in range(3):
            await plane.publish(f"e{number}")
        server.streaming = ""
        await server.restart()
        await sink.wait_for_events(3)


async def test_what_was_stored_after_a_wipe_and_before_the_next_process_reaches_it(
    natss_server: StartServer, unique_name: str, tmp_path: Path, sink: Subscriber
) -> None:
    """The dispatcher and the store are lost at once, and another replica takes events."""
    server = await natss_server(store="MEMORY")
    async with DataPlane(server, unique_name, state_dir=tmp_path) as plane:
        plane.subscribe(subscriber(sink.url))
        await plane.publish("before")
        await plane.settled(1)
        assert await plane.records.write()
    await server.restart()
    async with DataPlane(server, f"{unique_name}-other") as other:
        await other.store.publish(plane.subject, event("e1"))
        await asyncio.sleep(MARGIN + 0.5)
    async with DataPlane(server, unique_name, state_dir=tmp_path) as plane:
        plane.subscribe(subscriber(sink.url))
        await sink.wait_until(lambda: sink.counts["e1"] == 1)
        await plane.publish("e2")
        await sink.wait_until(lambda: sink.counts["e2"] == 1)
    assert sink.counts == {"before": 1, "e1": 1, "e2": 1}


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_request_that_the_server_handles_too_late_does_not_move_the_start(
    memory_server: NatsStreamingServer,
    unique_name: str,
    tmp_path: Path,
    sink: Subscriber,
    *,
    is_killed: bool,
) -> None:
    """How long ago a start by time is, counts from then, and the durable is there by then."""
    mail = subscriber(sink.url)
    other = DataPlane(memory_server, f"{unique_name}-other")
    async with other, Proxy(memory_server.port) as proxy:
        await other.store.publish(f"{unique_name}.default", event("of nobody"))
        await asyncio.sleep(MARGIN + 0.5)
        plane = DataPlane(memory_server, unique_name, state_dir=tmp_path, url=proxy.url)
        async with plane:
            await plane.store.delivering.was_open.wait()
            proxy.hold()
            plane.subscribe(mail)
            await other.store.publish(plane.subject, event("e1"))
            await asyncio.sleep(MARGIN + 1.5)
            proxy.release()
            if is_killed:
                assert await plane.records.write()
            else:
                await sink.wait_until(lambda: sink.counts["e1"] == 1)
        async with DataPlane(memory_server, unique_name, state_dir=tmp_path) as plane:
            plane.subscribe(mail)
            await sink.wait_until(lambda: sink.counts["e1"] == 1)
            await plane.publish("e2")
            await sink.wait_until(lambda: sink.counts["e2"] == 1)
    assert sink.counts["of nobody"] == 0
