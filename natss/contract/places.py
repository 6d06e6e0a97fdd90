"""Decides which of a channel's subscribers are served if there are more than allowed. Pure.

A served subscriber keeps its place, wherever in the list it is: without a place it gets no events.
Subscribers whose durable is on the server come before others, because events wait in it. The place
of a removed subscriber is kept as long as its durable: it may come back and continue where it was.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from natss.contract.resources import ResourceName, Subscriber, Unserved

MOST_TOLD = 1000
"""The most subscribers without a place and without a durable that are identified. A list of 1 MB
can contain 25,000.
"""


class RecordedDurable(Protocol):
    """A durable that may exist on the server."""

    @property
    def ref(self) -> ResourceName:
        """The Subscription of the durable."""

    @property
    def durable(self) -> str:
        """Its name."""

    @property
    def since(self) -> float | None:
        """None once the durable has been opened."""


class PlaceClaim(NamedTuple):
    """The claim of a subscriber to a place."""

    durable: str
    namespace: str
    name: str

    @property
    def ref(self) -> tuple[str, str]:
        return self[1:]


def claim_of(subscriber: Subscriber) -> PlaceClaim:
    return PlaceClaim(subscriber.durable, subscriber.ref.namespace, subscriber.ref.name)


@dataclass(frozen=True, slots=True)
class Choice:
    """The places given to claims, each claim by its index."""

    served: Sequence[int]
    """Claims with a place, in the order of the claims."""

    held: Sequence[int]
    """Claims without a place that have a durable."""

    waiting: Sequence[int]
    """Claims without a place that have no durable, in the order of the claims."""

    def unserved(self, claims: Sequence[PlaceClaim]) -> Unserved:
        """Return the subscribers without a place."""
        told = [*self.held, *self.waiting[:MOST_TOLD]]
        durables = {ResourceName(*claims[i].ref): claims[i].durable for i in told}
        return Unserved(len(self.held) + len(self.waiting), durables)


def choose(
    claims: Sequence[PlaceClaim],
    most: int | None,
    before: Iterable[PlaceClaim],
    recorded: Iterable[RecordedDurable],
) -> Choice:
    """Give each claim a place or none.

    Args:
        claims: The claims of all wanted subscribers.
        most: The number of places; None for no limit.
        before: The claims that have a place now.
        recorded: The durables that may exist, including those of removed subscribers.
    """
    everybody = range(len(claims))
    if most is None:
        return Choice(everybody, (), ())
    recorded = list(recorded)
    if len(claims) + len(recorded) <= most:
        return Choice(everybody, (), ())
    opened = names_of(claim_of_recorded(each) for each in recorded if each.since is None)
    known = names_of(map(claim_of_recorded, recorded))
    served = names_of(before)
    ranks: list[list[int]] = [[], [], [], [], []]
    for index, claim in enumerate(claims):
        if is_in(claim, opened):
            ranks[0 if is_in(claim, served) else 1].append(index)
        elif is_in(claim, served):
            ranks[2].append(index)
        else:
            ranks[3 if is_in(claim, known) else 4].append(index)
    for rank in ranks[:-1]:  # the list may have another order next time
        rank.sort(key=lambda index: claims[index].ref)
    first, new = [index for rank in ranks[:-1] for index in rank], ranks[-1]
    wanted = names_of(claims)
    left = {each.ref for each in recorded if not is_in(claim_of_recorded(each), wanted)}
    room = max(0, most - len(first) - len(left))
    return Choice(sorted(first[:most] + new[:room]), first[most:], new[room:])


def claim_of_recorded(recorded: RecordedDurable) -> PlaceClaim:
    return PlaceClaim(recorded.durable, recorded.ref.namespace, recorded.ref.name)


def names_of(claims: Iterable[PlaceClaim]) -> set[str | tuple[str, str]]:
    """Return everything that identifies any of the claims: durables and references.

    A subscriber that is created anew has another durable, a renamed one another reference.
    """
    names: set[str | tuple[str, str]] = set()
    for claim in claims:
        names.add(claim.durable)
        names.add(claim.ref)
    return names


def is_in(claim: PlaceClaim, names: set[str | tuple[str, str]]) -> bool:
    return claim.durable in names or claim.ref in names
