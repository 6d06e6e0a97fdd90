"""What NATS Streaming has sent to one subscription: what is not settled, and what was.

NATS Streaming sends an event again after each ack wait, or sooner, even while its first copy is
still being delivered. The window tells new events from copies, so that a delivery may take longer
than the ack wait without duplicates. Pure: the caller passes the time and acts on the results.
"""

import enum
import sys
from collections import deque

from dispatcher.delivery.deduplication import SettledEvents
from dispatcher.delivery.replies import Taken
from dispatcher.delivery.rules import redelivery_pause
from dispatcher.runtime.byte_budget import BudgetShare, ByteBudget
from natss.contract.resources import DeliveryPolicy, Order

COPY_OVERDUE = 2
"""After so many ack waits without a copy, the server does not send a released event again, or not
for a long time: it goes by its wall clock, which may have been set back by hours.
"""

COPIES_UNTIL_GONE = 3
"""After so many ack waits without a copy, a released event has expired in the store."""


_WAITING_PER_INFLIGHT = 16
"""Reopening a durable sends everything pending at once, including what a larger MaxInflight let
through before (Go's was 1024). More than this is left to NATS Streaming.
"""


_RUNS_BESIDES = 1024

EVENT_COST = 512
"""Bytes of memory that an event takes here besides its stored form."""


class Receipt(enum.Enum):
    """What to do about a message that arrived."""

    ACCEPTED = enum.auto()  # it waits for delivery
    COPY = enum.auto()  # drop it: the event is being delivered, or rests after a failure
    ACKNOWLEDGE = enum.auto()  # its ack was lost: send that once more
    DEFERRED = enum.auto()  # no room: NATS Streaming sends it again


class PendingEventState(enum.Enum):
    """Where an unsettled event is."""

    WAITING = enum.auto()
    ACTIVE = enum.auto()  # being delivered
    RELEASED = enum.auto()  # not held in memory; NATS Streaming sends it again
    GONE = enum.auto()  # final: settled, or of a channel that was created anew


class PendingEvent:
    """One unsettled event."""

    __slots__ = (
        "cost",
        "data",
        "failed_rounds",
        "first_copy",
        "generation",
        "last_copy",
        "not_before",
        "sequence",
        "state",
        "taken",
        "timestamp",
    )

    def __init__(self, sequence: int, timestamp: int, generation: int, now: float) -> None:
        self.sequence = sequence
        self.generation = generation
        self.timestamp = timestamp
        self.data = b""
        self.cost = 0  # bytes taken from the budget
        self.state = PendingEventState.WAITING
        self.failed_rounds = 0
        self.taken: Taken | None = None
        self.not_before = 0.0
        self.first_copy = now
        self.last_copy = now

    def take_data(self) -> bytes:
        """Return the stored form, for a caller that transforms it and needs no second copy."""
        data, self.data = self.data, b""
        return data


class Window:
    """The unsettled events of a subscription by sequence.

    An event is known by its sequence and timestamp. A known sequence with another timestamp belongs
    to a channel that was created anew: everything remembered of the old one is forgotten then. The
    order of timestamps says nothing: the server's clock may be set back.

    Sequences that start again lower may be those of a channel that was created anew, long before
    one of them is a known one. So what is remembered from before is kept apart, and can be
    forgotten separately.

    Args:
        policy: ``order``, ``ack_wait`` and ``max_inflight`` are used.
        budget: Shared by all subscriptions; the window takes its ``BudgetShare``. An event that
        does not fit is deferred, unless the window holds nothing else.
    """

    __slots__ = (
        "_former",
        "_generation",
        "_highest",
        "_known_up_to",
        "_memory",
        "_policy",
        "_purge_above",
        "_settled",
        "_settled_below",
        "_unsettled",
        "_waiting",
        "active",
        "was_short",
    )

    def __init__(self, policy: DeliveryPolicy, budget: ByteBudget) -> None:
        self._policy = policy
        self._memory = BudgetShare(budget)
        self._unsettled: dict[int, PendingEvent] = {}
        self._waiting: deque[PendingEvent] = deque()
        self._settled = SettledEvents(_runs(policy))
        self._former: SettledEvents | None = None
        """Those that were settled before sequences started again lower."""
        self._generation = 0
        self._settled_below = 0
        self._highest = 0
        self._known_up_to = 0
        self._purge_above = 2 * policy.max_inflight
        self.active = 0
        self.was_short = False
        """Whether an event was deferred for lack of memory since the caller last reset this."""

    @property
    def highest(self) -> int:
        """The highest sequence seen; 0 before the first."""
        return self._highest

    @property
    def unsettled(self) -> int:
        return len(self._unsettled)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def first_unsettled(self, among: range) -> int | None:
        """Return the lowest sequence of an unsettled event among these."""
        return min((each for each in self._unsettled if each in among), default=None)

    def knows_all(self, among: range) -> bool:
        """Return whether each of these events is known, settled or not.

        If so, none that was settled is taken for a new one when they are all sent again.
        """
        unsettled = sum(each in among for each in self._unsettled)
        return unsettled + self._settled.count(among) == len(among)

    def take_as_settled(self, end: int) -> None:
        """Acknowledge what arrives with a sequence below ``end``, unless it is known as unsettled.

        Call it only when everything else below was settled.
        """
        self._settled_below = end

    def forget_released(self, before: float, among: range) -> None:
        """Forget those released events of which no copy has come since ``before``.

        Call it when everything pending was sent since then: the server has no such event.
        """
        for record in list(self._unsettled.values()):
            is_released = record.state is PendingEventState.RELEASED and record.last_copy < before
            if is_released and record.sequence in among:
                record.state = PendingEventState.GONE
                del self._unsettled[record.sequence]
                if record.sequence < self._settled_below:
                    self._settled_below = 0  # if it comes again after all, it is owed

    @property
    def has_released(self) -> bool:
        return any(
            record.state is PendingEventState.RELEASED for record in self._unsettled.values()
        )

    def lacks_copies(self, now: float) -> bool:
        """Return whether a released event should have been sent again before now.

        Events that seem to have expired in the store are forgotten.
        """
        self._purge(now)
        overdue = now - COPY_OVERDUE * self._policy.ack_wait
        return any(
            record.state is PendingEventState.RELEASED and record.last_copy <= overdue
            for record in self._unsettled.values()
        )

    def oldest(self, now: float, *, failed: bool = False) -> float | None:
        """Return when the oldest deliverable unsettled event arrived; None without one.

        Args:
            now: In seconds of the clock of ``receive``.
            failed: Count only events of which a round has failed.
        """
        expired = self._expired(now)
        for record in self._unsettled.values():  # in the order of arrival
            if failed and not record.failed_rounds:
                continue
            if record.state is not PendingEventState.RELEASED or record.last_copy >= expired:
                return record.first_copy
        return None

    def change(self, policy: DeliveryPolicy) -> None:
        """Use another policy from now on, and let everything that rests be tried at once."""
        self._policy = policy
        self._settled.max_runs = _runs(policy)
        for record in self._unsettled.values():
            record.not_before = 0.0

    def receive(self, sequence: int, timestamp: int, data: bytes, now: float) -> Receipt:
        """Judge a message; ``now`` is in seconds of a clock that does not jump."""
        if sequence <= self._known_up_to and self._is_known(sequence, timestamp):
            record = self._unsettled.get(sequence)
            if record is None:
                return Receipt.ACKNOWLEDGE
            return self._receive_copy(record, data, now)
        return self._accept(self._new_record(sequence, timestamp, now), data, now)

    def note(self, sequence: int, timestamp: int, now: float) -> None:
        """Remember an unsettled event that is not to be delivered now: it will come again.

        What is not noted would count as settled when a successor's start position is determined.
        """
        if sequence <= self._known_up_to and self._is_known(sequence, timestamp):
            record = self._unsettled.get(sequence)
            if record is not None:
                record.last_copy = now
            return
        self._new_record(sequence, timestamp, now).state = PendingEventState.RELEASED

    def _is_known(self, sequence: int, timestamp: int) -> bool:
        """Return whether it was this event.

        If only its sequence is known, forget the former channel.
        """
        record, former = self._unsettled.get(sequence), self._former
        if record is not None:
            is_same, is_former = record.timestamp == timestamp, record.generation < self._generation
        elif self._settled.has_sequence(sequence):
            is_same, is_former = self._settled.has(sequence, timestamp), False
        elif former is not None and former.has_sequence(sequence):
            is_same, is_former = former.has(sequence, timestamp), True
        else:
            return sequence < self._settled_below
        if not is_same:
            self._forget_channel(self._generation if is_former else self._generation + 1)
        return is_same

    def _new_record(self, sequence: int, timestamp: int, now: float) -> PendingEvent:
        if sequence <= self._highest:
            self._begin_generation()
        self._highest = sequence
        self._known_up_to = max(self._known_up_to, sequence)
        if len(self._unsettled) > self._purge_above:
            self._purge(now)
        record = self._unsettled[sequence] = PendingEvent(
            sequence, timestamp, self._generation, now
        )
        return record

    def _begin_generation(self) -> None:
        self._generation += 1
        if self._former is None:
            self._former = SettledEvents(self._settled.max_runs)
        self._former.take(self._settled)

    def _receive_copy(self, record: PendingEvent, data: bytes, now: float) -> Receipt:
        record.last_copy = now
        if record.state is not PendingEventState.RELEASED or now < record.not_before:
            return Receipt.COPY
        return self._accept(record, data, now)

    def _accept(self, record: PendingEvent, data: bytes, now: float) -> Receipt:
        if not self._has_room(record, data, now):
            record.state = PendingEventState.RELEASED
            return Receipt.DEFERRED
        record.data = data
        record.state = PendingEventState.WAITING
        waiting = self._waiting
        waiting.append(record)
        if self._policy.order is Order.CHANNEL and len(waiting) > 1:
            self._waiting = deque(sorted(waiting, key=lambda entry: entry.sequence))
        return Receipt.ACCEPTED

    def _has_room(self, record: PendingEvent, data: bytes, now: float) -> bool:
        """Return whether the event may wait here; if so, take its cost from the budget."""
        policy = self._policy
        if len(self._waiting) > _WAITING_PER_INFLIGHT * policy.max_inflight:
            return False
        if policy.order is Order.CHANNEL and self._is_overtaking(record, now):
            return False
        cost = len(data) + EVENT_COST
        memory = self._memory
        if not memory.held:
            memory.take_beyond(cost)  # a lone event always, or it would never be delivered
        elif not memory.take(cost):
            self.was_short = True
            return False
        record.cost = cost
        return True

    def _is_overtaking(self, record: PendingEvent, now: float) -> bool:
        """Return whether an earlier event is still to come (and has not expired in the store)."""
        self._purge(now)
        return any(
            other.sequence < record.sequence and other.state is PendingEventState.RELEASED
            for other in self._unsettled.values()
        )

    def next(self) -> PendingEvent | None:
        """Return the next event, now active; the caller ends it by ``settle`` or ``fail``."""
        while self._waiting:
            record = self._waiting.popleft()
            if record.state is PendingEventState.WAITING:
                record.state = PendingEventState.ACTIVE
                self.active += 1
                return record
        return None

    def settle(self, record: PendingEvent) -> bool:
        """End an active event; return whether to acknowledge it.

        It is not, if its channel was created anew.
        """
        if not self._end(record):
            return False
        record.state = PendingEventState.GONE
        del self._unsettled[record.sequence]
        self._settled.add(record.sequence, record.timestamp)
        return True

    def fail(self, record: PendingEvent, now: float) -> None:
        """End a failed round: the event rests until NATS Streaming redelivers it."""
        if not self._end(record):
            return
        record.failed_rounds += 1
        record.not_before = now + redelivery_pause(self._policy)
        record.state = PendingEventState.RELEASED
        if self._policy.order is Order.CHANNEL:
            self.release_waiting()

    def release(self, record: PendingEvent) -> None:
        """End an active event whose delivery was broken off here; it may come back at once."""
        if self._end(record):
            record.state = PendingEventState.RELEASED

    def release_waiting(self) -> None:
        """Leave what waits to NATS Streaming, which sends it again."""
        for record in self._waiting:
            if record.state is PendingEventState.WAITING:
                self._drop_data(record)
                record.state = PendingEventState.RELEASED
        self._waiting.clear()

    def forget_replies(self) -> None:
        """Drop all replies: no event will be delivered again."""
        for record in self._unsettled.values():
            record.taken = None

    def _end(self, record: PendingEvent) -> bool:
        self.active -= 1
        self._drop_data(record)
        return record.state is PendingEventState.ACTIVE

    def _drop_data(self, record: PendingEvent) -> None:
        self._memory.give_back(record.cost)
        record.cost = 0
        record.data = b""

    def _forget_channel(self, generation: int) -> None:
        """Forget all that is remembered from before this generation."""
        for record in list(self._unsettled.values()):
            if record.generation < generation:
                if record.state is PendingEventState.WAITING:
                    self._drop_data(record)
                record.state = PendingEventState.GONE
                del self._unsettled[record.sequence]
        self._waiting = deque(each for each in self._waiting if each.generation >= generation)
        self._former = None
        self._settled_below = 0
        if generation > self._generation:
            self._settled.clear()
            self._highest = self._known_up_to = 0

    def _expired(self, now: float) -> float:
        """Return the time since when a released event without a copy has expired in the store."""
        return now - COPIES_UNTIL_GONE * self._policy.ack_wait

    def _purge(self, now: float) -> None:
        """Forget released events that seem to have expired in the store.

        If one comes again after all, it is a new event.
        """
        self.forget_released(self._expired(now), range(sys.maxsize))
        self._purge_above = 2 * max(self._policy.max_inflight, len(self._unsettled))


def _runs(policy: DeliveryPolicy) -> int:
    """Return the number of runs: one for each event in flight, and enough beyond for slow ones."""
    return _RUNS_BESIDES + policy.max_inflight
