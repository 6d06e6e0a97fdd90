"""Limits in bytes hold for the memory that is taken, not only for the events in it."""

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from contract.resources import DeliveryPolicy
from dispatcher.attempts import Attempts, Plan
from dispatcher.egress.client import Egress, Target
from dispatcher.event import encode
from dispatcher.flow import ByteBudget
from dispatcher.limits import EgressLimits
from dispatcher.metrics import SubscriptionMetrics
from dispatcher.subscription import Subscription

IN_FLIGHT = 64
CONNECTIONS = 8


@dataclass(frozen=True)
class Stored:
    """A message of NATS Streaming."""

    sequence: int
    data: bytes
    timestamp: int = 1
    redelivered: bool = False


@contextlib.asynccontextmanager
async def silent_subscriber() -> AsyncIterator[str]:
    """Takes requests and never answers."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not ended.is_set() and await reader.read(2**16):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        ended.set()
        server.close()


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize(("subscriptions", "body"), [(40, 30), (2, 64 * 1024)])
async def test_events_under_way_take_no_more_memory_than_they_are_counted_for(
    subscriptions: int, body: int
) -> None:
    budget = ByteBudget(2**40)
    egress = Egress(EgressLimits(max_connections_per_origin=CONNECTIONS))
    headers = [(b"Content-Type", b"application/json"), (b"Ce-Id", b"1"), (b"Ce-Source", b"/tests")]
    async with silent_subscriber() as url:
        made = []
        for number in range(subscriptions):
            name, metrics = f"s{number}", SubscriptionMetrics()
            plan = Plan(Target.parse(url), None, None, DeliveryPolicy(max_inflight=IN_FLIGHT))
            attempts = Attempts(name, plan, egress, metrics)
            made.append(Subscription(name, attempts, metrics, budget))
        in_flight = subscriptions * IN_FLIGHT
        tracemalloc.start()
        try:
            before = traced()
            for subscription in made:
                for sequence in range(1, IN_FLIGHT + 1):
                    data = encode(headers, bytes(body), "test.host")
                    subscription.receive(Stored(sequence, data))
            del data
            await asyncio.sleep(0)  # every worker begins
            assert sum(each.window.active for each in made) == in_flight
            taken, counted = traced() - before, budget.used
        finally:
            tracemalloc.stop()
        for subscription in made:
            subscription.close()
            await subscription.drain()
        await egress.close()
    assert taken <= counted
    assert budget.used == 0
