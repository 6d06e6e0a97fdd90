"""Reports when a session with NATS Streaming is lost, refused, restored or taken over.

It looks at a connection at intervals: what passes before it settles is left to the metrics.
"""

import enum

from dispatcher.reporting.occurrences import Occurrence, logged, news, warning
from dispatcher.stores.interface import ConnectionHealth, DeliveredElsewhere, LoginRefused

PUBLISH_EFFECT = "publishers are answered 503"
DELIVER_EFFECT = "no event is delivered"
"""What the loss of a session means for users."""

_SETTLE = 2.0
"""Seconds that a state of a session must last before it is reported."""


class SessionState(enum.Enum):
    """The state of a session, as reported."""

    NOT_TRIED = enum.auto()
    OPEN = enum.auto()
    STANDBY = enum.auto()  # another dispatcher delivers
    REFUSED = enum.auto()  # until a person changes something
    AWAY = enum.auto()


def state_of(link: ConnectionHealth) -> SessionState:
    """Return the present state of a connection."""
    failure = link.failure
    if link.is_open:
        return SessionState.OPEN
    if isinstance(failure, DeliveredElsewhere):
        return SessionState.STANDBY
    if failure is not None and not failure.retriable:
        return SessionState.REFUSED
    if failure is None and not link.was_open.is_set():
        return SessionState.NOT_TRIED
    return SessionState.AWAY


def reason_of(link: ConnectionHealth) -> str:
    """Return one word for programs that says why a connection is down or refused."""
    if state_of(link) is not SessionState.REFUSED:
        return "ConnectionLost"
    return "AuthenticationFailed" if isinstance(link.failure, LoginRefused) else "Refused"


class SessionWatch:
    """Follows one connection.

    Args:
        link: The connection that publishes or delivers.
        effect: What its loss means for users.
    """

    def __init__(self, link: ConnectionHealth, effect: str) -> None:
        self._link = link
        self._effect = effect
        self._told = SessionState.NOT_TRIED
        self._seen = SessionState.NOT_TRIED
        self._since = 0.0

    def look(self, now: float) -> Occurrence | None:
        """Return what is to be reported; ``now`` is in seconds of a clock that does not jump."""
        state = state_of(self._link)
        if state is not self._seen:
            self._seen, self._since = state, now
        if state is self._told or now - self._since < _SETTLE:
            return None
        before, self._told = self._told, state
        told = self._occurrence(before, state)
        return None if told is None else logged(told)  # the connection logged it at once

    def _occurrence(self, before: SessionState, state: SessionState) -> Occurrence | None:
        link = self._link
        trouble = f"{self._effect}: {link.last_error}"
        match state:
            case SessionState.REFUSED | SessionState.AWAY:
                return warning(None, reason_of(link), trouble)
            case SessionState.OPEN if before in {SessionState.AWAY, SessionState.REFUSED}:
                return news(None, "ConnectionRestored", f"NATS Streaming is back ({link.role})")
            case SessionState.OPEN if link.role == "deliver":
                return news(None, "Delivering", "it delivers the events of all channels now")
            case SessionState.STANDBY if before is SessionState.OPEN:
                return news(None, "StandingBy", "another dispatcher delivers now")
            case _:
                return None
