"""SettledSequences against a plain set."""

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.settled import SettledSequences


@given(st.lists(st.integers(min_value=1, max_value=60)))
def test_holds_exactly_what_was_added_in_as_few_runs_as_possible(sequences: list[int]) -> None:
    settled = SettledSequences()
    for sequence in sequences:
        settled.add(sequence)
    model = set(sequences)
    assert {number for number in range(62) if number in settled} == model
    assert settled.runs == sum(1 for number in model if number - 1 not in model)


def test_a_long_history_in_order_is_one_run() -> None:
    settled = SettledSequences()
    for sequence in range(1, 100_000):
        settled.add(sequence)
    assert settled.runs == 1


def test_forgets_the_lowest_runs_when_there_are_too_many() -> None:
    settled = SettledSequences(max_runs=3)
    for sequence in (2, 4, 6, 8):
        settled.add(sequence)
    assert settled.runs == 3
    assert 2 not in settled
    assert 8 in settled


def test_forgets_everything_on_clear() -> None:
    settled = SettledSequences()
    settled.add(5)
    settled.clear()
    assert 5 not in settled
