"""Events that a connection reports to its owner, as they happen."""

import enum
from dataclasses import dataclass

from natss.nats_streaming.errors import ConnectError, NatsStreamingError
from natss.nats_streaming.subscription import Subscription


class ConnectionState(enum.Enum):
    OPEN = "open"
    DISCONNECTED = "disconnected"
    """NATS is away. The session is kept, publishes fail, acks are held; the client reconnects for
    ever.
    """
    RESTORING = "restoring"
    """NATS is back, or the server was restarted: the session is pinged, durables are opened again.
    Publishing works if the server does.
    """
    CLOSING = "closing"
    LOST = "lost"
    """The server does not know the session any more. Final."""
    CLOSED = "closed"
    """The owner closed the connection. Final."""

    @property
    def is_final(self) -> bool:
        return self is ConnectionState.LOST or self is ConnectionState.CLOSED


@dataclass(frozen=True, slots=True)
class StateChanged:
    old: ConnectionState
    new: ConnectionState
    reason: str


@dataclass(frozen=True, slots=True)
class NotRestored:
    """A durable could not be opened again; the client retries until it can or it is closed."""

    subscription: Subscription
    error: NatsStreamingError


@dataclass(frozen=True, slots=True)
class Restored:
    """A durable that NotRestored reported is open again."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class ConnectionProblem:
    """What NATS complains about, such as missing permissions, or why it cannot be reached."""

    text: str
    error: ConnectError | None = None
    """The error of a failed attempt to reach NATS again: its class tells what to do."""


ConnectionEvent = StateChanged | NotRestored | Restored | ConnectionProblem
