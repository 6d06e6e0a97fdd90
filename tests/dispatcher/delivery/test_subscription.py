"""Delivery of what one subscription receives: concurrency, settling, pausing, draining."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from dispatcher.delivery.attempts import Attempts, Plan
from dispatcher.delivery.subscription import DeliveryState, SubscriptionDelivery
from dispatcher.egress.client import Response
from dispatcher.egress.target import Target
from dispatcher.event.stored_form import encode
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.fair_share import UNLIMITED, FairShare, FairShares, never_busy
from dispatcher.runtime.metrics import Metrics, SubscriptionMetrics
from natss.contract.resources import DeliveryPolicy, Order, ResourceName, Subscriber
from tests.support.channel_ids import channel_id
from tests.support.fakes import run_callbacks
from tests.support.waiting import Changes

TARGET = Target.parse("http://subscriber.test/")
PLAN = Plan(TARGET, None, None, DeliveryPolicy(retry=0, max_inflight=4, ack_wait=10))
MOST = 2**20 - 22 * 1024
"""Of a budget of 1 MiB; what is left serves ten events and one delivery."""

EVENT = encode([(b"Ce-Id", b"1")], b"body", "host.test")


@dataclass
class Message:
    """As NATS Streaming would deliver it."""

    sequence: int
    timestamp: int = 0
    data: bytes = EVENT
    redelivered: bool = False

    def __post_init__(self) -> None:
        self.timestamp = self.timestamp or 1000 + self.sequence


class HeldEgress:
    """Answers a post when the test says so."""

    def __init__(self) -> None:
        self.posts: list[asyncio.Future[int]] = []
        self.begun = asyncio.Condition()

    async def post(
        self, target: Target, head: bytes, body: bytes, timeout: float, **_: object
    ) -> Response:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.posts.append(answer)
        async with self.begun:
            self.begun.notify_all()
        return Response(await answer, [], b"")

    async def wait_for_posts(self, count: int) -> None:
        async with self.begun:
            await self.begun.wait_for(lambda: len(self.posts) >= count)


@dataclass
class Acks:
    """A durable of which only the acknowledgements matter."""

    sequences: list[int] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    on_ack: Callable[[int], object] = id
    reopenings: int = 0
    reopened: asyncio.Event = field(default_factory=asyncio.Event)

    def reopen(self) -> None:
        self.reopenings += 1
        self.reopened.set()

    def ack(self, sequence: int) -> None:
        self.on_ack(sequence)
        self.sequences.append(sequence)
        self.changes.note()

    async def wait_for(self, count: int) -> None:
        await self.changes.until(lambda: len(self.sequences) >= count)


@dataclass
class Bench:
    """A subscription with everything around it in the hands of the test."""

    subscription: SubscriptionDelivery
    egress: HeldEgress
    acks: Acks
    metrics: SubscriptionMetrics
    lane: FairShare

    def receive(self, *sequences: int) -> None:
        for sequence in sequences:
            self.subscription.receive(Message(sequence))


def make_bench(plan: Plan = PLAN, budget: ByteBudget | None = None) -> Bench:
    name = channel_id("default", "orders")
    metrics = Metrics().subscription(name, Subscriber(ResourceName("default", "mail")))
    egress = HeldEgress()
    budget = budget or ByteBudget(2**20)
    attempts = Attempts(plan, egress, metrics, budget)
    lane = FairShares(never_busy).delivering(name)
    subscription = SubscriptionDelivery("mail", attempts, metrics, budget, lane)
    acks = Acks()
    subscription.durables = (acks,)
    return Bench(subscription, egress, acks, metrics, lane)


@pytest.fixture
def bench() -> Bench:
    return make_bench()


async def test_an_event_is_acknowledged_only_after_its_answer(bench: Bench) -> None:
    bench.receive(1)
    await bench.egress.wait_for_posts(1)
    assert bench.acks.sequences == []
    bench.egress.posts[0].set_result(202)
    await bench.acks.wait_for(1)
    assert bench.acks.sequences == [1]
    assert bench.metrics.settled == 1


async def test_no_more_are_begun_than_its_lane_allows(bench: Bench) -> None:
    bench.lane.set_limit(2)
    bench.receive(*range(1, 11))
    await bench.egress.wait_for_posts(2)
    await run_callbacks()
    assert len(bench.egress.posts) == 2


async def test_what_is_settled_is_counted_as_work_and_what_fails_is_not(bench: Bench) -> None:
    """A subscriber that is down would hold up the busy ones otherwise."""
    bench.receive(1, 2, 3)
    await bench.egress.wait_for_posts(3)
    for post, status in zip(bench.egress.posts, (202, 503, 503), strict=True):
        post.set_result(status)
    await bench.acks.wait_for(1)
    await run_callbacks()
    bench.lane.look()
    assert bench.lane.recent == 1


async def test_fewer_are_delivered_at_once_while_others_are_held_up(bench: Bench) -> None:
    bench.receive(*range(1, 11))
    await bench.egress.wait_for_posts(4)
    bench.lane.set_limit(2)
    for answered in range(3):
        bench.egress.posts[answered].set_result(202)
    await bench.acks.wait_for(3)
    await run_callbacks()
    assert len(bench.egress.posts) == 5  # one is left of the four, and one has begun
    bench.lane.set_limit(UNLIMITED)
    await bench.egress.wait_for_posts(7)  # four at once again, though nothing else happens
    await run_callbacks()
    assert len(bench.egress.posts) == 7


async def test_room_in_the_lane_begins_nothing_after_a_pause(bench: Bench) -> None:
    bench.lane.set_limit(2)
    bench.receive(*range(1, 11))
    await bench.egress.wait_for_posts(2)
    bench.subscription.pause()
    bench.lane.set_limit(UNLIMITED)
    await run_callbacks()
    assert len(bench.egress.posts) == 2


async def test_as_many_are_delivered_at_once_as_the_policy_allows(bench: Bench) -> None:
    bench.receive(*range(1, 11))
    await bench.egress.wait_for_posts(4)
    assert len(bench.egress.posts) == 4
    bench.egress.posts[2].set_result(202)
    await bench.egress.wait_for_posts(5)
    assert len(bench.egress.posts) == 5
    assert bench.acks.sequences == [3], "a slow one does not hold up the others"


async def test_who_holds_much_memory_leaves_the_others_their_full_number() -> None:
    """A slow subscriber harms only itself."""
    budget = ByteBudget(2**20)
    slow = make_bench(replace(PLAN, policy=replace(PLAN.policy, max_inflight=64)), budget)
    large = encode([(b"Ce-Id", b"1")], b"x" * 16_384, "host.test")
    for sequence in range(1, 65):
        slow.subscription.receive(Message(sequence, data=large))
    assert slow.metrics.deferred > 0, "it has all that it can get"
    other = make_bench(budget=budget)
    other.receive(*range(1, 11))
    async with asyncio.timeout(10):
        await other.egress.wait_for_posts(4)
    slow.subscription.close()
    other.subscription.close()


async def test_where_memory_is_short_fewer_are_delivered_at_once_and_none_is_left_over() -> None:
    budget = ByteBudget(2**20)
    budget.take(MOST)  # by others
    bench = make_bench(budget=budget)
    bench.receive(*range(1, 11))
    await bench.egress.wait_for_posts(1)
    assert len(bench.egress.posts) == 1, "but one always"
    budget.give_back(MOST)
    for number in range(10):
        await bench.egress.wait_for_posts(number + 1)
        bench.egress.posts[number].set_result(202)
        await bench.acks.wait_for(number + 1)
    assert len(bench.egress.posts) == 10
    bench.receive(*range(11, 15))
    await bench.egress.wait_for_posts(14)
    for post in bench.egress.posts[10:]:
        post.set_result(202)
    await bench.subscription.drain()
    assert budget.used == 0


async def test_what_found_no_room_is_asked_for_again_as_soon_as_there_is() -> None:
    """It would be sent again after the ack wait otherwise."""
    budget = ByteBudget(2**20)
    budget.take(2**20)
    bench = make_bench(budget=budget)
    bench.receive(1, 2)
    assert bench.metrics.deferred == 1
    await bench.egress.wait_for_posts(1)
    bench.egress.posts[0].set_result(202)
    await bench.acks.wait_for(1)
    await asyncio.sleep(0)
    assert bench.acks.reopenings == 0, "there is no room yet"
    budget.give_back(2**20)
    async with asyncio.timeout(10):
        await bench.acks.reopened.wait()
    bench.receive(2, 3)
    for number in (1, 2):
        await bench.egress.wait_for_posts(number + 1)
        bench.egress.posts[number].set_result(202)
    await bench.acks.wait_for(3)
    await asyncio.sleep(0)
    assert bench.acks.reopenings == 1, "once is enough"


async def test_what_the_server_does_not_send_again_is_asked_for() -> None:
    """As when its clock was set back: it waits until that has caught up."""
    policy = replace(PLAN.policy, ack_wait=1)
    bench = make_bench(replace(PLAN, policy=policy))
    bench.receive(1)
    await bench.egress.wait_for_posts(1)
    bench.egress.posts[0].set_result(503)
    async with asyncio.timeout(10):
        await bench.acks.reopened.wait()
    bench.receive(1)
    await bench.egress.wait_for_posts(2)
    bench.egress.posts[1].set_result(202)
    await bench.acks.wait_for(1)


async def test_deliveries_come_to_full_number_again_when_there_is_memory() -> None:
    budget = ByteBudget(2**20)
    budget.take(MOST)
    bench = make_bench(budget=budget)
    bench.receive(*range(1, 11))
    await bench.egress.wait_for_posts(1)
    budget.give_back(MOST)
    bench.egress.posts[0].set_result(202)
    await bench.egress.wait_for_posts(3)
    bench.egress.posts[1].set_result(202)
    bench.egress.posts[2].set_result(202)
    await bench.egress.wait_for_posts(7)
    assert bench.subscription.window.active == 4, "as many as the policy allows"
    bench.subscription.close()


async def test_an_event_that_comes_as_the_last_worker_ends_does_not_wait_for_ever() -> None:
    bench = make_bench(replace(PLAN, policy=replace(PLAN.policy, order=Order.CHANNEL)))
    bench.acks.on_ack = lambda _: asyncio.get_running_loop().call_soon(bench.receive, 2)
    bench.receive(1)
    await bench.egress.wait_for_posts(1)
    bench.egress.posts[0].set_result(202)
    await bench.acks.wait_for(1)
    await bench.egress.wait_for_posts(2)


async def test_every_durable_that_may_have_an_event_is_told_that_it_is_settled(
    bench: Bench,
) -> None:
    """While one durable hands over to another, both have it pending."""
    old, new = Acks(), Acks()
    bench.subscription.durables = (old, new)
    bench.receive(1)
    await bench.egress.wait_for_posts(1)
    bench.egress.posts[0].set_result(202)
    await new.wait_for(1)
    assert old.sequences == new.sequences == [1]


async def test_in_order_there_is_one_at_a_time() -> None:
    bench = make_bench(replace(PLAN, policy=replace(PLAN.policy, order=Order.CHANNEL)))
    bench.receive(1, 2, 3)
    for number in range(1, 4):
        await bench.egress.wait_for_posts(number)
        assert len(bench.egress.posts) == number
        bench.egress.posts[-1].set_result(202)
    await bench.acks.wait_for(3)
    assert bench.acks.sequences == [1, 2, 3]


async def test_a_failed_event_is_not_acknowledged_and_harms_no_other(bench: Bench) -> None:
    bench.receive(1, 2)
    await bench.egress.wait_for_posts(2)
    bench.egress.posts[0].set_result(500)
    bench.egress.posts[1].set_result(202)
    await bench.acks.wait_for(1)
    assert bench.acks.sequences == [2]
    assert bench.subscription.window.unsettled == 1


async def test_a_copy_of_what_is_being_delivered_is_dropped(bench: Bench) -> None:
    bench.receive(1)
    await bench.egress.wait_for_posts(1)
    bench.receive(1, 1, 1)
    bench.egress.posts[0].set_result(202)
    await bench.acks.wait_for(1)
    bench.receive(1)
    assert bench.acks.sequences == [1, 1], "the copy of a settled event is acknowledged again"
    assert len(bench.egress.posts) == 1
    assert bench.metrics.copies_dropped == 4


async def test_a_fault_of_ours_in_one_delivery_leaves_the_event_to_redelivery(
    bench: Bench,
) -> None:
    bench.receive(1, 2)
    await bench.egress.wait_for_posts(2)
    bench.egress.posts[0].set_exception(ZeroDivisionError())
    bench.egress.posts[1].set_result(202)
    await bench.acks.wait_for(1)
    assert bench.acks.sequences == [2]
    assert bench.subscription.window.active == 0


async def test_after_a_pause_nothing_begins_and_what_was_sent_may_still_be_settled(
    bench: Bench,
) -> None:
    bench.receive(*range(1, 9))
    await bench.egress.wait_for_posts(4)
    bench.subscription.pause()
    bench.receive(20)
    bench.egress.posts[0].set_result(202)
    bench.egress.posts[1].set_result(503)
    await bench.acks.wait_for(1)
    assert bench.acks.sequences == [1]
    assert len(bench.egress.posts) == 4
    assert bench.subscription.state is DeliveryState.PAUSED


async def test_after_a_pause_everything_unsettled_is_taken_again() -> None:
    bench = make_bench(replace(PLAN, policy=replace(PLAN.policy, retry=5, backoff_delay=600.0)))
    bench.receive(1, 2)
    await bench.egress.wait_for_posts(2)
    bench.egress.posts[0].set_result(503)
    bench.subscription.pause()
    bench.egress.posts[1].set_result(503)
    await bench.subscription.drain()
    bench.subscription.resume(PLAN)
    bench.receive(1, 2)
    await bench.egress.wait_for_posts(4)
    for post in bench.egress.posts[2:]:
        post.set_result(202)
    await bench.acks.wait_for(2)


async def test_closing_breaks_off_and_acknowledges_nothing(bench: Bench) -> None:
    bench.receive(1, 2)
    await bench.egress.wait_for_posts(2)
    bench.subscription.close()
    await bench.subscription.drain()
    assert all(post.cancelled() for post in bench.egress.posts)
    assert bench.acks.sequences == []


async def test_drain_waits_for_what_is_attempted_and_takes_nothing_new(bench: Bench) -> None:
    bench.receive(*range(1, 9))
    await bench.egress.wait_for_posts(4)
    drained = asyncio.create_task(bench.subscription.drain())
    await asyncio.sleep(0)
    bench.receive(30)
    assert not drained.done()
    for post in bench.egress.posts:
        post.set_result(202)
    await drained
    assert sorted(bench.acks.sequences) == [1, 2, 3, 4]
    assert len(bench.egress.posts) == 4


async def test_drain_of_an_idle_subscription_ends_at_once(bench: Bench) -> None:
    await bench.subscription.drain()
    assert bench.subscription.state is DeliveryState.DRAINING


async def test_more_may_be_in_flight_when_the_policy_says_so(bench: Bench) -> None:
    bench.receive(*range(1, 11))
    await bench.egress.wait_for_posts(4)
    bench.subscription.retarget(replace(PLAN, policy=replace(PLAN.policy, max_inflight=8)))
    bench.receive(11)
    await bench.egress.wait_for_posts(8)


async def test_fewer_are_in_flight_when_the_policy_says_so(bench: Bench) -> None:
    bench.receive(*range(1, 11))
    await bench.egress.wait_for_posts(4)
    bench.subscription.retarget(replace(PLAN, policy=replace(PLAN.policy, max_inflight=1)))
    for post in bench.egress.posts[:4]:
        post.set_result(202)
    await bench.acks.wait_for(4)
    await bench.egress.wait_for_posts(5)
    assert bench.subscription.window.active == 1


async def test_status_says_what_a_person_wants_to_know(bench: Bench) -> None:
    bench.receive(1, 2)
    await bench.egress.wait_for_posts(2)
    bench.egress.posts[0].set_result(503)
    bench.egress.posts[1].set_result(202)
    await bench.acks.wait_for(1)
    status = bench.subscription.status()
    assert status["unsettled"] == 1
    assert status["lastSequence"] == 2
    assert status["lastError"] == "status 503"
    assert str(status["lastErrorAt"]).endswith("Z")
