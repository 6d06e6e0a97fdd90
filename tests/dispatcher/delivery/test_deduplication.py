"""SettledEvents against a plain set."""

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.delivery.deduplication import SettledEvents

SECOND = 1_000_000_000
SEQUENCES = st.lists(st.integers(min_value=1, max_value=60))


def at(sequence: int, every: int = SECOND) -> int:
    """Return the timestamp of an event: so many nanoseconds for each sequence."""
    return every * sequence


@given(
    st.lists(st.integers(min_value=1, max_value=200)),
    st.sampled_from([1, SECOND // 50, SECOND]),
)
def test_holds_exactly_what_was_added(sequences: list[int], every: int) -> None:
    settled = SettledEvents(1024)
    for sequence in sequences:
        settled.add(sequence, at(sequence, every))
    model = set(sequences)
    assert {number for number in range(202) if settled.has_sequence(number)} == model
    assert {number for number in range(202) if settled.has(number, at(number, every))} == model


def in_any_order(count: int, in_flight: int) -> list[int]:
    """Return sequences in an order of settling, with so many delivered at once."""
    chance = random.Random(1)
    under_way: list[int] = []
    settled = []
    for sequence in range(1, count + 1):
        under_way.append(sequence)
        if len(under_way) == in_flight:
            settled.append(under_way.pop(chance.randrange(in_flight)))
    return settled + under_way


@pytest.mark.parametrize(("every", "most"), [(SECOND // 1000, 80), (SECOND, 1200)])
def test_a_long_history_in_any_order_takes_few_runs(every: int, most: int) -> None:
    settled = SettledEvents(10_000)
    for sequence in in_any_order(32_000, in_flight=64):
        settled.add(sequence, at(sequence, every))
    assert settled.runs < most


def test_the_longest_history_takes_little_memory() -> None:
    """There is one for each of thousands of subscriptions."""
    settled = SettledEvents(1024)
    sequences = in_any_order(100_000, in_flight=64)
    tracemalloc.start()
    try:
        for sequence in sequences:
            settled.add(2 * sequence, at(sequence))  # the worst: none is next to another
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 40_000


def test_a_long_history_in_order_takes_few_runs() -> None:
    settled = SettledEvents(1024)
    for sequence in range(1, 64_001):
        settled.add(sequence, at(sequence))
    assert settled.runs == 1000


def test_a_sequence_with_the_time_of_another_channel_is_another_event() -> None:
    settled = SettledEvents(1024)
    for sequence in range(1, 201):
        settled.add(sequence, at(sequence))
    assert settled.has_sequence(1)
    assert not settled.has(1, at(150))
    assert not settled.has(199, at(2))


def test_a_history_of_a_second_is_told_from_that_of_another() -> None:
    """However many events there are in a second."""
    settled = SettledEvents(1024)
    for sequence in range(1, 10_001):
        settled.add(sequence, at(sequence, SECOND // 1000))
    assert settled.has_sequence(1)
    assert not settled.has(1, 4 * SECOND)
    assert not settled.has(9_999, 6 * SECOND)


def test_forgets_the_lowest_runs_when_there_are_too_many() -> None:
    settled = SettledEvents(3)
    for sequence in (2, 4, 6, 8):
        settled.add(sequence, at(sequence))
    assert settled.runs == 3
    assert not settled.has_sequence(2)
    assert settled.has_sequence(8)


def test_forgets_everything_on_clear() -> None:
    settled = SettledEvents(1024)
    settled.add(5, at(5))
    settled.clear()
    assert not settled.has_sequence(5)


def test_events_whose_times_lie_far_apart_are_told_from_those_of_another_channel() -> None:
    """The server's clock was set back by an hour between two events."""
    settled = SettledEvents(1024)
    settled.add(1, at(7200))
    settled.add(2, at(3600))
    settled.add(3, at(7201))
    assert [settled.has(each, at(time)) for each, time in ((1, 7200), (2, 3600), (3, 7201))] == [
        True, True, True
    ]  # fmt: skip
    assert not settled.has(1, at(5000))
    assert not settled.has(2, at(5000))


@given(st.sets(st.integers(min_value=1, max_value=60)), st.integers(1, 60), st.integers(1, 60))
def test_counts_what_it_has_among_others(sequences: set[int], first: int, end: int) -> None:
    settled = SettledEvents(1024)
    for sequence in sequences:
        settled.add(sequence, at(sequence))
    assert settled.count(range(first, end)) == len(sequences & set(range(first, end)))


@given(
    st.lists(st.integers(min_value=1, max_value=60)),
    st.lists(st.integers(min_value=1, max_value=60)),
)
def test_takes_all_of_another(mine: list[int], others: list[int]) -> None:
    """Where both have a sequence, it is the event of the other that is known."""
    settled, other = SettledEvents(1024), SettledEvents(1024)
    for sequence in mine:
        settled.add(sequence, at(sequence))
    for sequence in others:
        other.add(sequence, at(sequence + 10_000))
    settled.take(other)
    assert other.runs == 0
    for sequence in others:
        assert settled.has(sequence, at(sequence + 10_000))
        assert not settled.has(sequence, at(sequence))
    runs = list(settled)
    assert runs == sorted(runs)
    assert all(before[1] < after[0] for before, after in pairwise(runs))
