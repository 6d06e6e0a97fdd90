"""What all connections of the HTTP server share.

It does no I/O. ``dispatcher.ingress.connection`` has the connections, and
``dispatcher.ingress.server`` listens, ticks and stops.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from dispatcher.ingress.connection_places import ConnectionPlaces
from dispatcher.ingress.limits import IngressLimits
from dispatcher.ingress.request import largest_body
from dispatcher.ingress.responses import Responses
from dispatcher.ingress.routing import Router
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.interface import EventSink

log = structlog.get_logger(__name__)

_DRAIN_QUIET = 1.0
"""Seconds that idle connections stay open while the server stops. What a publisher sends over one
is taken, and the answer tells it not to use the connection again: a rolling update refuses nobody.
If the connection were closed under its request, a publisher would have to guess the outcome.
"""


class PublisherConnection(Protocol):
    """A connection as the clock sees it."""

    def check(self, now: float) -> None:
        """Apply the timeouts that have passed by ``now``."""

    def abort(self) -> None:
        """Close at once, whatever is under way."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the HTTP server works with."""

    channels: Router
    store: EventSink
    metrics: Metrics
    clock: Callable[[], float] = time.monotonic
    """In seconds; it never goes back."""


class IngressContext:
    """The state that all connections share.

    Attributes:
        now: The time of the last tick, on the clock of the services. What happens between two ticks
            counts from the second, so that no timeout ends early; requests need no clock and no
            timer of their own.
        step: Seconds between the last two ticks.
        places: The places for connections within the limits.
        max_body_bytes: Longer bodies are refused without being read.
        max_payload: That of the NATS server, while ``max_body_bytes`` follows from it; else None.
        closes_idle: Whether a connection without a request is to be closed, and a new one refused.
        is_draining: Whether each connection ends with the next answer.
        drained: Set when the last connection has gone while ``is_draining``.
    """

    __slots__ = (
        "_close_idle_at",
        "budget",
        "channels",
        "clock",
        "closes_idle",
        "connections",
        "drained",
        "is_draining",
        "limits",
        "max_body_bytes",
        "max_payload",
        "metrics",
        "not_stored",
        "now",
        "places",
        "publish",
        "responses",
        "step",
        "store",
        "tick_interval",
    )

    def __init__(self, services: Services, limits: IngressLimits) -> None:
        self.channels = services.channels
        self.store = services.store
        self.publish = services.store.publish
        self.not_stored = services.store.not_stored
        self.metrics = services.metrics
        self.clock = services.clock
        self.limits = limits
        self.budget = ByteBudget(limits.max_incoming_bytes)
        self.connections: set[PublisherConnection] = set()
        self.places = ConnectionPlaces(
            limits.max_connections, limits.max_connections_per_address, self.metrics
        )
        self.responses = Responses(time.time())
        self.now = self.clock()
        self.step = 0.0
        self.max_body_bytes = limits.max_body_bytes
        self.max_payload: int | None = None
        shortest = min(
            limits.header_timeout,
            limits.body_timeout,
            limits.keepalive_timeout,
            limits.answer_timeout,
        )
        self.tick_interval = min(0.5, shortest / 4)
        self.is_draining = False
        self.drained = asyncio.Event()
        self.closes_idle = False
        self._close_idle_at = float("inf")

    def tick(self) -> None:
        """Update date and limits and apply timeouts; call it every ``tick_interval`` seconds."""
        before, self.now = self.now, self.clock()
        self.step = self.now - before
        self.closes_idle = self.now >= self._close_idle_at
        self.responses.set_date(time.time())
        self._set_max_body()
        for connection in tuple(self.connections):
            try:
                connection.check(self.now)
            except Exception:  # a fault of one connection must not stop the timeouts of all others
                log.exception("connection failed and is closed")
                connection.abort()

    def _set_max_body(self) -> None:
        most = self.limits.max_body_bytes
        stored = self.store.max_event_bytes
        follows = stored is not None and largest_body(stored) < most
        self.max_payload = stored if follows else None
        self.max_body_bytes = most if stored is None else min(most, largest_body(stored))

    def start_draining(self, timeout: float) -> None:
        """Let each connection end with its next answer, or once it was idle for a moment.

        Args:
            timeout: Seconds after which the caller will close what is left.
        """
        self.is_draining = True
        self._close_idle_at = self.clock() + min(_DRAIN_QUIET, timeout / 2)
        if not self.connections:
            self.drained.set()

    def gone(self, connection: PublisherConnection) -> None:
        """Forget a connection that has closed for good."""
        self.connections.discard(connection)
        if self.is_draining and not self.connections:
            self.drained.set()
