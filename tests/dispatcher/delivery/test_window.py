"""Which messages a subscription delivers, drops or acknowledges once more."""

import pytest

from dispatcher.delivery.window import EVENT_COST, PendingEvent, Receipt, Window
from dispatcher.runtime.byte_budget import ByteBudget
from natss.contract.resources import DeliveryPolicy, Order

MEGABYTE = 1024 * 1024
ALL = range(1, 2**63)
SECOND = 1_000_000_000
NOON = 1_800_000_000 * SECOND
COST = len(b"event") + EVENT_COST


def window(policy: DeliveryPolicy | None = None, budget: ByteBudget | None = None) -> Window:
    return Window(policy or DeliveryPolicy(ack_wait=10), budget or ByteBudget(MEGABYTE))


def take(subject: Window) -> PendingEvent:
    record = subject.next()
    assert record is not None
    return record


def receive(
    subject: Window, sequence: int, at: float = 0.0, timestamp: int | None = None
) -> Receipt:
    stamp = 1000 + sequence if timestamp is None else timestamp
    return subject.receive(sequence, stamp, b"event", at)


def test_a_copy_of_what_waits_or_is_delivered_is_dropped() -> None:
    subject = window()
    assert receive(subject, 1) is Receipt.ACCEPTED
    assert receive(subject, 1) is Receipt.COPY
    take(subject)
    assert receive(subject, 1, at=100.0) is Receipt.COPY
    assert subject.next() is None


def test_a_copy_of_what_was_settled_is_acknowledged_again_and_not_delivered() -> None:
    subject = window()
    receive(subject, 1)
    assert subject.settle(take(subject))
    assert receive(subject, 1, at=1e6) is Receipt.ACKNOWLEDGE
    assert subject.next() is None
    assert subject.unsettled == 0


def test_settled_events_are_known_however_many_between_them_are_not() -> None:
    count = 6000
    subject = window(DeliveryPolicy(max_inflight=count), ByteBudget(100 * MEGABYTE))
    for sequence in range(1, count + 1):
        receive(subject, sequence)
    for sequence, record in enumerate([take(subject) for _ in range(count)], 1):
        if sequence % 2:
            assert subject.settle(record)
    assert receive(subject, 1) is Receipt.ACKNOWLEDGE


def test_a_failed_event_rests_then_its_next_copy_is_tried() -> None:
    subject = window(DeliveryPolicy(ack_wait=10))
    receive(subject, 1)
    subject.fail(take(subject), now=20.0)
    assert receive(subject, 1, at=21.0) is Receipt.COPY
    assert receive(subject, 1, at=25.0) is Receipt.ACCEPTED
    assert take(subject).failed_rounds == 1


def test_another_policy_lets_what_rests_be_tried_at_once() -> None:
    subject = window()
    receive(subject, 1)
    subject.fail(take(subject), now=0.0)
    subject.change(DeliveryPolicy())
    assert receive(subject, 1, at=0.0) is Receipt.ACCEPTED


def test_a_pending_event_below_the_highest_is_new_when_it_was_never_seen() -> None:
    subject = window()
    receive(subject, 7)
    subject.settle(take(subject))
    assert receive(subject, 3) is Receipt.ACCEPTED


def test_sequences_that_start_again_are_new_events_and_old_acks_are_held_back() -> None:
    subject = window()
    receive(subject, 1)
    receive(subject, 2)
    settled, active = take(subject), take(subject)
    subject.settle(settled)
    assert receive(subject, 1, timestamp=999_999) is Receipt.ACCEPTED
    assert not subject.settle(active), "its sequence belongs to another event now"
    assert subject.unsettled == 1
    assert receive(subject, 2, timestamp=1_000_000) is Receipt.ACCEPTED


def test_a_known_sequence_with_another_timestamp_is_another_event() -> None:
    subject = window()
    receive(subject, 1, timestamp=50)
    receive(subject, 5, timestamp=60)
    assert receive(subject, 1, timestamp=55) is Receipt.ACCEPTED
    assert take(subject).timestamp == 55


def test_events_that_do_not_fit_in_memory_are_deferred_and_accepted_when_they_come_again() -> None:
    budget = ByteBudget(COST + 3)
    budget.take(4)  # by another subscription
    subject = window(budget=budget)
    assert receive(subject, 1) is Receipt.ACCEPTED, "who holds nothing may always have one"
    assert receive(subject, 2) is Receipt.DEFERRED
    subject.settle(take(subject))
    assert receive(subject, 2) is Receipt.ACCEPTED
    assert take(subject).take_data() == b"event"
    assert budget.used == 4 + COST


def test_one_subscription_leaves_room_for_the_others() -> None:
    budget = ByteBudget(16 * COST)
    slow, other = window(budget=budget), window(budget=budget)
    receipts = [receive(slow, sequence) for sequence in range(1, 17)]
    assert receipts == [Receipt.ACCEPTED] * 8 + [Receipt.DEFERRED] * 8
    receipts = [receive(other, sequence) for sequence in range(1, 9)]
    assert receipts == [Receipt.ACCEPTED] * 4 + [Receipt.DEFERRED] * 4


def test_an_event_larger_than_the_budget_is_delivered_alone() -> None:
    budget = ByteBudget(2)
    subject = window(budget=budget)
    assert receive(subject, 1) is Receipt.ACCEPTED
    assert receive(subject, 2) is Receipt.DEFERRED
    subject.settle(take(subject))
    assert budget.used == 0


def test_a_store_that_was_wiped_with_its_clock_behind_has_new_events() -> None:
    """Timestamps of the new channel are earlier than the latest known."""
    subject = window()
    for sequence in range(1, 6):
        receive(subject, sequence, timestamp=10_000 + sequence)
        subject.settle(take(subject))
    assert receive(subject, 1, timestamp=9_000) is Receipt.ACCEPTED
    assert receive(subject, 2, timestamp=9_001) is Receipt.ACCEPTED


def test_the_budget_is_given_back_whatever_becomes_of_an_event() -> None:
    budget = ByteBudget(MEGABYTE)
    subject = window(budget=budget)
    for sequence in range(1, 8):
        receive(subject, sequence)
    subject.settle(take(subject))
    subject.fail(take(subject), now=0.0)
    subject.release(take(subject))
    still_active = take(subject)
    receive(subject, 1, timestamp=10**9)  # the channel was made anew
    subject.release_waiting()
    assert budget.used == COST
    subject.fail(still_active, now=0.0)
    assert budget.used == 0
    assert subject.active == 0


def test_waiting_events_are_bounded_in_number() -> None:
    subject = window(DeliveryPolicy(max_inflight=1))
    receipts = [receive(subject, sequence) for sequence in range(1, 40)]
    assert receipts.count(Receipt.ACCEPTED) < 20
    assert receipts[-1] is Receipt.DEFERRED
    assert subject.unsettled == 39


def test_in_order_a_failed_event_holds_back_the_later_ones() -> None:
    subject = window(DeliveryPolicy(ack_wait=10, order=Order.CHANNEL))
    receive(subject, 2)
    receive(subject, 1)
    receive(subject, 3)
    first = take(subject)
    assert first.sequence == 1
    subject.fail(first, now=0.0)
    assert subject.next() is None
    assert receive(subject, 2, at=6.0) is Receipt.DEFERRED
    assert receive(subject, 1, at=6.0) is Receipt.ACCEPTED
    assert receive(subject, 2, at=6.0) is Receipt.ACCEPTED
    subject.settle(take(subject))
    assert take(subject).sequence == 2


def test_in_order_an_event_that_expired_in_the_store_holds_nothing_back() -> None:
    subject = window(DeliveryPolicy(ack_wait=10, order=Order.CHANNEL))
    receive(subject, 1)
    subject.fail(take(subject), now=0.0)
    assert receive(subject, 2, at=10.0) is Receipt.DEFERRED
    assert receive(subject, 2, at=40.0) is Receipt.ACCEPTED


def test_expired_events_are_forgotten() -> None:
    subject = window(DeliveryPolicy(ack_wait=10, max_inflight=2))
    for sequence in range(1, 2000):
        receive(subject, sequence, at=float(sequence))
        subject.fail(take(subject), now=float(sequence))
    assert subject.unsettled < 100


def test_position_is_the_lowest_unsettled() -> None:
    subject = window()
    assert (subject.highest, subject.first_unsettled(ALL)) == (0, None)
    for sequence in (1, 2, 3):
        receive(subject, sequence)
    take(subject)
    subject.settle(take(subject))
    assert (subject.highest, subject.first_unsettled(ALL)) == (3, 1)


def test_the_oldest_event_counts_from_its_first_copy() -> None:
    subject = window(DeliveryPolicy(ack_wait=10))
    assert subject.oldest(0.0) is None
    receive(subject, 1, at=1.0)
    receive(subject, 2, at=2.0)
    receive(subject, 1, at=11.0)
    assert subject.oldest(11.0) == 1.0
    assert subject.oldest(11.0, failed=True) is None
    take(subject)
    subject.fail(take(subject), now=12.0)
    assert subject.oldest(12.0, failed=True) == 2.0


def test_an_event_that_expired_in_the_store_is_not_the_oldest() -> None:
    subject = window(DeliveryPolicy(ack_wait=10))
    receive(subject, 1, at=0.0)
    subject.fail(take(subject), now=0.0)
    assert subject.oldest(30.0) == 0.0
    assert subject.oldest(30.1) is None
    receive(subject, 1, at=31.0)
    assert subject.oldest(31.0) == 0.0


def test_a_copy_is_missed_after_two_ack_waits_unless_one_came() -> None:
    subject = window(DeliveryPolicy(ack_wait=10))
    receive(subject, 1, at=0.0)
    record = take(subject)
    assert not subject.lacks_copies(20.0), "it is being delivered"
    subject.fail(record, 20.0)
    assert subject.lacks_copies(20.0)
    receive(subject, 1, at=21.0)
    assert not subject.lacks_copies(40.0)
    assert subject.lacks_copies(41.0)


def test_nobody_waits_for_copies_of_what_has_expired_in_the_store() -> None:
    subject = window(DeliveryPolicy(ack_wait=10))
    receive(subject, 1, at=0.0)
    subject.fail(take(subject), 1.0)
    assert not subject.lacks_copies(31.0)
    assert not subject.has_released


# --- timestamps that fall: the server's clock was set back ----------------------------------------


@pytest.mark.parametrize("step", [1, 50_000_000, 3600 * SECOND])
def test_copies_are_known_although_a_later_event_has_an_earlier_time(step: int) -> None:
    subject = window()
    for sequence, at in ((1, 0), (2, 10), (3, -step), (4, 10 - step)):
        assert receive(subject, sequence, timestamp=NOON + at) is Receipt.ACCEPTED
    first = take(subject)
    assert subject.settle(first)
    take(subject)
    assert receive(subject, 1, timestamp=NOON) is Receipt.ACKNOWLEDGE
    assert receive(subject, 2, timestamp=NOON + 10) is Receipt.COPY
    assert receive(subject, 3, timestamp=NOON - step) is Receipt.COPY
    assert subject.unsettled == 3


def test_what_was_never_seen_is_new_whatever_its_time() -> None:
    subject = window()
    receive(subject, 7, timestamp=NOON)
    assert subject.settle(take(subject))
    assert receive(subject, 3, timestamp=NOON + SECOND) is Receipt.ACCEPTED
    assert receive(subject, 7, timestamp=NOON) is Receipt.ACKNOWLEDGE, "nothing was forgotten"


def test_a_channel_made_anew_is_found_out_without_harm_to_what_is_on_its_way() -> None:
    """What is remembered of the former one begins at a sequence that comes late again."""
    subject = window(DeliveryPolicy(ack_wait=10, max_inflight=8))
    for sequence in range(50, 60):
        receive(subject, sequence, timestamp=NOON + sequence)
        assert subject.settle(take(subject))
    stale = receive(subject, 60, timestamp=NOON + 60)
    assert stale is Receipt.ACCEPTED
    former = take(subject)
    later = NOON - 3600 * SECOND  # its clock was set back as well
    for sequence in range(1, 50):
        assert receive(subject, sequence, timestamp=later + sequence) is Receipt.ACCEPTED
        record = take(subject)
        if sequence < 48:
            assert subject.settle(record)
    assert subject.unsettled == 3
    assert receive(subject, 50, timestamp=later + 50) is Receipt.ACCEPTED
    assert receive(subject, 48, timestamp=later + 48) is Receipt.COPY, "it is on its way"
    assert receive(subject, 47, timestamp=later + 47) is Receipt.ACKNOWLEDGE
    assert not subject.settle(former), "its sequence belongs to another event now"
    assert subject.settle(record)


def test_what_was_settled_before_lower_sequences_came_is_known_still() -> None:
    """As when a former durable sends what it has pending, after another has sent what is new."""
    subject = window()
    for sequence in (100, 101):
        receive(subject, sequence)
        assert subject.settle(take(subject))
    for sequence in (5, 6):
        assert receive(subject, sequence) is Receipt.ACCEPTED
        assert subject.settle(take(subject))
    for sequence in (100, 101, 5, 6):
        assert receive(subject, sequence) is Receipt.ACKNOWLEDGE
    assert receive(subject, 102) is Receipt.ACCEPTED


# --- what a durable owes --------------------------------------------------------------------------


def test_what_is_noted_is_unsettled_and_delivered_when_it_comes_again() -> None:
    subject = window()
    for sequence in (1, 2):
        subject.note(sequence, 1000 + sequence, 0.0)
    assert subject.first_unsettled(ALL) == 1
    assert subject.next() is None
    assert receive(subject, 1) is Receipt.ACCEPTED
    assert subject.settle(take(subject))
    subject.note(1, 1001, 0.0)
    assert subject.first_unsettled(ALL) == 2, "what is settled stays so"


def test_all_is_known_from_the_first_gap_on() -> None:
    subject = window()
    for sequence in (1, 2, 4, 5, 6):
        receive(subject, sequence)
    for _ in range(3):
        subject.settle(take(subject))
    assert subject.knows_all(range(4, 7))
    assert subject.knows_all(range(1, 3))
    assert not subject.knows_all(range(1, 7)), "3 was never seen"
    assert subject.knows_all(range(5, 5))


def test_what_is_taken_as_settled_is_acknowledged_unless_it_is_known_not_to_be() -> None:
    subject = window(DeliveryPolicy(ack_wait=10, max_inflight=1))
    subject.note(3, 1003, 0.0)
    receive(subject, 10)
    subject.take_as_settled(10)
    assert receive(subject, 2) is Receipt.ACKNOWLEDGE
    for sequence in range(11, 40):  # so that what seems to have expired is forgotten
        subject.note(sequence, 1000 + sequence, 1000.0)
    assert receive(subject, 3, at=2000.0) is Receipt.ACCEPTED, "it is owed however late it comes"


def test_what_the_server_has_not_sent_again_is_forgotten() -> None:
    subject = window()
    for sequence in (1, 2, 3):
        subject.note(sequence, 1000 + sequence, float(sequence))
    subject.forget_released(2.5, range(1, 3))
    assert subject.first_unsettled(ALL) == 3
