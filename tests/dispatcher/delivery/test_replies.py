"""The subscriber has the event, its reply is still to be sent on: from round to round."""

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from dispatcher.delivery.attempts import Attempts, Plan
from dispatcher.delivery.subscription import DeliveryState, SubscriptionDelivery
from dispatcher.egress.client import EgressError, FailureReason, Response
from dispatcher.egress.target import Target
from dispatcher.runtime.byte_budget import BudgetShare, ByteBudget
from dispatcher.runtime.fair_share import FairShares, never_busy
from dispatcher.runtime.metrics import SubscriptionMetrics
from natss.contract.resources import DeliveryPolicy, Order
from tests.dispatcher.conftest import StartDispatcher, StartSubscriber
from tests.dispatcher.delivery.test_subscription import Acks, Message
from tests.support.channel_files import channel
from tests.support.channel_ids import channel_id
from tests.support.fakes import run_callbacks
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Received, Subscriber
from tests.support.waiting import eventually

SUBSCRIBER, REPLY = Target.parse("http://subscriber.test/"), Target.parse("http://reply.test/")
POLICY = DeliveryPolicy(retry=0, ack_wait=10)
PLAN = Plan(SUBSCRIBER, REPLY, None, POLICY)
MIB = 2**20


class Peers:
    """A subscriber that answers with a reply, and a reply address that answers as it is told."""

    def __init__(self, size: int = 100) -> None:
        self.reply = b"r" * size
        self.status = 503
        self.unusable = False
        self.calls = 0
        self.taken: list[bytes] = []
        self.hold: asyncio.Event | None = None

    async def post(
        self,
        target: Target,
        head: bytes,
        body: bytes,
        timeout: float,
        *,
        wants_body: bool,
        memory: BudgetShare | None,
    ) -> Response:
        if target == SUBSCRIBER:
            self.calls += 1
            if self.unusable:
                raise EgressError(FailureReason.TOO_LARGE, "too much", 200)
            return Response(200, [], self.reply)
        if self.hold is not None:
            await self.hold.wait()
        if self.status == 202:
            self.taken.append(body)
        return Response(self.status, [], b"")


class Scene:
    """A subscription of which every round is begun by the test."""

    def __init__(self, peers: Peers, plan: Plan = PLAN, budget: int = MIB) -> None:
        self.peers = peers
        self.plan = plan
        self.budget = ByteBudget(budget)
        self.metrics = SubscriptionMetrics()
        attempts = Attempts(plan, peers, self.metrics, self.budget)
        lane = FairShares(never_busy).delivering(channel_id("default", "orders"))
        self.subscription = SubscriptionDelivery("mail", attempts, self.metrics, self.budget, lane)
        self.acks = Acks()
        self.subscription.durables = (self.acks,)

    async def round(self, *sequences: int) -> None:
        """Send events, again or for the first time, and wait until nothing is under way."""
        self.subscription.retarget(self.plan)  # no event rests
        for sequence in sequences:
            self.subscription.receive(Message(sequence))
        window = self.subscription.window

        async def is_idle() -> bool:
            return not window.active and not window.waiting

        await eventually(is_idle)


async def test_the_subscriber_is_called_once_however_often_the_reply_fails() -> None:
    scene = Scene(Peers())
    for _ in range(5):
        await scene.round(1)
    assert scene.peers.calls == 1
    assert scene.acks.sequences == []
    scene.peers.status = 202
    await scene.round(1)
    assert scene.peers.calls == 1
    assert scene.peers.taken == [scene.peers.reply]
    assert scene.acks.sequences == [1]
    assert scene.budget.used == 0


async def test_a_pause_does_not_forget_it() -> None:
    scene = Scene(Peers())
    await scene.round(1)
    scene.subscription.pause()
    scene.subscription.receive(Message(1))
    scene.subscription.resume(PLAN)
    scene.peers.status = 202
    await scene.round(1)
    assert (scene.peers.calls, scene.acks.sequences) == (1, [1])


async def test_a_copy_during_the_round_changes_nothing() -> None:
    scene = Scene(Peers())
    scene.peers.hold = asyncio.Event()
    scene.subscription.receive(Message(1))
    await run_callbacks()
    assert scene.peers.calls == 1
    scene.subscription.receive(Message(1, redelivered=True))
    scene.peers.hold.set()
    scene.peers.hold = None
    await scene.round()
    scene.peers.status = 202
    await scene.round(1)
    assert (scene.peers.calls, scene.acks.sequences) == (1, [1])


@pytest.mark.parametrize("end", ["close", "another channel"])
async def test_a_reply_that_nobody_will_send_takes_no_memory(end: str) -> None:
    scene = Scene(Peers())
    await scene.round(1)
    assert scene.budget.used > 0
    if end == "close":
        scene.subscription.close()
        assert scene.subscription.state is DeliveryState.CLOSED
        await scene.subscription.drain()
    else:
        scene.peers.status = 202
        scene.subscription.receive(Message(1, timestamp=10**6))
        await scene.round()
        assert scene.peers.calls == 2, "it is another event"
    assert scene.budget.used == 0


async def test_no_more_is_begun_than_there_is_memory_for_replies() -> None:
    """What waits for its reply to be sent on keeps its place; the rest waits in the store."""
    scene = Scene(Peers(100_000))
    for sequence in range(1, 21):
        await scene.round(sequence)
    began = scene.peers.calls
    assert 3 < began < 10
    assert scene.budget.free > scene.budget.limit // 4
    scene.peers.status = 202
    for _ in range(3):
        await scene.round(*range(1, 21))
    assert set(scene.acks.sequences) == set(range(1, 21))
    assert scene.peers.calls == 20, "each was called once"
    assert scene.budget.used == 0


async def test_in_order_nothing_overtakes_what_waits_for_its_reply() -> None:
    scene = Scene(Peers(), replace(PLAN, policy=replace(POLICY, order=Order.CHANNEL)))
    await scene.round(1, 2)
    assert scene.peers.calls == 1
    scene.peers.status = 202
    await scene.round(1)
    await scene.round(2)
    assert (scene.peers.calls, scene.acks.sequences) == (2, [1, 2])


async def test_what_can_never_become_a_reply_is_settled_and_shown() -> None:
    scene = Scene(Peers())
    scene.peers.unusable = True
    await scene.round(1)
    assert (scene.peers.calls, scene.acks.sequences) == (1, [1])
    status = scene.subscription.status()
    assert (status["unusableReplies"], status["lastError"]) == (1, "too much")
    assert status["state"] == "active"


# With real processes


def pinging(ponger: Subscriber, reply: str, **arguments: object) -> dict[str, Any]:
    """Return a channel whose subscriber's answers are replies."""
    pings = channel("pings", {"ackWait": "1s", "timeout": "0.9s", "retry": 1, **arguments})
    entry = {
        "uid": "u1",
        "ref": {"namespace": "default", "name": "ponger"},
        "subscriberURI": ponger.url,
        "replyURI": reply,
    }
    pings["spec"]["subscribable"] = {"subscribers": [entry]}
    return pings


async def samples(dispatcher: ObservedDispatcher, name: str) -> list[float]:
    _, text = await dispatcher.admin("/metrics")
    lines = (line for line in text.splitlines() if line.startswith(f"natss_subscription_{name}{{"))
    return [float(line.rpartition(" ")[2]) for line in lines]


async def test_a_reply_address_that_is_down_has_the_subscriber_called_once(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    statuses = [503] * 7

    async def pong(_: Received) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=b"pong", headers={"Ce-Id": "r1"})

    async def refuse(_: Received) -> aiohttp.web.Response:
        return aiohttp.web.Response(status=statuses.pop() if statuses else 202)

    ponger, listener = await start_subscriber(pong), await start_subscriber(refuse)
    dispatcher = await start_dispatcher(file_server, pinging(ponger, listener.url))
    assert await dispatcher.post("pings", "e1") == 202
    await listener.wait_for_events(1, 60.0)
    assert len(listener.received) == 8, "two attempts in each of four rounds"
    assert [received.id for received in ponger.received] == ["e1"]
    assert {received.body for received in listener.received} == {b"pong"}


@pytest.mark.parametrize("with_sink", [False, True])
async def test_an_answer_that_is_too_large_has_the_subscriber_called_once(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
    with_sink: bool,
) -> None:
    async def too_much(_: Received) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=bytes(MIB + 1))

    large, listener = await start_subscriber(too_much), await start_subscriber()
    sink = await start_subscriber()
    arguments = {"deadLetterURI": sink.url} if with_sink else {}
    dispatcher = await start_dispatcher(file_server, pinging(large, listener.url, **arguments))
    assert await dispatcher.post("pings", "e1", b'{"a": 1}') == 202
    assert await dispatcher.post("pings", "e2") == 202

    async def is_settled() -> bool:
        return await samples(dispatcher, "settled_events_total") == [2]

    await eventually(is_settled)
    assert [received.id for received in large.received] == ["e1", "e2"]
    assert listener.received == []
    assert await samples(dispatcher, "unusable_replies_total") == [2]
    assert await samples(dispatcher, "dead_lettered_events_total") == [2 if with_sink else 0]
    if with_sink:
        first = next(each for each in sink.received if each.id == "e1")
        assert first.body == b'{"a": 1}'
        assert first.headers["ce-knativeerrordest"] == large.url
    line = await dispatcher.wait_for_log("subscriber has taken an event, but its answer cannot")
    assert "more than 1048576 bytes" in line["reason"]


async def test_without_memory_for_its_answer_a_subscriber_is_not_called_again(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    """Ten answers at once take three times what there is, and their address is down at first."""
    is_up = False

    async def pong(event: Received) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=bytes(300_000), headers={"Ce-Id": f"r-{event.id}"})

    async def listen(_: Received) -> aiohttp.web.Response:
        return aiohttp.web.Response(status=202 if is_up else 503)

    ponger, listener = await start_subscriber(pong), await start_subscriber(listen)
    pings = pinging(ponger, listener.url, ackWait="2s", timeout="1.9s", retry=0)
    flags = ("--egress-max-buffered-bytes=1Mi",)
    dispatcher = await start_dispatcher(file_server, pings, flags=flags)
    events = [f"e{number}" for number in range(10)]
    statuses = await asyncio.gather(*(dispatcher.post("pings", event) for event in events))
    assert set(statuses) == {202}
    await listener.wait_until(lambda: len(listener.received) >= 1)
    is_up = True

    async def is_settled() -> bool:
        return await samples(dispatcher, "settled_events_total") == [10]

    await eventually(is_settled, 60.0)
    assert sorted(received.id for received in ponger.received) == events
    (lost,) = await samples(dispatcher, "unusable_replies_total")
    assert len(listener.counts) + lost == 10, "each was sent on, or it is told"
    assert len(listener.counts) >= 1
