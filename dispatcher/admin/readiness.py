"""Whether the dispatcher is ready, why not, and what is wrong although it is."""

from dataclasses import dataclass, field

from dispatcher.reporting.sessions import DELIVER_EFFECT, PUBLISH_EFFECT, SessionState, state_of
from dispatcher.stores.interface import EventStore


@dataclass(frozen=True, slots=True)
class Readiness:
    """What ``/readyz`` answers."""

    reasons: list[str] = field(default_factory=list)
    """Why it is not ready; empty when it is."""

    warnings: list[str] = field(default_factory=list)
    """What a person has to see to; to take the dispatcher out of its Service would not mend it."""

    @property
    def is_ready(self) -> bool:
        return not self.reasons


def readiness(store: EventStore, unread: list[str] | None, reports_error: str | None) -> Readiness:
    """How it is now.

    NATS Streaming has to be reachable once: who is not ready gets no requests, and a passing
    outage is told to publishers with 503, not hidden by taking all replicas away.

    Args:
        store: Has the connections.
        unread: Why channels that are wanted were never read; None if none were loaded yet.
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
