"""One round of a delivery: subscriber, then reply, and the dead letter sink if either fails.

It returns an outcome and settles nothing: ``dispatcher.delivery.subscription`` does that, in one
place, last. What a later round must know is kept with the event (``replies``).
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from dispatcher.delivery.replies import EventToReply, Reply, Taken
from dispatcher.delivery.rules import (
    AnswerVerdict,
    Failure,
    Outcome,
    backoff,
    goes_to_dead_letter,
    verdict,
)
from dispatcher.egress.client import EgressError, FailureReason, Response
from dispatcher.egress.target import Target
from dispatcher.event.error_attributes import MAX_DATA
from dispatcher.event.stored_form import Event, UnreadableEvent, dead_letter, decode, reply_head
from dispatcher.runtime.byte_budget import BudgetShare, ByteBudget
from dispatcher.runtime.metrics import SubscriptionMetrics
from natss.contract.resources import DeliveryPolicy

log = structlog.get_logger(__name__)

_QUIET = 60.0
"""Seconds between two log lines about the health of one subscriber."""


_FOR_GOOD = frozenset({FailureReason.TOO_LARGE, FailureReason.MALFORMED})
"""Reasons that make an answer useless however often it is requested; a broken connection is none.
"""

_NO_DESTINATION = Failure("", 500, b"the subscription has no usable URI", False, "no usable URI")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the events of a subscription go and by which rules; replaced as a whole.

    With neither subscriber nor reply, events are kept and not delivered.
    """

    subscriber: Target | None
    reply: Target | None
    dead_letter: Target | None
    policy: DeliveryPolicy


class Poster(Protocol):
    """Posts to a destination (``dispatcher.egress.client.Egress``)."""

    async def post(
        self,
        target: Target,
        head: bytes,
        body: bytes,
        timeout: float,
        *,
        wants_body: bool,
        memory: BudgetShare | None,
    ) -> Response: ...


class SubscriberHealth:
    """Whether a destination answers, for the log and for ``/status``."""

    __slots__ = (
        "_labels", "_logged", "_reply_logged", "failing_since", "last_failure", "last_failure_at"
    )  # fmt: skip

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._logged = self._reply_logged = -_QUIET
        self.failing_since: float | None = None
        self.last_failure: Failure | None = None
        self.last_failure_at = 0.0

    def failed(self, failure: Failure) -> None:
        self.last_failure = failure
        self.last_failure_at = time.time()
        if self.failing_since is None:
            self.failing_since = self.last_failure_at
            if time.monotonic() - self._logged > _QUIET:
                self._logged = time.monotonic()
                log.warning(
                    "subscriber fails; its events are kept and retried",
                    **self._labels,
                    destination=failure.destination,
                    reason=failure.summary,
                )

    def without_reply(self, failure: Failure, kept: str) -> None:
        """Log an answer that can never become a reply; its event was accepted."""
        self.last_failure = failure
        self.last_failure_at = time.time()
        if time.monotonic() - self._reply_logged > _QUIET:
            self._reply_logged = time.monotonic()
            log.warning(
                "subscriber has taken an event, but its answer cannot become a reply",
                **self._labels,
                destination=failure.destination,
                reason=failure.summary,
                kept=kept,
            )

    def recovered(self) -> None:
        failed_for = time.time() - (self.failing_since or time.time())
        self.failing_since = None
        if failed_for > _QUIET:
            log.info(
                "subscriber answers again",
                **self._labels,
                failed_for_seconds=round(failed_for, 1),
            )


class Attempts:
    """Attempts to deliver the events of one subscription by its current plan.

    Args:
        metrics: Those of the subscription; its labels identify it in the log.
        budget: Memory that all subscriptions share; replies are counted there.
        chance: Returns the jitter of backoff, from [0, 1).
    """

    def __init__(
        self,
        plan: Plan,
        egress: Poster,
        metrics: SubscriptionMetrics,
        budget: ByteBudget,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.health = SubscriberHealth(metrics.labels)
        self._plan = plan
        self._egress = egress
        self._metrics = metrics
        self._memory = BudgetShare(budget)
        self._chance = chance
        self._pauses: set[asyncio.Future[None]] = set()
        self._is_held = False

    @property
    def plan(self) -> Plan:
        return self._plan

    def change(self, plan: Plan) -> None:
        """Use another plan from the next attempt on, which is made at once."""
        self._plan = plan
        self._end_pauses()

    def hold(self) -> None:
        """End rounds with the attempt under way; what failed is redelivered later."""
        self._is_held = True
        self._end_pauses()

    def go_on(self) -> None:
        """Make attempts again after ``hold``."""
        self._is_held = False

    def _end_pauses(self) -> None:
        for pause in self._pauses:
            _end_pause(pause)

    async def deliver(self, pending: EventToReply) -> Outcome:
        """Make the attempts of one round; record in ``pending`` how far they got."""
        data = pending.take_data()
        try:
            event = decode(data)
        except UnreadableEvent as error:
            return await self._put_aside(data, pending.sequence, error)
        del data  # what follows may take long, and one copy of the event is enough
        if pending.taken is None:
            if self._plan.reply is not None and self._memory.is_used_up:
                self._metrics.deferred += 1
                return Outcome.POSTPONED
            failure = await self._send_event(event, pending)
        else:
            failure = None
        if failure is None and pending.taken is not None:
            failure = await self._send_reply(pending.taken)
        if failure is None:
            pending.taken = None
            return Outcome.DELIVERED
        if self._is_held or failure is _NO_DESTINATION:
            return Outcome.FAILED
        if failure.is_taken:
            return await self._do_without_reply(event, failure)
        if not goes_to_dead_letter(self._plan.policy, pending.failed_rounds + 1):
            return Outcome.FAILED
        return await self._dead_letter(event, failure)

    async def _send_event(self, event: Event, pending: EventToReply) -> Failure | None:
        """Send until the subscriber accepts the event; record in ``pending`` what is left."""
        if self._plan.subscriber is None:  # only a reply is wanted: the event itself goes there
            answer = await self._send(_reply, event.head, event.body)
            return None if isinstance(answer, Response) else answer or _NO_DESTINATION
        answer = await self._send(_subscriber, event.head, event.body)
        if isinstance(answer, Response):
            if answer.body:
                head = reply_head(answer.headers, event)
                pending.taken = Reply(head, answer.body, self._memory)
            return None
        if answer is None:
            return _NO_DESTINATION
        if answer.is_taken:
            self._metrics.unusable_replies += 1
            pending.taken = answer
            return None
        return answer

    async def _send_reply(self, taken: Taken) -> Failure | None:
        """Send the reply; nothing is left to do if no reply is wanted any more."""
        if self._plan.reply is None:
            return None
        if isinstance(taken, Failure):
            return taken
        answer = await self._send(_reply, taken.head, taken.body)
        if isinstance(answer, Response):
            self._metrics.replies += 1
            return None
        return answer

    async def _do_without_reply(self, event: Event, failure: Failure) -> Outcome:
        """End an event that was accepted, but whose answer can never become a reply."""
        has_sink = self._plan.policy.dead_letter_uri is not None
        self.health.without_reply(failure, "dead letter sink" if has_sink else "nowhere")
        return await self._dead_letter(event, failure) if has_sink else Outcome.WITHOUT_REPLY

    async def _dead_letter(self, event: Event, failure: Failure) -> Outcome:
        head, body = dead_letter(event, failure.destination, failure.code, failure.data)
        answer = await self._send(_dead_letter, head, body)
        if not isinstance(answer, Response):
            return Outcome.FAILED
        self._metrics.dead_lettered += 1
        return Outcome.DEAD_LETTERED

    async def _put_aside(self, data: bytes, sequence: int, error: UnreadableEvent) -> Outcome:
        """Send a poison message to the dead letter sink, or leave it in the store by its sequence.

        It is settled either way: it would fail for ever, and NATS Streaming keeps acknowledged
        messages until its limits remove them, so nothing stored is lost.
        """
        if self._plan.dead_letter is not None:
            raw = Event(b"Content-Type: application/octet-stream\r\n", data)
            failure = Failure("", 500, str(error).encode(), False, "unreadable")
            if await self._dead_letter(raw, failure) is Outcome.FAILED:
                return Outcome.FAILED
        self._metrics.poison += 1
        log.error(
            "stored message is not an event; put aside",
            **self._metrics.labels,
            sequence=sequence,
            reason=str(error),
            kept="dead letter sink" if self._plan.dead_letter else "in the store, acknowledged",
        )
        return Outcome.UNREADABLE

    async def _send(
        self, pick: Callable[[Plan], Target | None], head: bytes, body: bytes
    ) -> Response | Failure | None:
        """Post with retries; return None when the plan has no such destination any more.

        The body of the answer is empty unless it is to become a reply.
        """
        retry = 0
        while True:
            plan = self._plan
            target = pick(plan)
            if target is None:
                return None
            wants_body = plan.reply is not None and pick is _subscriber
            request = (target, head, body, plan.policy.timeout)
            answer, final = await self._attempt(*request, wants_body=wants_body)
            if isinstance(answer, Response) or (final and answer.is_taken):
                if self.health.failing_since is not None:
                    self.health.recovered()
                return answer
            self.health.failed(answer)
            if plan is not self._plan:
                retry = 0  # that answer came from a former destination
            elif final or retry >= plan.policy.retry:
                return answer
            else:
                retry += 1
                await self._pause(backoff(plan.policy, retry, self._chance()))
            if self._is_held:
                return replace(answer, is_taken=False)  # the next round may read all of it

    async def _attempt(
        self, target: Target, head: bytes, body: bytes, timeout: float, *, wants_body: bool
    ) -> tuple[Response | Failure, bool]:
        """Post once; return the answer, or the failure, and whether a retry is useless."""
        metrics = self._metrics
        started = time.monotonic()
        try:
            memory = self._memory if wants_body else None  # where the reply will be kept
            response = await self._egress.post(
                target, head, body, timeout, wants_body=wants_body, memory=memory
            )
        except EgressError as error:
            is_taken = error.status is not None and verdict(error.status) is AnswerVerdict.DELIVERED
            is_done = is_taken and not wants_body
            code = str(error.status) if is_done else error.reason.value
            metrics.attempt(code, time.monotonic() - started)
            return (Response(200, [], b""), True) if is_done else _failure(target, error, is_taken)
        status = response.status
        metrics.attempt(str(status), time.monotonic() - started)
        judgement = verdict(status)
        if judgement is AnswerVerdict.DELIVERED:
            if not wants_body:
                response.body = b""  # it may be cut
            return response, True
        failure = Failure(str(target), status, response.body[:MAX_DATA], True, f"status {status}")
        return failure, judgement is AnswerVerdict.REFUSED

    async def _pause(self, seconds: float) -> None:
        if self._is_held:
            return
        loop = asyncio.get_running_loop()
        pause: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _end_pause, pause)
        self._pauses.add(pause)
        try:
            await pause
        finally:
            timer.cancel()
            self._pauses.discard(pause)


def _failure(target: Target, error: EgressError, is_taken: bool) -> tuple[Failure, bool]:
    """Return what an error means, and whether a retry is useless."""
    reason = error.reason
    code = 500 if error.status is None else error.status
    failure = Failure(str(target), code, str(error).encode(), False, reason.value, is_taken)
    return failure, reason is FailureReason.REDIRECT or (is_taken and reason in _FOR_GOOD)


def _end_pause(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


def _subscriber(plan: Plan) -> Target | None:
    return plan.subscriber


def _reply(plan: Plan) -> Target | None:
    return plan.reply


def _dead_letter(plan: Plan) -> Target | None:
    return plan.dead_letter
