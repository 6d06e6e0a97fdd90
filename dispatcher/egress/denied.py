"""Addresses that are never called, whatever a subscriber's URI says.

Threat: whoever may write a Subscription chooses where the dispatcher posts to, and gets the answer
as a reply event. Without this mitigation, that includes answers of what only the dispatcher can
reach, such as the metadata service of a cloud or a server in its own pod. The address is checked
after name resolution, when a connection is opened, so DNS rebinding does not get around it.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from natss.process.kinds import listed

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ENDING_IN_IPV4 = tuple(
    map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
)
"""IPv6 addresses that lead to the IPv4 address in their last four bytes: mapped and the deprecated
compatible ones (RFC 4291, 2.5.5), and those of NAT64 (RFC 6052, 2.1; RFC 8215).
"""


@dataclass(frozen=True, slots=True)
class DeniedNetworks:
    """A set of networks; empty for none."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "DeniedNetworks":
        """Parse networks and addresses with commas between, as ``10.0.0.0/8,::1``, or ``none``.

        Raises:
            ValueError: with a text that begins with "must".
        """
        if text.strip().lower() == "none":
            return cls()
        parts = listed(text)
        if not parts:
            raise ValueError("must be none, or networks as 10.0.0.0/8,fd00::/8")
        try:
            return cls(tuple(map(ipaddress.ip_network, parts)))
        except ValueError as error:
            must = f"must be none, or networks as 10.0.0.0/8,fd00::/8 ({error})"
            raise ValueError(must) from None

    def __str__(self) -> str:
        return ",".join(map(_shown, self.networks)) or "none"

    def __add__(self, other: "DeniedNetworks") -> "DeniedNetworks":
        return DeniedNetworks(self.networks + other.networks)

    def covers(self, address: str) -> bool:
        """Return whether an IP address, without brackets, maybe with a scope, is in one of them.

        An IPv6 address that only stands for an IPv4 address is denied with that one.
        """
        parsed = ipaddress.ip_address(address)
        return any(each in network for each in _meanings(parsed) for network in self.networks)


def _shown(network: Network) -> str:
    one = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if one else str(network)


def _meanings(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _ENDING_IN_IPV4):
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour is not None:
            yield address.sixtofour


METADATA = DeniedNetworks.parse(
    "169.254.0.0/16,fe80::/10,fd00:ec2::254,100.100.100.200,192.0.0.192"
)
"""Link-local addresses, where clouds have their metadata services, and the addresses elsewhere of
AWS (IPv6), Alibaba and Oracle.
"""

LOOPBACK = DeniedNetworks.parse("127.0.0.0/8,::1,0.0.0.0,::")
"""This host itself; on Linux, connecting to one of the last two reaches it as well."""
