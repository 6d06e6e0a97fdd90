"""Each fault comes as often as the others, and in the same order for the same seed."""

import itertools
import time
from collections import Counter
from random import Random

from tests.faults.nemesis import Doubles, Fault, Part
from tests.faults.strikes import once_each, until
from tests.faults.system import System


async def break_nothing(_: System, __: Random) -> None:
    pass


FAULTS = [Fault(f"{part.name} {n}", part, break_nothing) for part in Part for n in range(3)]


def test_each_comes_once() -> None:
    dealt = [fault.name for strike in once_each(FAULTS, Random(1), 0.5) for fault in strike]
    assert sorted(dealt) == sorted(fault.name for fault in FAULTS)


def test_a_pair_touches_different_parts() -> None:
    strikes = list(once_each(FAULTS, Random(1), 1.0))
    assert max(map(len, strikes)) == 2
    assert all(not a.touches & b.touches for a, b in (s for s in strikes if len(s) == 2))


def test_without_pairs_there_are_none() -> None:
    assert {len(strike) for strike in once_each(FAULTS, Random(1), 0.0)} == {1}


def test_the_same_seed_deals_the_same() -> None:
    assert list(once_each(FAULTS, Random(1), 0.5)) == list(once_each(FAULTS, Random(1), 0.5))
    assert list(once_each(FAULTS, Random(1), 0.5)) != list(once_each(FAULTS, Random(2), 0.5))


def test_all_come_again_and_again_until_the_end() -> None:
    strikes = until(time.monotonic() + 60.0, FAULTS, Random(1), 0.0)
    dealt = itertools.islice((fault.name for strike in strikes for fault in strike), 36)
    assert set(Counter(dealt).values()) == {2}
    assert list(until(time.monotonic(), FAULTS, Random(1), 0.0)) == []


def test_duplicates_are_excused_by_what_a_successor_cannot_know() -> None:
    def excused(doubles: Doubles, dispatchers: int = 1, at_once: int = 1) -> bool:
        return Fault("", Part.SERVER, break_nothing, doubles).may_double(dispatchers, at_once)

    assert excused(Doubles.ALWAYS)
    assert not excused(Doubles.NEVER, dispatchers=2, at_once=2)
    assert excused(Doubles.IF_TAKEN_OVER, dispatchers=2)
    assert not excused(Doubles.IF_TAKEN_OVER, at_once=2)
    assert excused(Doubles.UNLESS_ALONE, at_once=2)
    assert not excused(Doubles.UNLESS_ALONE, dispatchers=2)
