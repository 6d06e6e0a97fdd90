"""Who of a channel's subscribers is served if there are more than may be. Pure.

Whoever is served keeps its place, wherever it stands in a list and whoever comes before it: to lose
the place is to get no events. Whose durable is on the server goes before others, for events wait in
it. The place of a subscriber that was removed is kept as long as its durable is: it may come back
and go on where it was.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from natss.contract.resources import ResourceName, Subscriber, Unserved

MOST_TOLD = 1000
"""Of so many subscribers without a place and without a durable it is known who they are. A list of
1 MB can hold 25,000."""


class RecordedDurable(Protocol):
    """A durable that there may be on the server."""

    @property
    def ref(self) -> ResourceName:
        """The Subscription that it is of."""

    @property
    def durable(self) -> str:
        """Its name."""

    @property
    def since(self) -> float | None:
        """None once it has been open."""


class PlaceClaim(NamedTuple):
    """A subscriber as far as its place is concerned."""

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
    """Indices of claims."""

    served: Sequence[int]
    """In the order of the claims."""

    held: Sequence[int]
    """Those without a place that have a durable."""

    waiting: Sequence[int]
    """Those without a place that have none, in the order of the claims."""

    def unserved(self, claims: Sequence[PlaceClaim]) -> Unserved:
        """Who has no place."""
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
        claims: Of all that are wanted.
        most: How many places there are; None for as many as are wanted.
        before: Who has a place now.
        recorded: The durables that there may be, those of removed subscribers included.
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
    for rank in ranks[:-1]:  # the order of the list may be another one next time
        rank.sort(key=lambda index: claims[index].ref)
    first, new = [index for rank in ranks[:-1] for index in rank], ranks[-1]
    wanted = names_of(claims)
    left = {each.ref for each in recorded if not is_in(claim_of_recorded(each), wanted)}
    room = max(0, most - len(first) - len(left))
    return Choice(sorted(first[:most] + new[:room]), first[most:], new[room:])


def claim_of_recorded(recorded: RecordedDurable) -> PlaceClaim:
    return PlaceClaim(recorded.durable, recorded.ref.namespace, recorded.ref.name)


def names_of(claims: Iterable[PlaceClaim]) -> set[str | tuple[str, str]]:
    """What any of the claims can be known by.

    A subscriber that is made anew has another durable, one that is renamed another reference.
    """
    names: set[str | tuple[str, str]] = set()
    for claim in claims:
        names.add(claim.durable)
        names.add(claim.ref)
    return names


def is_in(claim: PlaceClaim, names: set[str | tuple[str, str]]) -> bool:
    return claim.durable in names or claim.ref in names
