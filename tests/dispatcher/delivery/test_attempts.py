"""One round of attempts against scripted destinations."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import structlog

from dispatcher.delivery.attempts import Attempts, Plan
from dispatcher.delivery.rules import Outcome
from dispatcher.egress.client import EgressError, FailureReason, Response
from dispatcher.egress.target import Target
from dispatcher.event.stored_form import encode
from dispatcher.runtime.byte_budget import BudgetShare, ByteBudget
from dispatcher.runtime.metrics import Metrics, SubscriptionMetrics
from natss.contract.resources import DeliveryPolicy, ResourceName, Subscriber
from tests.dispatcher.delivery.pending_events import pending
from tests.support.channel_ids import channel_id

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
    wanted: list[bool] = field(default_factory=list)
    on_post: Callable[[], None] = lambda: None

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
        assert (memory is not None) is wants_body
        self.wanted.append(wants_body)
        assert timeout == QUICK.timeout
        self.posts.append((target, head, body))
        self.on_post()
        script = self.answers[target]
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, EgressError):
            raise answer
        if isinstance(answer, int):
            return Response(answer, [], b"")
        return Response(answer.status, answer.headers, answer.body)

    @property
    def targets(self) -> list[Target]:
        return [target for target, _, _ in self.posts]


@pytest.fixture
def metrics() -> SubscriptionMetrics:
    name = channel_id("default", "orders")
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
    assert await attempts_for(TO_SUBSCRIBER, egress).deliver(pending(EVENT, 1)) is outcome
    assert len(egress.posts) == posts


async def test_each_attempt_is_counted_by_its_code(
    attempts_for: Make, metrics: SubscriptionMetrics
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [503, REFUSED_CONNECTION, 202]})
    await attempts_for(TO_SUBSCRIBER, egress).deliver(pending(EVENT, 1))
    assert metrics.attempts == {"503": 1, "connect": 1, "202": 1}


async def test_a_body_in_the_answer_goes_to_the_reply_with_the_correlation_id(
    attempts_for: Make, metrics: SubscriptionMetrics
) -> None:
    answer = Response(200, [(b"Ce-Id", b"r1"), (b"Set-Cookie", b"x")], b"reply body")
    egress = ScriptedEgress({SUBSCRIBER: [answer], REPLY: [202]})
    plan = replace(TO_SUBSCRIBER, reply=REPLY)
    assert await attempts_for(plan, egress).deliver(pending(EVENT, 1)) is Outcome.DELIVERED
    target, head, body = egress.posts[1]
    assert (target, body) == (REPLY, b"reply body")
    assert b"Ce-Id: r1\r\n" in head
    assert b"Knative-Correlation-Id: c7\r\n" in head
    assert b"cookie" not in head.lower()
    assert metrics.replies == 1


async def test_an_answer_without_body_has_no_reply(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [202], REPLY: [202]})
    plan = replace(TO_SUBSCRIBER, reply=REPLY)
    await attempts_for(plan, egress).deliver(pending(EVENT, 1))
    assert egress.targets == [SUBSCRIBER]


async def test_a_failed_reply_means_that_the_event_is_not_settled(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [Response(200, [], b"r")], REPLY: [503]})
    plan = replace(TO_SUBSCRIBER, reply=REPLY)
    assert await attempts_for(plan, egress).deliver(pending(EVENT, 1)) is Outcome.FAILED
    assert egress.targets == [SUBSCRIBER, REPLY, REPLY, REPLY], "only the reply is tried again"


async def test_without_subscriber_the_event_itself_is_the_reply(attempts_for: Make) -> None:
    egress = ScriptedEgress({REPLY: [202]})
    plan = Plan(None, REPLY, None, QUICK)
    assert await attempts_for(plan, egress).deliver(pending(EVENT, 1)) is Outcome.DELIVERED
    assert egress.posts[0][2] == b"body"


async def test_without_any_destination_events_are_kept(attempts_for: Make) -> None:
    plan = Plan(None, None, None, QUICK)
    attempts = attempts_for(plan, ScriptedEgress({}))
    assert await attempts.deliver(pending(EVENT, 1)) is Outcome.FAILED


async def test_without_any_destination_nothing_goes_to_the_dead_letter_sink(
    attempts_for: Make,
) -> None:
    plan = replace(TO_SINK_AT_LAST, subscriber=None)
    attempts = attempts_for(plan, ScriptedEgress({SINK: [202]}))
    assert await attempts.deliver(pending(EVENT, 1)) is Outcome.FAILED


# Taken by the subscriber, and what is left then

WITH_REPLY = replace(TO_SUBSCRIBER, reply=REPLY)
ANSWER = Response(200, [(b"Ce-Id", b"r1")], b"reply body")
HUGE = EgressError(FailureReason.TOO_LARGE, "answered 200 with too much", 200)
GARBLED = EgressError(FailureReason.MALFORMED, "the answer is not HTTP/1.1: x", 200)
CUT_OFF = EgressError(FailureReason.CLOSED, "closed in the body", 200)
LATE = EgressError(FailureReason.TIMEOUT, "timed out in the body", 200)
UNUSABLE = [HUGE, GARBLED]
ALL = [*UNUSABLE, CUT_OFF, LATE]


@pytest.mark.parametrize("error", ALL, ids=str)
async def test_a_success_is_settled_by_its_status_line_where_no_reply_is_wanted(
    attempts_for: Make, metrics: SubscriptionMetrics, error: EgressError
) -> None:
    """Its status said that the event was taken; only as a reply the rest would be needed."""
    egress = ScriptedEgress({SUBSCRIBER: [error], SINK: [error]})
    assert await attempts_for(TO_SUBSCRIBER, egress).deliver(pending(EVENT)) is Outcome.DELIVERED
    assert egress.wanted == [False]
    assert metrics.attempts == {"200": 1}
    to_sink = replace(TO_SINK_AT_LAST, subscriber=OTHER)
    egress.answers[OTHER] = [400]
    assert await attempts_for(to_sink, egress).deliver(pending(EVENT)) is Outcome.DEAD_LETTERED


async def test_the_status_line_of_a_failure_settles_nothing(attempts_for: Make) -> None:
    error = EgressError(FailureReason.MALFORMED, "the answer is not HTTP/1.1: x", 503)
    egress = ScriptedEgress({SUBSCRIBER: [error]})
    assert await attempts_for(TO_SUBSCRIBER, egress).deliver(pending(EVENT)) is Outcome.FAILED
    assert len(egress.posts) == 3


async def test_only_the_reply_is_repeated_in_later_rounds(
    attempts_for: Make, metrics: SubscriptionMetrics
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [ANSWER], REPLY: [503, 503, 503, 503, 202]})
    attempts, event = attempts_for(WITH_REPLY, egress), pending(EVENT)
    assert await attempts.deliver(event) is Outcome.FAILED
    event.data = EVENT  # as a copy brings it
    assert await attempts.deliver(event) is Outcome.DELIVERED
    assert egress.targets == [SUBSCRIBER, *[REPLY] * 5]
    assert {post for post in egress.posts if post[0] is REPLY} == {egress.posts[-1]}
    assert b"Ce-Id: r1\r\n" in egress.posts[-1][1]
    assert metrics.replies == 1


async def test_a_kept_reply_is_counted_until_it_is_sent_on(metrics: SubscriptionMetrics) -> None:
    budget = ByteBudget(2**20)
    egress = ScriptedEgress({SUBSCRIBER: [ANSWER], REPLY: [503, 503, 503, 202]})
    attempts, event = Attempts(WITH_REPLY, egress, metrics, budget), pending(EVENT)
    assert await attempts.deliver(event) is Outcome.FAILED
    assert budget.used >= len(ANSWER.body)
    event.data = EVENT
    assert await attempts.deliver(event) is Outcome.DELIVERED
    assert budget.used == 0


async def test_a_kept_reply_gives_its_memory_back_with_its_event(
    metrics: SubscriptionMetrics,
) -> None:
    """Whatever ends the event: it expires in the store, or its channel is made anew."""
    budget = ByteBudget(2**20)
    egress = ScriptedEgress({SUBSCRIBER: [ANSWER], REPLY: [503]})
    attempts, event = Attempts(WITH_REPLY, egress, metrics, budget), pending(EVENT)
    await attempts.deliver(event)
    assert budget.used
    del event
    assert budget.used == 0


async def test_a_kept_reply_goes_to_the_reply_address_of_the_day(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [ANSWER], REPLY: [503], OTHER: [202]})
    attempts, event = attempts_for(WITH_REPLY, egress), pending(EVENT)
    await attempts.deliver(event)
    attempts.change(replace(WITH_REPLY, subscriber=None, reply=OTHER))
    event.data = EVENT
    assert await attempts.deliver(event) is Outcome.DELIVERED
    assert egress.posts[-1][::2] == (OTHER, ANSWER.body)


@pytest.mark.parametrize("first", [ANSWER, *UNUSABLE], ids=str)
async def test_without_a_reply_address_any_more_nothing_is_left_to_do(
    attempts_for: Make, first: Answer
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [first], REPLY: [503], SINK: [503]})
    policy = replace(QUICK, dead_letter_uri="http://sink.test/", max_redeliveries=5)
    plan = Plan(SUBSCRIBER, REPLY, SINK, policy)
    attempts, event = attempts_for(plan, egress), pending(EVENT)
    assert await attempts.deliver(event) is Outcome.FAILED
    attempts.change(replace(plan, reply=None))
    event.data = EVENT
    posts = len(egress.posts)
    assert await attempts.deliver(event) is Outcome.DELIVERED
    assert len(egress.posts) == posts


async def test_a_reply_that_is_refused_to_the_end_is_a_dead_letter(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [ANSWER], REPLY: [400], SINK: [202]})
    policy = replace(TO_SINK_AT_LAST.policy, max_redeliveries=1)
    plan = Plan(SUBSCRIBER, REPLY, SINK, policy)
    attempts, event = attempts_for(plan, egress), pending(EVENT)
    assert await attempts.deliver(event) is Outcome.FAILED
    event.data, event.failed_rounds = EVENT, 1
    assert await attempts.deliver(event) is Outcome.DEAD_LETTERED
    assert egress.targets == [SUBSCRIBER, REPLY, REPLY, SINK]
    assert b"Ce-Knativeerrordest: http://reply.test/\r\n" in egress.posts[-1][1]


@pytest.mark.parametrize("error", UNUSABLE, ids=str)
async def test_what_can_never_become_a_reply_is_settled_told_and_counted(
    attempts_for: Make, metrics: SubscriptionMetrics, error: EgressError
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [error], REPLY: [202]})
    attempts = attempts_for(WITH_REPLY, egress)
    with structlog.testing.capture_logs() as logs:
        assert await attempts.deliver(pending(EVENT)) is Outcome.WITHOUT_REPLY
        assert await attempts.deliver(pending(EVENT, 2)) is Outcome.WITHOUT_REPLY
    assert egress.targets == [SUBSCRIBER, SUBSCRIBER], "each event once"
    assert metrics.unusable_replies == 2
    assert metrics.attempts == {error.reason.value: 2}
    assert attempts.health.failing_since is None
    assert attempts.health.last_failure is not None
    assert attempts.health.last_failure.text == str(error)
    (line,) = logs
    assert line["reason"] == str(error)


@pytest.mark.parametrize("error", UNUSABLE, ids=str)
async def test_what_can_never_become_a_reply_is_a_dead_letter_at_once(
    attempts_for: Make, metrics: SubscriptionMetrics, error: EgressError
) -> None:
    """No redelivery could change it; until the sink has it, the subscriber is not called again."""
    egress = ScriptedEgress({SUBSCRIBER: [error], SINK: [503, 503, 503, 202]})
    policy = replace(TO_SINK_AT_LAST.policy, max_redeliveries=5)
    attempts = attempts_for(Plan(SUBSCRIBER, REPLY, SINK, policy), egress)
    event = pending(EVENT)
    assert await attempts.deliver(event) is Outcome.FAILED
    event.data = EVENT
    assert await attempts.deliver(event) is Outcome.DEAD_LETTERED
    assert egress.targets == [SUBSCRIBER, *[SINK] * 4]
    _, head, body = egress.posts[-1]
    assert body == b"body", "the event itself"
    assert base64.b64encode(str(error).encode()) in head
    assert metrics.unusable_replies == 1


@pytest.mark.parametrize("error", [CUT_OFF, LATE], ids=str)
async def test_an_answer_that_breaks_off_is_asked_for_again_in_its_round_only(
    attempts_for: Make, metrics: SubscriptionMetrics, error: EgressError
) -> None:
    """A subscriber that restarts answers in full the next time; one that always does so, never."""
    egress = ScriptedEgress({SUBSCRIBER: [error, ANSWER], REPLY: [202]})
    assert await attempts_for(WITH_REPLY, egress).deliver(pending(EVENT)) is Outcome.DELIVERED
    assert egress.targets == [SUBSCRIBER, SUBSCRIBER, REPLY]
    egress = ScriptedEgress({SUBSCRIBER: [error]})
    assert await attempts_for(WITH_REPLY, egress).deliver(pending(EVENT)) is Outcome.WITHOUT_REPLY
    assert len(egress.posts) == 1 + QUICK.retry
    assert metrics.unusable_replies == 1


async def test_a_round_that_is_cut_short_leaves_an_answer_that_broke_off_to_the_next(
    attempts_for: Make,
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [CUT_OFF, ANSWER], REPLY: [202]})
    attempts, event = attempts_for(WITH_REPLY, egress), pending(EVENT)
    egress.on_post = attempts.hold
    assert await attempts.deliver(event) is Outcome.FAILED
    assert event.taken is None
    attempts.go_on()
    egress.on_post = lambda: None
    event.data = EVENT
    assert await attempts.deliver(event) is Outcome.DELIVERED


async def test_no_reply_is_made_of_an_answer_that_was_read_while_none_was_wanted(
    attempts_for: Make,
) -> None:
    """Only its beginning may have been kept."""
    egress = ScriptedEgress({SUBSCRIBER: [ANSWER], REPLY: [202]})
    attempts = attempts_for(TO_SUBSCRIBER, egress)
    egress.on_post = lambda: attempts.change(WITH_REPLY)
    assert await attempts.deliver(pending(EVENT)) is Outcome.DELIVERED
    assert egress.targets == [SUBSCRIBER]


async def test_a_redirect_that_is_not_followed_is_not_tried_again_in_its_round(
    attempts_for: Make,
) -> None:
    error = EgressError(FailureReason.REDIRECT, "redirected (308), which is not followed: x", 308)
    egress = ScriptedEgress({SUBSCRIBER: [error], SINK: [202]})
    attempts = attempts_for(TO_SINK_AT_LAST, egress)
    assert await attempts.deliver(pending(EVENT)) is Outcome.DEAD_LETTERED
    assert egress.targets == [SUBSCRIBER, SINK]
    assert b"Ce-Knativeerrorcode: 308\r\n" in egress.posts[-1][1]


# Dead letters


async def test_the_dead_letter_sink_gets_the_original_and_the_reason(
    attempts_for: Make, metrics: SubscriptionMetrics
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [Response(503, [], b"no disk")], SINK: [202]})
    attempts = attempts_for(TO_SINK_AT_LAST, egress)
    assert await attempts.deliver(pending(EVENT, 1)) is Outcome.DEAD_LETTERED
    target, head, body = egress.posts[-1]
    assert (target, body) == (SINK, b"body")
    assert b"Ce-Knativeerrorcode: 503\r\n" in head
    assert base64.b64encode(b"no disk") in head
    assert metrics.dead_lettered == 1


async def test_a_dead_letter_sink_that_fails_loses_nothing(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [400], SINK: [503]})
    attempts = attempts_for(TO_SINK_AT_LAST, egress)
    assert await attempts.deliver(pending(EVENT, 1)) is Outcome.FAILED


async def test_the_dead_letter_sink_waits_for_the_redeliveries_asked_for(
    attempts_for: Make,
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [400], SINK: [202]})
    policy = replace(TO_SINK_AT_LAST.policy, max_redeliveries=1)
    attempts = attempts_for(replace(TO_SINK_AT_LAST, policy=policy), egress)
    assert await attempts.deliver(pending(EVENT, 1)) is Outcome.FAILED
    assert await attempts.deliver(pending(EVENT, 1, failed_rounds=1)) is Outcome.DEAD_LETTERED


@pytest.mark.parametrize("poison", [b'{"headers":{"Ce-Id":1}}', b'{"payload":"*"}'])
async def test_a_poison_message_is_put_aside_once(
    attempts_for: Make, metrics: SubscriptionMetrics, poison: bytes
) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [202]})
    outcome = await attempts_for(TO_SUBSCRIBER, egress).deliver(pending(poison, 9))
    assert outcome is Outcome.UNREADABLE
    assert egress.posts == []
    assert metrics.poison == 1


async def test_a_poison_message_goes_to_the_dead_letter_sink_as_it_is(attempts_for: Make) -> None:
    egress = ScriptedEgress({SINK: [503, 202]})
    poison = b'{"payload":"*"}'
    attempts = attempts_for(TO_SINK_AT_LAST, egress)
    assert await attempts.deliver(pending(poison, 9)) is Outcome.UNREADABLE
    assert [body for _, _, body in egress.posts] == [poison, poison]


async def test_a_poison_message_is_kept_while_the_dead_letter_sink_fails(
    attempts_for: Make,
) -> None:
    egress = ScriptedEgress({SINK: [503]})
    attempts = attempts_for(TO_SINK_AT_LAST, egress)
    assert await attempts.deliver(pending(b'{"payload":"*"}', 9)) is Outcome.FAILED


async def test_another_plan_ends_the_backoff_and_is_used_at_once(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [503], OTHER: [202]})
    slow = replace(QUICK, backoff_delay=1000.0)
    attempts = attempts_for(Plan(SUBSCRIBER, None, None, slow), egress)
    failed_once = asyncio.Event()
    egress.on_post = failed_once.set
    delivery = asyncio.create_task(attempts.deliver(pending(EVENT, 1)))
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
    delivery = asyncio.create_task(attempts.deliver(pending(EVENT, 1)))
    await failed_once.wait()
    attempts.hold()
    assert await delivery is Outcome.FAILED
    assert egress.targets == [SUBSCRIBER]


async def test_health_tells_since_when_and_why_a_subscriber_fails(attempts_for: Make) -> None:
    egress = ScriptedEgress({SUBSCRIBER: [503, 503, 503, 202]})
    attempts = attempts_for(TO_SUBSCRIBER, egress)
    await attempts.deliver(pending(EVENT, 1))
    since = attempts.health.failing_since
    assert since is not None
    assert attempts.health.last_failure is not None
    assert attempts.health.last_failure.reason == "status 503"
    await attempts.deliver(pending(EVENT, 1, failed_rounds=1))
    assert attempts.health.failing_since is None
    assert attempts.health.last_failure is not None, "the last error stays readable"


def test_the_event_of_these_tests_is_readable() -> None:
    assert json.loads(EVENT)["headers"]["Ce-Id"] == "1"


async def test_little_is_kept_of_a_long_answer_that_tells_of_a_failure(attempts_for: Make) -> None:
    """The last failure of each subscription is kept for as long as there is none after it."""
    answer = Response(503, [], b"x" * 2**20)
    attempts = attempts_for(TO_SUBSCRIBER, ScriptedEgress({SUBSCRIBER: [answer] * 3}))
    await attempts.deliver(pending(EVENT, 1))
    assert attempts.health.last_failure is not None
    assert attempts.health.last_failure.data == b"x" * 1024
