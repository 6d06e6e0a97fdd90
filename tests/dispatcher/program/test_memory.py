"""Limits in bytes hold for the memory that is taken, not only for the events in it."""

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from dispatcher.delivery.attempts import Attempts, Plan
from dispatcher.delivery.rules import Outcome
from dispatcher.delivery.subscription import SubscriptionDelivery
from dispatcher.egress.client import Egress, EgressError, FailureReason, Response, Target
from dispatcher.egress.connection import EgressConnectionState
from dispatcher.egress.limits import EgressLimits
from dispatcher.event.stored_form import encode
from dispatcher.runtime.byte_budget import BudgetShare, ByteBudget
from dispatcher.runtime.fair_share import FairShares, never_busy
from dispatcher.runtime.metrics import SubscriptionMetrics
from natss.contract.resources import DeliveryPolicy
from tests.dispatcher.delivery.pending_events import pending
from tests.dispatcher.egress.egress_fakes import Wire
from tests.support.channel_ids import channel_id

IN_FLIGHT = 64
CONNECTIONS = 8
EVENT = encode([], b"event", "test.host")


@dataclass(frozen=True)
class Stored:
    """A message of NATS Streaming."""

    sequence: int
    data: bytes
    timestamp: int = 1
    redelivered: bool = False


@contextlib.asynccontextmanager
async def silent_subscriber() -> AsyncIterator[str]:
    """Take requests and never answer."""
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
            lane = FairShares(never_busy).delivering(channel_id("default", "orders"))
            made.append(SubscriptionDelivery(name, attempts, metrics, budget, lane))
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
        async def post(
            self, target: Target, head: bytes, body: bytes, timeout: float, **_: object
        ) -> Response:
            return Response(200, [], b"x" * 100_000) if body == b"event" else await sending

    url = Target.parse("http://127.0.0.1:9/")
    plan = Plan(url, url, None, DeliveryPolicy(retry=0))
    attempts = Attempts(plan, Replying(), SubscriptionMetrics(), budget)
    deliveries = [asyncio.create_task(attempts.deliver(pending(EVENT, n))) for n in range(1, 21)]
    await asyncio.sleep(0.01)
    assert budget.free > budget.limit // 3
    sending.set_result(Response(202, [], b""))
    outcomes = [await delivery for delivery in deliveries]
    assert outcomes.count(Outcome.DELIVERED) == 6
    assert outcomes.count(Outcome.POSTPONED) == 14
    assert budget.used == 0


@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["incomplete", "complete"])
async def test_headers_of_an_answer_are_counted_while_it_is_read(end: bytes) -> None:
    """A subscriber may choose short ones: they take sixteen times what comes over the wire."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + b"a:b\r\n" * 10_000 + end
    wires = [Wire() for _ in range(2)]
    tracemalloc.start()
    try:
        before = traced()
        shares = [BudgetShare(ByteBudget(2**24)) for _ in wires]
        answers = [w.exchange(memory=share) for w, share in zip(wires, shares, strict=True)]
        for wire in wires:
            wire.receive(head)
        taken = traced() - before
    finally:
        tracemalloc.stop()
    assert taken <= sum(share.held for share in shares) < 3 * taken
    for wire, answer in zip(wires, answers, strict=True):
        wire.connection.forsake(answer)
    assert [share.held for share in shares] == [0, 0]


BY_OTHERS = 2**20 - 10_000


@pytest.mark.parametrize("size", [60_000, 100_100], ids=["incomplete", "complete"])
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"a:b\r\n" * 12_000 + b"\r\n",
        long_answer(200, 100_000),
    ],
    ids=["headers", "body"],
)
async def test_without_memory_an_answer_waits_until_there_is_some(data: bytes, size: int) -> None:
    """The subscriber has taken the event: to let the attempt fail would be to call it again."""
    wire = Wire(EgressLimits(max_response_header_bytes=2**17))
    budget = ByteBudget(2**24)
    wire.owner.memory = BudgetShare(budget)
    budget.take(budget.limit - 10_000)
    answer = wire.exchange()
    wire.receive(data[:size])
    wire.loop.advance(10)
    assert not wire.transport.is_reading()
    assert not answer.done()
    assert budget.used == budget.limit - 10_000
    budget.give_back(budget.limit - 10_000)
    wire.loop.advance(1)
    assert wire.transport.is_reading()
    if size < len(data):
        wire.receive(data[size:])
    assert (await answer).status == 200
    assert budget.used == 0
    assert wire.connection.state is EgressConnectionState.IDLE


async def test_an_answer_for_which_there_is_no_memory_in_time_fails() -> None:
    wire = Wire()
    wire.owner.budget.take(BY_OTHERS)
    answer = wire.exchange(timeout=30.0)
    wire.receive(long_answer(200, 100_000)[:60_000])
    wire.loop.advance(29)
    assert not answer.done()
    wire.loop.advance(1)
    with pytest.raises(EgressError, match="no memory for the answer in time") as caught:
        await answer
    assert caught.value.reason is FailureReason.TOO_LARGE
    assert caught.value.status == 200
    assert wire.owner.budget.used == BY_OTHERS
    assert wire.transport.aborted
    assert wire.loop.pending_timers == 0


async def test_answers_that_each_lack_a_part_do_not_wait_for_each_other() -> None:
    """One at a time is read to its end, of what is left for others."""
    budget = ByteBudget(2**20)
    share = BudgetShare(budget)
    wires = [Wire() for _ in range(10)]
    answers = [wire.exchange(memory=share) for wire in wires]
    data = long_answer(200, 300_000)
    for wire in wires:
        wire.receive(data[:150_000])
    assert sum(wire.transport.is_reading() for wire in wires) in range(1, 9)
    assert budget.free > budget.limit // 4
    for _ in wires:
        for wire, answer in zip(wires, answers, strict=True):
            wire.loop.advance(1)
            if wire.transport.is_reading() and not answer.done():
                wire.receive(data[150_000:])
    assert [len((await answer).body) for answer in answers] == [300_000] * 10
    assert budget.used == 0


async def test_an_answer_that_waits_for_memory_and_is_complete_outlives_its_connection() -> None:
    wire = Wire()
    wire.owner.budget.take(BY_OTHERS)
    answer = wire.exchange()
    wire.receive(long_answer(200, 100_000))
    wire.connection.connection_lost(ConnectionResetError())
    assert len((await answer).body) == 100_000


async def test_headers_of_an_answer_are_not_kept_while_its_reply_is_sent_on() -> None:
    sending: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    class Replying:
        async def post(
            self, target: Target, head: bytes, body: bytes, timeout: float, **_: object
        ) -> Response:
            if body == b"reply":
                return await sending
            return Response(200, [(b"a%d" % n, b"b") for n in range(20_000)], b"reply")

    url = Target.parse("http://127.0.0.1:9/")
    plan = Plan(url, url, None, DeliveryPolicy())
    attempts = Attempts(plan, Replying(), SubscriptionMetrics(), ByteBudget(2**20))
    tracemalloc.start()
    try:
        before = traced()
        delivery = asyncio.create_task(attempts.deliver(pending(EVENT)))
        await asyncio.sleep(0.01)
        taken = traced() - before
    finally:
        tracemalloc.stop()
    sending.set_result(Response(202, [], b""))
    assert await delivery is Outcome.DELIVERED
    assert taken < 100_000


@pytest.mark.parametrize(("status", "wants_body"), [(200, False), (500, True), (500, False)])
async def test_without_memory_an_answer_of_which_the_status_counts_is_cut_off(
    status: int, wants_body: bool
) -> None:
    wire = Wire()
    wire.owner.budget.take(BY_OTHERS)
    answer = wire.exchange(wants_body=wants_body)
    head = b"HTTP/1.1 %d X\r\nContent-Length: 100000\r\nX: %b\r\n\r\n" % (status, b"x" * 20_000)
    wire.receive(head + bytes(60_000))
    assert (await answer).status == status
    assert wire.owner.budget.used == BY_OTHERS
    assert wire.transport.aborted


async def test_a_reply_is_counted_while_it_is_sent_on() -> None:
    budget = ByteBudget(2**20)
    sending: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    class Replying:
        async def post(
            self, target: Target, head: bytes, body: bytes, timeout: float, **_: object
        ) -> Response:
            return await sending if body == b"reply" else Response(200, [], b"reply")

    url = Target.parse("http://127.0.0.1:9/")
    plan = Plan(url, url, None, DeliveryPolicy())
    attempts = Attempts(plan, Replying(), SubscriptionMetrics(), budget)
    delivery = asyncio.create_task(attempts.deliver(pending(EVENT)))
    await asyncio.sleep(0)
    assert budget.used >= len(b"reply")
    sending.set_result(Response(202, [], b""))
    assert await delivery is Outcome.DELIVERED
    assert budget.used == 0
