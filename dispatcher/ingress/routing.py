"""Which channel a Host header means: the routing table, replaced as a whole.

Building a table is pure. ``dispatcher.ingress.request_reader`` decides the answer to an unknown or
ambiguous host.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from dispatcher.runtime.fair_share import FairShares, PublishShare, never_busy
from dispatcher.runtime.metrics import ChannelMetrics
from natss.contract.channel_id import ChannelId
from natss.contract.names import normalise_host
from natss.contract.resources import Channel, Problem

MAX_HOST_BYTES = 300
"""A DNS name has at most 253 characters (RFC 1035, 2.3.4); a port and the root's dot may follow."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_CACHED_SPELLINGS = 4096


@dataclass(frozen=True, slots=True)
class Route:
    """Where the events for a host go."""

    channel: Channel
    subject: str
    metrics: ChannelMetrics
    lane: PublishShare


@dataclass(frozen=True, slots=True)
class HostConflict:
    """A host that more than one channel claims. Guessing would hand events to strangers."""

    host: str
    claimed_by: tuple[ChannelId, ...]

    def __str__(self) -> str:
        names = " and ".join(str(name) for name in self.claimed_by)
        return f"the host {self.host} is claimed by the channels {names}; only one may have it"


@dataclass(frozen=True, slots=True)
class UnknownHost:
    """A host that no channel has."""

    host: str

    def __str__(self) -> str:
        return f"no channel has the host {self.host}"


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """There is no table yet: whether a channel has the host is unknown."""


@dataclass(frozen=True, slots=True)
class InvalidHost:
    """A Host header that is not a host name (RFC 9110, 7.2)."""

    reason: str

    def __str__(self) -> str:
        return self.reason


Destination = Route | HostConflict | UnknownHost | NotLoaded | InvalidHost

ChannelMetricsOf = Callable[[ChannelId], ChannelMetrics]


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """The meaning of every known host, and the problems of some of them."""

    hosts: Mapping[str, Route | HostConflict]
    """By normalised host."""

    problems: tuple[Problem, ...] = ()
    """One for each channel and host in conflict."""

    @classmethod
    def build(
        cls,
        channels: Iterable[Channel],
        metrics_of: ChannelMetricsOf,
        lanes: FairShares | None = None,
    ) -> "RoutingTable":
        """Build a table; a host that two channels claim is refused for both, all others are served.

        Args:
            channels: The desired channels.
            metrics_of: Returns the metrics of a channel.
            lanes: The fair shares of the process; by default nothing is limited.
        """
        lanes = lanes or FairShares(never_busy)
        claims: dict[str, dict[ChannelId, Channel]] = {}
        routes: dict[ChannelId, Route] = {}
        for channel in channels:
            name = channel.name
            routes[name] = Route(channel, channel.subject, metrics_of(name), lanes.publishing(name))
            for host in channel.hosts:
                claims.setdefault(normalise_host(host), {})[channel.name] = channel
        hosts: dict[str, Route | HostConflict] = {}
        problems: list[Problem] = []
        for host, claimants in claims.items():
            if len(claimants) == 1:
                (name,) = claimants
                hosts[host] = routes[name]
            else:
                conflict = HostConflict(host, tuple(sorted(claimants)))
                hosts[host] = conflict
                problems += (_problem(conflict, name) for name in conflict.claimed_by)
        return cls(hosts, tuple(problems))


def _problem(conflict: HostConflict, name: ChannelId) -> Problem:
    others = " and ".join(str(other) for other in conflict.claimed_by if other != name)
    return Problem(
        resource=name.title,
        path="status.address.hostname",
        message=f"the host {conflict.host} is claimed by the channel {others} too; "
        "events for it are refused until only one channel has it",
    )


class Router:
    """The current routing table, asked for each request; None until the first is there."""

    __slots__ = ("_is_loaded", "_spellings", "_table")

    def __init__(self, table: RoutingTable | None = None) -> None:
        self._is_loaded = table is not None
        self._table = table or RoutingTable({})
        self._spellings: dict[bytes, Route | HostConflict] = {}

    @property
    def table(self) -> RoutingTable:
        return self._table

    def swap(self, table: RoutingTable) -> None:
        """Serve another table from the next request on."""
        self._table = table
        self._is_loaded = True
        self._spellings = {}

    def lookup(self, host: bytes) -> Destination:
        """Return what a Host header means, in any case, with or without port.

        Known spellings are cached, so that a host is normalised once and not for each request.
        Unknown ones are not: anybody can invent them.
        """
        known = self._spellings.get(host)
        return known if known is not None else self._look_up_new(host)

    def _look_up_new(self, host: bytes) -> Destination:
        if len(host) > MAX_HOST_BYTES:
            return InvalidHost(f"the Host header has {len(host)} bytes; no host name is that long")
        if not host:
            return InvalidHost("the Host header is empty; it must name the channel")
        if _HOST.fullmatch(host) is None:
            return InvalidHost("the Host header is not a host name with an optional port")
        name = normalise_host(host.decode("ascii"))
        found = self._table.hosts.get(name)
        if found is None:
            return UnknownHost(name) if self._is_loaded else NotLoaded()
        if len(self._spellings) >= _CACHED_SPELLINGS:
            self._spellings.clear()
        self._spellings[host] = found
        return found
