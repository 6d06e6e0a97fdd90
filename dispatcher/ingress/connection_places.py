"""Which publishers' connections have a place, and which one gives way to a new one.

It counts, and keeps the order in which they came to rest; it never touches a socket. A place
belongs to a ``dispatcher.ingress.connection``.
"""

import enum
from collections import OrderedDict
from typing import Protocol

from dispatcher.ingress import responses
from dispatcher.ingress.responses import Refusal
from dispatcher.runtime.metrics import Metrics


class Way(enum.Enum):
    """What a connection does when it is asked to give way."""

    GIVES = "gives"  # it closes
    STAYS = "stays"  # it has been at rest for a moment only
    BUSY = "busy"  # it is not at rest, and will report when it is again


class Holder(Protocol):
    """A connection that has a place, or had one."""

    def give_way(self) -> Way:
        """End, unless something other than the publisher is waited for."""


_Order = OrderedDict[Holder, None]


class _Address:
    """The connections of one address.

    Attributes:
        taken: How many of them have a place.
        resting: Those at rest, the one that has rested longest first.
    """

    __slots__ = ("name", "resting", "taken")

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken = 0
        self.resting: _Order = OrderedDict()


class ConnectionPlaces:
    """The places for connections, which are limited.

    Args:
        most: Limit for all addresses together.
        most_per_address: Limit for one address.
        metrics: Count the connections that gave way.

    Attributes:
        taken: How many connections have a place.
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
        """Give a place to a new connection, which is at rest, or return why there is none."""
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
        """Put a connection that waits for its publisher from now on behind all others at rest.

        A connection without a place is no error.
        """
        address = self._holders.get(holder)
        if address is not None:
            for order in (self._resting, address.resting):
                order[holder] = None
                order.move_to_end(holder)

    def leave(self, holder: Holder) -> None:
        """Take a connection's place back. A connection without a place is no error."""
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
        """Make the connection that has rested longest give way; return whether one did.

        Busy connections are taken out of the order when they are met, not when they become busy,
        which would be work for each event. ``rest`` puts them back.
        """
        while order:
            holder = next(iter(order))
            way = holder.give_way()
            if way is Way.GIVES:
                self.leave(holder)
                self._metrics.evicted_connections += 1
                return True
            if way is Way.STAYS:
                return False  # and so would all others, which have rested for less
            self._resting.pop(holder, None)
            self._holders[holder].resting.pop(holder, None)
        return False
