"""One round of a delivery: subscriber, then reply, and the dead letter sink when both fail.

It answers with an outcome and settles nothing: that is done in one place, last, by
``dispatcher.subscription``.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from contract.resources import DeliveryPolicy
from dispatcher.delivery import Failure, Outcome, Verdict, backoff, goes_to_dead_letter, verdict
from dispatcher.egress.client import EgressError, FailureReason, Response
from dispatcher.egress.connection import SHORT_ANSWER
from dispatcher.egress.target import Target
from dispatcher.error_attributes import MAX_DATA
from dispatcher.event import Event, UnreadableEvent, dead_letter, decode, reply_head
from dispatcher.flow import ByteBudget, Share
from dispatcher.metrics import SubscriptionMetrics

log = structlog.get_logger(__name__)

_QUIET = 60.0
"""Seconds between two log lines about the health of one subscriber."""


_TOO_LARGE = FailureReason.TOO_LARGE.value
_NO_DESTINATION = Failure("", 500, b"the subscription has no usable URI", False, "no usable URI")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the events of a subscription go and by which rules; replaced as a whole.

    With neither subscriber nor reply events are kept and not delivered.
    """

    subscriber: Target | None
    reply: Target | None
    dead_letter: Target | None
    policy: DeliveryPolicy


class Poster(Protocol):
    """Posts to a destination (``dispatcher.egress.client.Egress``)."""

    async def post(self, target: Target, head: bytes, body: bytes, timeout: float) -> Response: ...


class Health:
    """Whether a destination answers, for the log and for ``/status``."""

    __slots__ = ("_labels", "_logged", "failing_since", "last_failure", "last_failure_at")

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._logged = -_QUIET
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
                    "subscriber fails; its events are kept and tried again",
                    **self._labels,
                    destination=failure.destination,
                    reason=failure.text,
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
    """Tries to deliver events of one subscription by its current plan.

    Args:
        metrics: Of the subscription; its labels tell which one in the log.
        budget: Memory that all subscriptions share; replies are counted there.
        chance: Gives the jitter of backoff, from [0, 1).
    """

    def __init__(
        self,
        plan: Plan,
        egress: Poster,
        metrics: SubscriptionMetrics,
        budget: ByteBudget,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.health = Health(metrics.labels)
        self._plan = plan
        self._egress = egress
        self._metrics = metrics
        self._memory = Share(budget)
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
        """Let rounds end with the attempt that is under way; what failed is redelivered later."""
        self._is_held = True
        self._end_pauses()

    def go_on(self) -> None:
        """Make attempts again after ``hold``."""
        self._is_held = False

    def _end_pauses(self) -> None:
        for pause in self._pauses:
            _end_pause(pause)

    async def deliver(self, data: bytes, sequence: int, failed_rounds: int) -> Outcome:
        """Make the attempts of one round.

        Args:
            data: The event in its stored form.
            sequence: Its sequence in the channel, for the log.
            failed_rounds: How many rounds have failed before this one.
        """
        try:
            event = decode(data)
        except UnreadableEvent as error:
            return await self._put_aside(data, sequence, error)
        del data  # what follows may take long, and one copy of the event is enough
        failure = await self._send_and_reply(event)
        if failure is None:
            return Outcome.DELIVERED
        if self._is_held or failure is _NO_DESTINATION:
            return Outcome.FAILED
        if not goes_to_dead_letter(self._plan.policy, failed_rounds + 1):
            return Outcome.FAILED
        return await self._dead_letter(event, failure)

    async def _send_and_reply(self, event: Event) -> Failure | None:
        if self._plan.subscriber is None:  # only a reply is wanted: the event itself goes there
            answer = await self._send(_reply, event.head, event.body)
            return None if isinstance(answer, Response) else answer or _NO_DESTINATION
        answer = await self._send(_subscriber, event.head, event.body)
        if not isinstance(answer, Response):
            return answer or _NO_DESTINATION
        if not answer.body or self._plan.reply is None:
            return None
        head, reply = reply_head(answer.headers, event), answer.body
        del answer  # its other headers may be many, and what follows may take long
        size = len(head) + len(reply)
        if (failure := self._take_reply(size)) is not None:
            return failure
        try:
            sent = await self._send(_reply, head, reply)
        finally:
            self._memory.give_back(size)
        if isinstance(sent, Failure):
            return sent
        self._metrics.replies += 1
        return None

    def _take_reply(self, size: int) -> Failure | None:
        """Take memory for a reply until it is sent on; it was given back when it had been read.

        A lone one and a short one always get it.
        """
        memory = self._memory
        if size <= SHORT_ANSWER or not memory.held:
            memory.take_beyond(size)
        elif not memory.take(size):
            text = f"there is no room for its answer: {memory.held} bytes of others are not sent on"
            failure = Failure(str(self._plan.subscriber), 500, text.encode(), False, _TOO_LARGE)
            self.health.failed(failure)
            return failure
        return None

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
        messages until its limits take them, so nothing stored is lost.
        """
        if self._plan.dead_letter is not None:
            raw = Event(b"Content-Type: application/octet-stream\r\n", data)
            failure = Failure("", 500, str(error).encode(), False, "unreadable")
            if await self._dead_letter(raw, failure) is Outcome.FAILED:
                return Outcome.FAILED
        self._metrics.poison += 1
        log.error(
            "stored message is no event; put aside",
            **self._metrics.labels,
            sequence=sequence,
            reason=str(error),
            kept="dead letter sink" if self._plan.dead_letter else "in the store, acknowledged",
        )
        return Outcome.UNREADABLE

    async def _send(
        self, pick: Callable[[Plan], Target | None], head: bytes, body: bytes
    ) -> Response | Failure | None:
        """Post with retries; None when the plan has no such destination any more."""
        retry = 0
        while True:
            plan = self._plan
            target = pick(plan)
            if target is None:
                return None
            needs_body = plan.reply is not None and pick is _subscriber
            answer, final = await self._attempt(target, head, body, plan.policy.timeout)
            if isinstance(answer, Failure) and answer.reason == _TOO_LARGE and not needs_body:
                answer = Response(200, [], b"")  # its status was a success, and that is all we need
            if isinstance(answer, Response):
                if self.health.failing_since is not None:
                    self.health.recovered()
                return answer
            self.health.failed(answer)
            if plan is not self._plan:
                retry = 0  # it was the answer of a destination that is one no more
            elif final or retry >= plan.policy.retry:
                return answer
            else:
                retry += 1
                await self._pause(backoff(plan.policy, retry, self._chance()))
            if self._is_held:
                return answer

    async def _attempt(
        self, target: Target, head: bytes, body: bytes, timeout: float
    ) -> tuple[Response | Failure, bool]:
        """Post once; the answer, or the failure and whether it is useless to try again."""
        metrics = self._metrics
        started = time.monotonic()
        try:
            response = await self._egress.post(target, head, body, timeout)
        except EgressError as error:
            metrics.attempt(error.reason.value, time.monotonic() - started)
            return Failure(str(target), 500, str(error).encode(), False, error.reason.value), False
        status = response.status
        metrics.attempt(str(status), time.monotonic() - started)
        judgement = verdict(status)
        if judgement is Verdict.DELIVERED:
            return response, True
        failure = Failure(str(target), status, response.body[:MAX_DATA], True, f"status {status}")
        return failure, judgement is Verdict.REFUSED

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


def _end_pause(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


def _subscriber(plan: Plan) -> Target | None:
    return plan.subscriber


def _reply(plan: Plan) -> Target | None:
    return plan.reply


def _dead_letter(plan: Plan) -> Target | None:
    return plan.dead_letter
