"""Some hundred walks; ``make walk`` makes as many as one likes."""

import pytest

from tests.walks.walk import walk

SEEDS = 150
"""In so many walks each fault that they have found shows itself several times."""

FOUND = [(9419, 2)]
"""Seeds and processes of walks that were found among tens of thousands."""


@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_that_is_owed_is_lost(processes: int) -> None:
    lost = {}
    for seed in range(SEEDS):
        outcome = walk(seed, processes=processes)
        if outcome.lost:
            lost[seed] = outcome.lost
    assert lost == {}, "make walk SEED=n shows the steps of one"


@pytest.mark.parametrize(("seed", "processes"), FOUND)
def test_a_walk_that_has_lost_events_once_loses_none(seed: int, processes: int) -> None:
    assert walk(seed, processes=processes).lost == []


def test_nothing_comes_twice_unless_a_process_or_a_session_has_ended() -> None:
    outcomes = [walk(seed, is_disturbed=False) for seed in range(SEEDS)]
    assert {each.seed: each.lost for each in outcomes if each.lost} == {}
    assert {each.seed: each.twice for each in outcomes if each.twice} == {}


def test_a_seed_gives_the_same_walk_again() -> None:
    assert walk(7) == walk(7)
