"""SettledEvents against a plain set."""

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.settled import SettledEvents


def at(sequence: int) -> int:
    """The timestamp of an event: ten for each sequence."""
    return 10 * sequence


@given(st.lists(st.integers(min_value=1, max_value=200)))
def test_holds_exactly_what_was_added(sequences: list[int]) -> None:
    settled = SettledEvents()
    for sequence in sequences:
        settled.add(sequence, at(sequence))
    model = set(sequences)
    assert {number for number in range(202) if settled.has_sequence(number)} == model
    assert {number for number in range(202) if settled.has(number, at(number))} == model


def test_a_long_history_in_order_takes_few_runs() -> None:
    settled = SettledEvents()
    for sequence in range(1, 64_001):
        settled.add(sequence, at(sequence))
    assert settled.runs == 1000


def test_a_sequence_with_the_time_of_another_channel_is_another_event() -> None:
    settled = SettledEvents()
    for sequence in range(1, 201):
        settled.add(sequence, at(sequence))
    assert settled.has_sequence(1)
    assert not settled.has(1, at(150))
    assert not settled.has(199, at(2))


def test_forgets_the_lowest_runs_when_there_are_too_many() -> None:
    settled = SettledEvents(max_runs=3)
    for sequence in (2, 4, 6, 8):
        settled.add(sequence, at(sequence))
    assert settled.runs == 3
    assert not settled.has_sequence(2)
    assert settled.has_sequence(8)


def test_forgets_everything_on_clear() -> None:
    settled = SettledEvents()
    settled.add(5, at(5))
    settled.clear()
    assert not settled.has_sequence(5)
