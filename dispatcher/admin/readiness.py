"""Whether the dispatcher is ready, why it is not, and what else is wrong."""

from dataclasses import dataclass, field

from dispatcher.reporting.sessions import DELIVER_EFFECT, PUBLISH_EFFECT, SessionState, state_of
from dispatcher.stores.interface import EventStore


@dataclass(frozen=True, slots=True)
class Readiness:
    """What ``/readyz`` answers."""

    reasons: list[str] = field(default_factory=list)
    """Why it is not ready; empty when it is."""

    warnings: list[str] = field(default_factory=list)
    """What needs a person's attention; removing the dispatcher from its Service would not help."""

    @property
    def is_ready(self) -> bool:
        return not self.reasons


def readiness(store: EventStore, unread: list[str] | None, reports_error: str | None) -> Readiness:
    """Return how it is now.

    NATS Streaming must have been reachable once: a replica that is not ready gets no requests, and
    a passing outage is answered with 503 to publishers, not hidden by removing all replicas.

    Args:
        store: Has the connections.
        unread: Why desired channels were never read; None if none were loaded yet.
        reports_error: Why ``status`` of Channels cannot be written; None if it can.
    """
    reasons = ["the channels have not been loaded yet"] if unread is None else unread[:]
    warnings = []
    if not store.publishing.was_open.is_set():
        reasons.append(f"NATS Streaming was not reached yet: {store.publishing.last_error}")
    for link, effect in ((store.publishing, PUBLISH_EFFECT), (store.delivering, DELIVER_EFFECT)):
        if state_of(link) in {SessionState.AWAY, SessionState.REFUSED}:
            warnings.append(f"{effect}: {link.last_error}")
    if reports_error is not None:
        warnings.append(f"the status of channels cannot be written: {reports_error}")
    return Readiness(reasons, warnings)
