"""Which connections of publishers have a place, and which one gives its place up for a new one.

It counts and keeps the order of their coming to rest; it never touches a socket. What has a place
is a ``dispatcher.ingress.connection``.
"""

import enum
from collections import OrderedDict
from typing import Protocol

from dispatcher.ingress import responses
from dispatcher.ingress.responses import Refusal
from dispatcher.runtime.metrics import Metrics


class Way(enum.Enum):
    """What a connection does when it is asked to give its place up."""

    GIVES = "gives"  # it closes
    STAYS = "stays"  # it rests since a moment only
    BUSY = "busy"  # it is not at rest: it will say when it is again


class Holder(Protocol):
    """A connection that has a place, or had one."""

    def give_way(self) -> Way:
        """End, if nothing is under way but what the publisher keeps waiting."""


_Order = OrderedDict[Holder, None]


class _Address:
    """The connections of one address.

    Attributes:
        taken: How many have a place.
        resting: Those at rest, the one that rests longest first.
    """

    __slots__ = ("name", "resting", "taken")

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken = 0
        self.resting: _Order = OrderedDict()


class ConnectionPlaces:
    """As many connections as there may be.

    Args:
        most: Of all addresses together.
        most_per_address: Of one address.
        metrics: Count those that have given their place up.

    Attributes:
        taken: How many have a place.
    """

    def __init__(self, most: int, most_per_address: int, metrics: Metrics) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._metrics = metrics
        self.taken = 0
        self._resting: _Order = OrderedDict()
        self._addresses: dict[str, _Address] = {}
        self._holders: dict[Holder, _Address] = {}

    def enter(self, holder: Holder, address: str) -> Refusal | None:
        """Give a place to a new connection, which is at rest, or say why there is none."""
        known = self._addresses.get(address)
        if known is not None and known.taken >= self._most_per_address:
            if not self._make_room(known.resting):
                return responses.TOO_MANY_OF_ADDRESS
        elif self.taken >= self._most and not self._make_room(self._resting):
            return responses.TOO_MANY_CONNECTIONS
        # Making room may have ended the last connection of the address.
        known = self._addresses.setdefault(address, _Address(address))
        known.taken += 1
        self.taken += 1
        self._holders[holder] = known
        self.rest(holder)
        return None

    def rest(self, holder: Holder) -> None:
        """Have waited for the publisher since now: put a connection behind all others at rest.

        One without a place is no error.
        """
        address = self._holders.get(holder)
        if address is not None:
            for order in (self._resting, address.resting):
                order[holder] = None
                order.move_to_end(holder)

    def leave(self, holder: Holder) -> None:
        """Take a connection's place back. One without is no error."""
        address = self._holders.pop(holder, None)
        if address is None:
            return
        self._resting.pop(holder, None)
        address.resting.pop(holder, None)
        self.taken -= 1
        address.taken -= 1
        if not address.taken:
            del self._addresses[address.name]

    def _make_room(self, order: _Order) -> bool:
        """Have the one that rests longest give its place up; whether one has.

        Those that are busy are taken out of the order when they are met, not when they begin, for
        that would be work for each event. They come back by ``rest``.
        """
        while order:
            holder = next(iter(order))
            way = holder.give_way()
            if way is Way.GIVES:
                self.leave(holder)
                self._metrics.evicted_connections += 1
                return True
            if way is Way.STAYS:
                return False  # and so would all others, which rest since less
            self._resting.pop(holder, None)
            self._holders[holder].resting.pop(holder, None)
        return False
