"""Limits in bytes hold for the memory that is taken, not only for the events in it."""

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from contract.resources import DeliveryPolicy, ResourceName
from dispatcher.attempts import Attempts, Plan
from dispatcher.delivery import Outcome
from dispatcher.egress.client import Egress, EgressError, Response, Target
from dispatcher.event import encode
from dispatcher.flow import ByteBudget, Share
from dispatcher.lanes import Lanes, never_busy
from dispatcher.limits import EgressLimits
from dispatcher.metrics import SubscriptionMetrics
from dispatcher.subscription import Subscription
from tests.dispatcher.egress_fakes import Wire

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
            attempts = Attempts(plan, egress, metrics, budget)
            lane = Lanes(never_busy).delivering(ResourceName("default", "orders"))
            made.append(Subscription(name, attempts, metrics, budget, lane))
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


def long_answer(status: int, length: int) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, length, bytes(length))


async def test_a_connection_that_is_idle_keeps_nothing_of_its_last_answer() -> None:
    """Idle connections are kept by the thousand."""
    wires = [Wire() for _ in range(4)]
    tracemalloc.start()
    try:
        before = traced()
        for wire in wires:
            answer = wire.exchange()
            wire.receive(long_answer(200, 2**19))
            assert len((await answer).body) == 2**19
        del answer
        kept = traced() - before
    finally:
        tracemalloc.stop()
    assert kept < 2**16


async def test_a_long_answer_is_counted_while_it_is_read() -> None:
    wire = Wire()
    answer = wire.exchange()
    data = long_answer(200, 100_000)
    wire.receive(data[:60_000])
    assert 50_000 < wire.owner.budget.used < 60_000
    wire.receive(data[60_000:])
    assert len((await answer).body) == 100_000
    assert wire.owner.budget.used == 0
    answer = wire.exchange()
    wire.receive(data[:60_000])
    wire.connection.forsake(answer)
    assert wire.owner.budget.used == 0


async def test_replies_of_one_subscription_leave_as_much_memory_for_others() -> None:
    """Also where their destination hangs, and all of them have to be kept meanwhile."""
    budget = ByteBudget(2**20)
    sending: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    class Replying:
        async def post(self, target: Target, head: bytes, body: bytes, timeout: float) -> Response:
            return Response(200, [], b"x" * 100_000) if body == b"event" else await sending

    url = Target.parse("http://127.0.0.1:9/")
    plan = Plan(url, url, None, DeliveryPolicy(retry=0))
    attempts = Attempts(plan, Replying(), SubscriptionMetrics(), budget)
    event = encode([], b"event", "test.host")
    deliveries = [asyncio.create_task(attempts.deliver(event, n, 0)) for n in range(1, 21)]
    await asyncio.sleep(0.01)
    assert budget.free > budget.limit // 3
    assert attempts.health.last_failure is not None
    assert "no room" in attempts.health.last_failure.text
    sending.set_result(Response(202, [], b""))
    outcomes = [await delivery for delivery in deliveries]
    assert outcomes.count(Outcome.DELIVERED) == 5
    assert outcomes.count(Outcome.FAILED) == 15
    assert budget.used == 0


@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["incomplete", "complete"])
async def test_headers_of_an_answer_are_counted_while_it_is_read(end: bytes) -> None:
    """A subscriber may choose short ones: they take sixteen times what comes over the wire."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + b"a:b\r\n" * 10_000 + end
    wires = [Wire() for _ in range(2)]
    tracemalloc.start()
    try:
        before = traced()
        answers = [wire.exchange() for wire in wires]
        for wire in wires:
            wire.owner.memory = Share(ByteBudget(2**24))
            wire.receive(head)
        taken = traced() - before
    finally:
        tracemalloc.stop()
    assert taken <= sum(wire.owner.memory.held for wire in wires) < 3 * taken
    for wire, answer in zip(wires, answers, strict=True):
        wire.connection.forsake(answer)
        assert wire.owner.memory.held == 0


@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["incomplete", "complete"])
async def test_without_memory_for_its_headers_an_answer_fails(end: bytes) -> None:
    wire = Wire()
    wire.owner.budget.take(2**20 - 10_000)  # by others
    answer = wire.exchange()
    wire.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + b"a:b\r\n" * 5000 + end)
    with pytest.raises(EgressError, match="room"):
        await answer
    assert wire.owner.budget.used == 2**20 - 10_000
    assert wire.transport.aborted


async def test_headers_of_an_answer_are_not_kept_while_its_reply_is_sent_on() -> None:
    sending: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    class Replying:
        async def post(self, target: Target, head: bytes, body: bytes, timeout: float) -> Response:
            if body == b"reply":
                return await sending
            return Response(200, [(b"a%d" % n, b"b") for n in range(20_000)], b"reply")

    url = Target.parse("http://127.0.0.1:9/")
    plan = Plan(url, url, None, DeliveryPolicy())
    attempts = Attempts(plan, Replying(), SubscriptionMetrics(), ByteBudget(2**20))
    tracemalloc.start()
    try:
        before = traced()
        delivery = asyncio.create_task(attempts.deliver(encode([], b"event", "test.host"), 1, 0))
        await asyncio.sleep(0.01)
        taken = traced() - before
    finally:
        tracemalloc.stop()
    sending.set_result(Response(202, [], b""))
    assert await delivery is Outcome.DELIVERED
    assert taken < 100_000


@pytest.mark.parametrize("status", [200, 500])
async def test_without_memory_an_answer_is_cut_off_or_fails(status: int) -> None:
    wire = Wire()
    wire.owner.budget.take(2**20 - 10_000)  # by others
    answer = wire.exchange()
    wire.receive(long_answer(status, 100_000)[:60_000])
    if status == 200:
        with pytest.raises(EgressError, match="answered 200 with a body without room for it"):
            await answer
    else:
        assert (await answer).status == 500
    assert wire.owner.budget.used == 2**20 - 10_000
    assert wire.transport.aborted


async def test_a_reply_is_counted_while_it_is_sent_on() -> None:
    budget = ByteBudget(2**20)
    sending: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    class Replying:
        async def post(self, target: Target, head: bytes, body: bytes, timeout: float) -> Response:
            return await sending if body == b"reply" else Response(200, [], b"reply")

    url = Target.parse("http://127.0.0.1:9/")
    plan = Plan(url, url, None, DeliveryPolicy())
    attempts = Attempts(plan, Replying(), SubscriptionMetrics(), budget)
    delivery = asyncio.create_task(attempts.deliver(encode([], b"event", "test.host"), 1, 0))
    await asyncio.sleep(0)
    assert budget.used >= len(b"reply")
    sending.set_result(Response(202, [], b""))
    assert await delivery is Outcome.DELIVERED
    assert budget.used == 0
