"""One round of attempts against scripted destinations."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from contract.resources import DeliveryPolicy, ResourceName, Subscriber
from dispatcher.attempts import Attempts, Plan
from dispatcher.delivery import Outcome
from dispatcher.egress.client import EgressError, FailureReason, Response
from dispatcher.egress.target import Target
from dispatcher.event import encode
from dispatcher.flow import ByteBudget
from dispatcher.metrics import Metrics, SubscriptionMetrics

SUBSCRIBER = Target.parse("http://subscriber.test/in")
OTHER = Target.parse("http://other.test/in")
REPLY = Target.parse("http://reply.test/")
SINK = Target.parse("http://sink.test/")
QUICK = DeliveryPolicy(retry=2, backoff_delay=0.001, timeout=3.0)
TO_SUBSCRIBER = Plan(SUBSCRIBER, None, None, QUICK)
TO_SINK_AT_LAST = Plan(SUBSCRIBER, None, SINK, replace(QUICK, dead_letter_uri="http://sink.test/"))
EVENT = encode([(b"Ce-Id", b"1"), (b"Knative-Correlation-Id", b"c7")], b"body", "host.test")

Answer = int | Response | EgressError


@dataclass
class ScriptedEgress:
    """Gives each destination's answers in turn, the last one for ever."""

    answers: dict[Target, list[Answer]]
    posts: list[tuple[Target, bytes, bytes]] = field(default_factory=list)
    on_post: Callable[[], None] = lambda: None

    async def post(self, target: Target, head: bytes, body: bytes, timeout: float) -> Response:
        assert timeout == QUICK.timeout
        self.posts.append((target, head, body))
        self.on_post()
        script = self.answers[target]
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, EgressError):
            raise answer
        return Response(answer, [], b"") if isinstance(answer, int) else answer

    @property
    def targets(self) -> list[Target]:
        return [target for target, _, _ in self.posts]


@pytest.fixture
def metrics() -> SubscriptionMetrics:
    name = ResourceName("default", "orders")
    return Metrics().subscription(name, Subscriber(ResourceName("default", "mail")))


@pytest.fixture
def attempts_for(metrics: SubscriptionMetrics) -> Callable[[Plan, ScriptedEgress], Attempts]:
    return lambda plan, egress: Attempts(plan, egress, metrics, ByteBudget(2**20))


Make = Callable[[Plan, ScriptedEgress], Attempts]
REFUSED_CONNECTION = EgressError(FailureReason.CONNECT, "refused")


@pytest.mark.parametrize(
    ("answers", "outcome", "posts"),
    [
        ([202], Outcome.DELIVERED, 1),
        ([503, REFUSED_CONNECTION, 200], Outcome.DELIVERED, 3),
        ([503], Outcome.FAILED, 3),
        ([REFUSED_CONNECTION], Outcome.FAILED, 3),
        ([400], Outcome.FAILED, 1),
        ([302], Outcome.FAILED, 1),
    ],
)
async def test_an_answer_decides_whether_to_try_again(
    attempts_for: Make, answers: list[Answer], outcome: Outcome, posts: int
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: answers})
    assert await attempts_for(TO_SUBSCRIBER, egress).deliver(EVENT, 1, 0) is outcome
    assert len(egress.posts) == posts


async def test_each_attempt_is_counted_by_its_code(
    attempts_for: Make, metrics: SubscriptionMetrics
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [503, REFUSED_CONNECTION, 202]})
    await attempts_for(TO_SUBSCRIBER, egress).deliver(EVENT, 1, 0)
    assert metrics.attempts == {"503": 1, "connect": 1, "202": 1}


async def test_a_body_in_the_answer_goes_to_the_reply_with_the_correlation_id(
    attempts_for: Make, metrics: SubscriptionMetrics
) -> None:
    answer = Response(200, [(b"Ce-Id", b"r1"), (b"Set-Cookie", b"x")], b"reply body")
    egress = ScriptedEgress({SUBSCRIBER: [answer], REPLY: [202]})
    plan = replace(TO_SUBSCRIBER, reply=REPLY)
    assert await attempts_for(plan, egress).deliver(EVENT, 1, 0) is Outcome.DELIVERED
    target, head, body = egress.posts[1]
    assert (target, body) == (REPLY, b"reply body")
    assert b"Ce-Id: r1\r\n" in head
    assert b"Knative-Correlation-Id: c7\r\n" in head
    assert b"cookie" not in head.lower()
    assert metrics.replies == 1


async def test_an_answer_without_body_has_no_reply(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [202], REPLY: [202]})
    plan = replace(TO_SUBSCRIBER, reply=REPLY)
    await attempts_for(plan, egress).deliver(EVENT, 1, 0)
    assert egress.targets == [SUBSCRIBER]


async def test_a_failed_reply_means_that_the_event_is_not_settled(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [Response(200, [], b"r")], REPLY: [503]})
    plan = replace(TO_SUBSCRIBER, reply=REPLY)
    assert await attempts_for(plan, egress).deliver(EVENT, 1, 0) is Outcome.FAILED
    assert egress.targets == [SUBSCRIBER, REPLY, REPLY, REPLY], "only the reply is tried again"


async def test_without_subscriber_the_event_itself_is_the_reply(attempts_for: Make) -> None:
    egress = ScriptedEgress({REPLY: [202]})
    plan = Plan(None, REPLY, None, QUICK)
    assert await attempts_for(plan, egress).deliver(EVENT, 1, 0) is Outcome.DELIVERED
    assert egress.posts[0][2] == b"body"


async def test_without_any_destination_events_are_kept(attempts_for: Make) -> None:
    plan = Plan(None, None, None, QUICK)
    attempts = attempts_for(plan, ScriptedEgress({}))
    assert await attempts.deliver(EVENT, 1, 0) is Outcome.FAILED


async def test_without_any_destination_nothing_goes_to_the_dead_letter_sink(
    attempts_for: Make,
) -> None:
    plan = replace(TO_SINK_AT_LAST, subscriber=None)
    attempts = attempts_for(plan, ScriptedEgress({SINK: [202]}))
    assert await attempts.deliver(EVENT, 1, 0) is Outcome.FAILED


async def test_a_huge_answer_that_nobody_wants_settles_the_event_all_the_same(
    attempts_for: Make,
) -> None:
    """Its status said that the event was taken; only as a reply the body would be needed."""
    huge = EgressError(FailureReason.TOO_LARGE, "answered 200 with too much")
    egress = ScriptedEgress({SUBSCRIBER: [huge], REPLY: [202]})
    assert await attempts_for(TO_SUBSCRIBER, egress).deliver(EVENT, 1, 0) is Outcome.DELIVERED
    with_reply = attempts_for(replace(TO_SUBSCRIBER, reply=REPLY), egress)
    assert await with_reply.deliver(EVENT, 2, 0) is Outcome.FAILED


async def test_the_dead_letter_sink_gets_the_original_and_the_reason(
    attempts_for: Make, metrics: SubscriptionMetrics
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [Response(503, [], b"no disk")], SINK: [202]})
    attempts = attempts_for(TO_SINK_AT_LAST, egress)
    assert await attempts.deliver(EVENT, 1, 0) is Outcome.DEAD_LETTERED
    target, head, body = egress.posts[-1]
    assert (target, body) == (SINK, b"body")
    assert b"Ce-Knativeerrorcode: 503\r\n" in head
    assert base64.b64encode(b"no disk") in head
    assert metrics.dead_lettered == 1


async def test_a_dead_letter_sink_that_fails_loses_nothing(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [400], SINK: [503]})
    attempts = attempts_for(TO_SINK_AT_LAST, egress)
    assert await attempts.deliver(EVENT, 1, 0) is Outcome.FAILED


async def test_the_dead_letter_sink_waits_for_the_redeliveries_asked_for(
    attempts_for: Make,
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [400], SINK: [202]})
    policy = replace(TO_SINK_AT_LAST.policy, max_redeliveries=1)
    attempts = attempts_for(replace(TO_SINK_AT_LAST, policy=policy), egress)
    assert await attempts.deliver(EVENT, 1, 0) is Outcome.FAILED
    assert await attempts.deliver(EVENT, 1, 1) is Outcome.DEAD_LETTERED


@pytest.mark.parametrize("poison", [b'{"headers":{"Ce-Id":1}}', b'{"payload":"*"}'])
async def test_a_poison_message_is_put_aside_once(
    attempts_for: Make, metrics: SubscriptionMetrics, poison: bytes
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [202]})
    outcome = await attempts_for(TO_SUBSCRIBER, egress).deliver(poison, 9, 0)
    assert outcome is Outcome.UNREADABLE
    assert egress.posts == []
    assert metrics.poison == 1


async def test_a_poison_message_goes_to_the_dead_letter_sink_as_it_is(attempts_for: Make) -> None:
    egress = ScriptedEgress({SINK: [503, 202]})
    poison = b'{"payload":"*"}'
    attempts = attempts_for(TO_SINK_AT_LAST, egress)
    assert await attempts.deliver(poison, 9, 0) is Outcome.UNREADABLE
    assert [body for _, _, body in egress.posts] == [poison, poison]


async def test_a_poison_message_is_kept_while_the_dead_letter_sink_fails(
    attempts_for: Make,
) -> None:
    egress = ScriptedEgress({SINK: [503]})
    attempts = attempts_for(TO_SINK_AT_LAST, egress)
    assert await attempts.deliver(b'{"payload":"*"}', 9, 0) is Outcome.FAILED


async def test_another_plan_ends_the_backoff_and_is_used_at_once(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [503], OTHER: [202]})
    slow = replace(QUICK, backoff_delay=1000.0)
    attempts = attempts_for(Plan(SUBSCRIBER, None, None, slow), egress)
    failed_once = asyncio.Event()
    egress.on_post = failed_once.set
    delivery = asyncio.create_task(attempts.deliver(EVENT, 1, 0))
    await failed_once.wait()
    attempts.change(Plan(OTHER, None, None, slow))
    assert await delivery is Outcome.DELIVERED
    assert egress.targets == [SUBSCRIBER, OTHER]


async def test_hold_ends_a_round_without_dead_letter(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [503], SINK: [202]})
    slow = replace(TO_SINK_AT_LAST.policy, backoff_delay=1000.0)
    attempts = attempts_for(replace(TO_SINK_AT_LAST, policy=slow), egress)
    failed_once = asyncio.Event()
    egress.on_post = failed_once.set
    delivery = asyncio.create_task(attempts.deliver(EVENT, 1, 0))
    await failed_once.wait()
    attempts.hold()
    assert await delivery is Outcome.FAILED
    assert egress.targets == [SUBSCRIBER]


async def test_health_tells_since_when_and_why_a_subscriber_fails(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [503, 503, 503, 202]})
    attempts = attempts_for(TO_SUBSCRIBER, egress)
    await attempts.deliver(EVENT, 1, 0)
    since = attempts.health.failing_since
    assert since is not None
    assert attempts.health.last_failure is not None
    assert attempts.health.last_failure.reason == "status 503"
    await attempts.deliver(EVENT, 1, 1)
    assert attempts.health.failing_since is None
    assert attempts.health.last_failure is not None, "the last error stays readable"


def test_the_event_of_these_tests_is_readable() -> None:
    assert json.loads(EVENT)["headers"]["Ce-Id"] == "1"


async def test_little_is_kept_of_a_long_answer_that_tells_of_a_failure(attempts_for: Make) -> None:
    """The last failure of each subscription is kept for as long as there is none after it."""
    answer = Response(503, [], b"x" * 2**20)
    attempts = attempts_for(TO_SUBSCRIBER, ScriptedEgress({SUBSCRIBER: [answer] * 3}))
    await attempts.deliver(EVENT, 1, 0)
    assert attempts.health.last_failure is not None
    assert attempts.health.last_failure.data == b"x" * 1024
