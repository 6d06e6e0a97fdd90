"""What is broken when: one fault after the other, now and then two at the same time."""

import time
from collections.abc import Iterator, Sequence
from random import Random

from tests.faults.nemesis import Fault

Strike = tuple[Fault, ...]
"""Simultaneous faults, which touch different parts."""


def once_each(faults: Sequence[Fault], chance: Random, pairs: float) -> Iterator[Strike]:
    """Yield every fault once, in any order, like a pack of cards.

    Args:
        faults: What can be broken.
        chance: Decides the order, and the pairs.
        pairs: How often two are taken together, if two can be combined: from 0 to 1.
    """
    pack = chance.sample(faults, len(faults))
    while pack:
        fault = pack.pop()
        partner = next((each for each in pack if not each.touches & fault.touches), None)
        if partner is not None and chance.random() < pairs:
            pack.remove(partner)
            yield fault, partner
        else:
            yield (fault,)


def until(end: float, faults: Sequence[Fault], chance: Random, pairs: float) -> Iterator[Strike]:
    """Yield pack after pack, until a time (monotonic seconds)."""
    while True:
        for strike in once_each(faults, chance, pairs):
            if time.monotonic() >= end:
                return
            yield strike
