"""The events of one subscription on their way from NATS Streaming to its subscriber.

Messages arrive in ``receive``, workers deliver them, and ``_settle`` is the one place where an
event is acknowledged. ``dispatcher.stores.nats_streaming.store`` keeps the durable;
``dispatcher.durables.reconciler`` decides which subscriptions there are.
"""

import asyncio
import enum
import time

import structlog

from dispatcher.delivery.attempts import Attempts, Plan, SubscriberHealth
from dispatcher.delivery.rules import Outcome
from dispatcher.delivery.window import COPY_OVERDUE, PendingEvent, Receipt, Window
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.fair_share import FairShare
from dispatcher.runtime.metrics import SubscriptionMetrics
from dispatcher.runtime.signals import Signal
from dispatcher.stores.interface import MessageSource, StoredMessage

log = structlog.get_logger(__name__)

WORKER_COST = 8 * 1024
"""Bytes of memory that a delivery takes while it is under way, whatever the size of its event,
including its connection and an answer of at most 4 KiB.
"""


_ROOM_SECONDS = 0.5
"""Seconds between two checks whether there is room for what found none."""


class DeliveryState(enum.Enum):
    """The life of a subscription. ``CLOSED`` is final."""

    ACTIVE = "active"
    PAUSED = "paused"  # removed; its durable is retained for a grace period
    DRAINING = "draining"  # finishes what was begun
    CLOSED = "closed"


class SubscriptionDelivery:
    """Delivers what it receives, as many events at once as its policy and the budget allow.

    Its deliveries under way take no more of the budget than half of what is left for others, so
    that those get their fair share, and have room for what waits; but each subscription may always
    have one.

    Args:
        name: The name of its tasks.
        attempts: Makes the attempts, by the plan that it holds.
        metrics: Those of this subscription.
        budget: Memory that all subscriptions share.
        lane: The fair share: limits the deliveries under way while others are held up.
    """

    def __init__(
        self,
        name: str,
        attempts: Attempts,
        metrics: SubscriptionMetrics,
        budget: ByteBudget,
        lane: FairShare,
    ) -> None:
        self.name = name
        self.state = DeliveryState.ACTIVE
        self.durables: tuple[MessageSource, ...] = ()
        """Where settled events are acknowledged; two while one is handed over to another."""
        self._attempts = attempts
        self._metrics = metrics
        self._budget = budget
        self._lane = lane
        self._window = Window(attempts.plan.policy, budget)
        self._workers: set[asyncio.Task[None]] = set()
        self._busy = 0  # workers that look for more work when they are done
        self._limit = attempts.plan.policy.concurrency
        self._drained = Signal()
        self._progress = Signal()
        self._awaited_below = 0
        self._room_timer: asyncio.TimerHandle | None = None
        self._copy_timer: asyncio.TimerHandle | None = None
        metrics.pending = lambda: self._window.unsettled
        lane.on_room = self._start_workers

    @property
    def plan(self) -> Plan:
        return self._attempts.plan

    @property
    def health(self) -> SubscriberHealth:
        return self._attempts.health

    @property
    def metrics(self) -> SubscriptionMetrics:
        return self._metrics

    @property
    def window(self) -> Window:
        return self._window

    def receive(self, message: StoredMessage) -> None:
        """Take a message of the durable; acknowledge it when its outcome is settled."""
        if message.redelivered:
            self._metrics.redelivered += 1
        if self.state is not DeliveryState.ACTIVE:
            self._window.note(message.sequence, message.timestamp, time.monotonic())
            return
        receipt = self._window.receive(
            message.sequence, message.timestamp, message.data, time.monotonic()
        )
        if receipt is Receipt.ACCEPTED:
            if self._may_start_worker():
                self._start_worker()
        elif receipt is Receipt.DEFERRED:
            self._metrics.deferred += 1
            self._expect_copies()
        else:
            self._metrics.copies_dropped += 1
            if receipt is Receipt.ACKNOWLEDGE:
                self._acknowledge(message.sequence)

    def _may_start_worker(self) -> bool:
        busy = self._busy
        return (
            busy < self._limit
            and busy < self._lane.limit
            and (not busy or busy * WORKER_COST < self._budget.free // 2)
        )

    def _start_workers(self) -> None:
        """Start as much of what waits as is allowed."""
        for _ in range(self._window.waiting):
            if not self._may_start_worker():
                break
            self._start_worker()

    def _may_go_on(self) -> bool:
        return self._busy <= self._limit and self._busy <= self._lane.limit

    def _start_worker(self) -> None:
        self._busy += 1
        self._budget.take_beyond(WORKER_COST)
        task = asyncio.create_task(self._work(), name=self.name)
        self._workers.add(task)
        task.add_done_callback(self._worker_ended)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        self._budget.give_back(WORKER_COST)
        self._workers.discard(task)
        if not self._workers:
            self._drained.set()
            if self._window.was_short and self._room_timer is None:
                self._make_up()

    def _make_up(self) -> None:
        """Have events resent that found no room once there is some, before their ack wait ends."""
        self._room_timer = None
        if self._workers or self.state is not DeliveryState.ACTIVE:
            return  # the last worker does it, or it is not needed
        if self._budget.free < self._budget.limit // 4:
            loop = asyncio.get_running_loop()
            self._room_timer = loop.call_later(_ROOM_SECONDS, self._make_up)
            return
        self._window.was_short = False
        for durable in self.durables:
            durable.reopen()

    def _expect_copies(self) -> None:
        """Make sure that what is released comes again, whatever the server's clock says."""
        if self._copy_timer is None:
            seconds = COPY_OVERDUE * self.plan.policy.ack_wait
            loop = asyncio.get_running_loop()
            self._copy_timer = loop.call_later(seconds, self._look_for_copies)

    def _look_for_copies(self) -> None:
        self._copy_timer = None
        if self.state is not DeliveryState.ACTIVE:
            return  # everything is sent again on resume
        if self._window.lacks_copies(time.monotonic()):
            for durable in self.durables:
                durable.reopen()
        if self._window.has_released:
            self._expect_copies()

    async def _work(self) -> None:
        """Deliver until nothing waits, or there are more workers than allowed."""
        window = self._window
        try:
            while self._may_go_on() and (record := window.next()) is not None:
                outcome = await self._deliver(record)
                self._settle(record, outcome)
                if window.waiting and self._may_start_worker():
                    self._start_worker()  # there was no room for it when its event came
        finally:
            self._busy -= 1

    async def _deliver(self, record: PendingEvent) -> Outcome:
        try:
            return await self._attempts.deliver(record)
        except asyncio.CancelledError:
            self._window.release(record)
            raise
        except Exception:  # a bug must not end the delivery of other events
            log.exception("delivery broke", **self._metrics.labels, sequence=record.sequence)
            return Outcome.FAILED

    def _settle(self, record: PendingEvent, outcome: Outcome) -> None:
        if outcome.settled:
            self._lane.count()
            if record.sequence < self._awaited_below:
                self._progress.set()
            if self._window.settle(record):
                self._metrics.settled += 1
                self._acknowledge(record.sequence)
        elif outcome is Outcome.FAILED and self.state is DeliveryState.ACTIVE:
            self._window.fail(record, time.monotonic())
            self._expect_copies()
        else:  # the round was cut short here, or not begun
            self._window.release(record)

    def _acknowledge(self, sequence: int) -> None:
        for durable in self.durables:
            durable.ack(sequence)

    async def progress(self, below: int) -> None:
        """Wait until an event with a sequence ``below`` is settled, or for ``note_progress``."""
        self._awaited_below = below
        self._progress.clear()
        try:
            await self._progress.wait()
        finally:
            self._awaited_below = 0

    def note_progress(self) -> None:
        """Wake those that wait for ``progress``."""
        self._progress.set()

    def retarget(self, plan: Plan) -> None:
        """Deliver by another plan from the next attempt on; nothing is lost or sent twice."""
        self._attempts.change(plan)
        self._window.change(plan.policy)
        self._limit = plan.policy.concurrency
        self._start_workers()

    def pause(self) -> None:
        """Start nothing more. Attempts under way end, since what was sent cannot be unsent."""
        if self.state is DeliveryState.ACTIVE:
            self.state = DeliveryState.PAUSED
            self._hold()

    def resume(self, plan: Plan) -> None:
        """Continue after a pause; what arrived meanwhile must be resent (reopen the durable)."""
        if self.state is DeliveryState.PAUSED:
            self.state = DeliveryState.ACTIVE
            self._attempts.go_on()
        self.retarget(plan)

    async def drain(self) -> None:
        """Start nothing more and wait until the attempts under way have ended."""
        if self.state is DeliveryState.ACTIVE:
            self.state = DeliveryState.DRAINING
            self._hold()
        while self._workers:
            self._drained.clear()
            await self._drained.wait()

    def close(self) -> None:
        """Break off what is under way; it stays unacknowledged."""
        self.state = DeliveryState.CLOSED
        self._hold()
        self._window.forget_replies()
        for task in self._workers:
            task.cancel()

    def _hold(self) -> None:
        self._window.release_waiting()
        self._attempts.hold()

    def status(self) -> dict[str, object]:
        """Return for ``/status`` what a person wants to know about this subscription."""
        health = self._attempts.health
        window = self._window
        state = "failing" if health.failing_since is not None else self.state.value
        status: dict[str, object] = {
            "state": state if self.state is DeliveryState.ACTIVE else self.state.value,
            "inFlight": window.active,
            "waiting": window.waiting,
            "unsettled": window.unsettled,
            "lastSequence": window.highest,
            "settled": self._metrics.settled,
            "redelivered": self._metrics.redelivered,
            "unusableReplies": self._metrics.unusable_replies,
        }
        if health.last_failure is not None:
            status["lastError"] = health.last_failure.text
            status["lastErrorAt"] = rfc3339(health.last_failure_at)
        if health.failing_since is not None:
            status["failingSince"] = rfc3339(health.failing_since)
        return status


def rfc3339(seconds: float) -> str:
    """Return a time in seconds since the epoch, in the form for people."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
