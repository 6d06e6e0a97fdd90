"""Where a durable starts that the server does not know."""

import asyncio
import time
from dataclasses import replace

import pytest

from contract.resources import DeliveryPolicy, Start, StartKind
from dispatcher.beginning import Beginning
from nats_streaming import StartAt
from tests.conftest import StartServer
from tests.data_plane import DataPlane, eventually, subscriber
from tests.servers import NatsStreamingServer
from tests.subscriber import Subscriber

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
    beginning = Beginning(start, time.monotonic() - 100.0)
    assert seconds_ago(beginning.start_at(None)) == pytest.approx(ago + MARGIN, abs=1)


def test_a_store_that_was_lost_is_read_since_it_was_last_known() -> None:
    beginning = Beginning(Start(StartKind.FIRST), time.monotonic() - 100.0)
    assert beginning.start_at(None) == StartAt.first()
    alive_at = time.monotonic() - 7.0
    assert seconds_ago(beginning.start_at(alive_at)) == pytest.approx(7 + MARGIN, abs=1)


def test_who_is_succeeded_has_nothing_unless_it_was_never_open() -> None:
    never_open = Beginning(Start(), time.monotonic() - 100.0)
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
        durable = list(plane.fanout.members.values())[1].durable

        async def is_refused() -> bool:
            return durable.last_error is not None

        await eventually(is_refused)
        for number in range(3):
            await plane.publish(f"e{number}")
        server.streaming = ""
        await server.restart()
        await sink.wait_for_events(3)
