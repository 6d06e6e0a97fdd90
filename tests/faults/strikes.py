"""What is broken when: one fault after the other, now and then two at once."""

import time
from collections.abc import Iterator, Sequence
from random import Random

from tests.faults.nemesis import Fault

_AT_ONCE = 0.3
"""Share of strikes with two faults."""


def dealt(faults: Sequence[Fault], chance: Random, end: float) -> Iterator[tuple[Fault, ...]]:
    """Like cards: every fault once, in any order, then all of them again.

    Args:
        faults: There are more than one.
        chance: Decides on the order, and on pairs; a pair touches different parts.
        end: When the last strike may begin (monotonic seconds).
    """
    deck: list[Fault] = []
    while time.monotonic() < end:
        if not deck:
            deck = chance.sample(faults, len(faults))
        fault = deck.pop()
        partners = [each for each in deck if not each.touches & fault.touches]
        if partners and chance.random() < _AT_ONCE:
            deck.remove(partners[0])
            yield fault, partners[0]
        else:
            yield (fault,)
