"""Bounds of the HTTP client: what one subscriber may take from the process.

Values only; the settings fill them. Times are in seconds, sizes in bytes.
"""

from dataclasses import dataclass

from dispatcher.egress.denied import METADATA, DeniedNetworks

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressLimits:
    """What subscribers may take."""

    max_connections_per_origin: int = 256
    """Connections to one scheme, host and port at once; further requests wait their turn. Four
    subscriptions of 64 events in flight go to one origin without waiting."""

    max_connections: int = 4096
    """Connections to all origins at once; idle ones are closed first to make room. One origin gets
    no more than are left for others. Each takes a file descriptor and a few KiB.
    """

    max_idle_per_origin: int = 64
    """Idle connections kept for one origin, the most recently used first. It is the default number
    of events in flight to one subscriber.
    """

    idle_timeout: float = 20.0
    """Seconds that a connection may idle before it is closed. Many servers close after 30 to 75 s,
    a few after less; closing first avoids requests that meet a closing connection.
    """

    max_age: float = 60.0
    """Seconds after which a connection is not used again, so that changed DNS records and new pods
    behind a Service are found."""

    connect_timeout: float = 5.0
    """Seconds for name resolution, TCP and TLS together; the timeout of the delivery applies too.
    """

    max_response_bytes: int = 1 * _MIB
    """The largest response body in bytes; more fails the attempt. It becomes the reply event, and
    1 MiB is what a NATS server takes by default."""

    denied_networks: DeniedNetworks = METADATA
    """Addresses that are never called, whoever asks; in a cluster loopback too, since there it is
    this pod, and no subscriber.
    """

    max_response_header_bytes: int = 64 * _KIB
    """Status line and headers of one response together, in bytes; more fails the attempt."""
