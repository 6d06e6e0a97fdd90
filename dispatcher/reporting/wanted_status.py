"""What ``status`` of a Channel should say of this dispatcher. Pure."""

from typing import Any

from contract.names import normalise_host
from dispatcher.channels import Channels, Route
from dispatcher.sources.channel_table import DISPATCHER, Entry


class WantedStatus:
    """What is to be written on a Channel.

    Args:
        routes: Say which hosts are served, and for which channels.
    """

    def __init__(self, routes: Channels) -> None:
        self._routes = routes

    def __call__(self, entry: Entry) -> dict[str, Any] | None:
        """The parts of ``status`` that differ from what they should be; None if none does.

        That a host is served is told by any replica, once, and never taken back: publishers take a
        channel that is not ready for gone, and an outage passes.
        """
        if entry.address in {None, entry.reported_host} or not self._serves(entry):
            return None
        return {DISPATCHER: {"host": entry.address}}

    def _serves(self, entry: Entry) -> bool:
        """Whether events for the address go to this channel and no other."""
        route = self._routes.table.hosts.get(normalise_host(entry.address or ""))
        return isinstance(route, Route) and route.channel.name == entry.name
