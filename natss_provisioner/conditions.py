"""Conditions in ``status``: what is true, why not, and since when.

Pure. Each condition has one writer, the function that creates it; ``Ready`` is derived from the
others. Types and reasons are those of Knative eventing v0.6 where it had them. Advice exists only
while there is something to report, and does not count for ``Ready``.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

READY = "Ready"
PROVISIONED = "Provisioned"
ADDRESSABLE = "Addressable"
PROVISIONER_INSTALLED = "ProvisionerInstalled"
RESOLVED = "Resolved"
CHANNEL_READY = "ChannelReady"
SPEC_ACCEPTED = "SpecAccepted"
"""Advice: whether everything in ``spec`` is used as it is written."""

DELIVERING = "Delivering"
"""Advice on a Subscription: whether its events get through, as the dispatcher reports."""

CONNECTED = "Connected"
"""Advice on the ClusterChannelProvisioner: whether all dispatchers reach NATS Streaming."""

_ADVICE = frozenset({SPEC_ACCEPTED, DELIVERING, CONNECTED})

WARNING = "Warning"
"""The severity of advice."""


class Status(enum.Enum):
    """The status of a condition as the API writes it."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; ``reason`` and ``message`` are empty where there is nothing to explain."""

    type: str
    status: Status
    reason: str = ""
    message: str = ""
    severity: str = ""
    """Empty for an error."""

    @property
    def is_true(self) -> bool:
        return self.status is Status.TRUE


def true(kind: str) -> Condition:
    return Condition(kind, Status.TRUE)


def false(kind: str, reason: str, message: str) -> Condition:
    return Condition(kind, Status.FALSE, reason, message)


def advice(kind: str, reason: str, message: str) -> Condition:
    """Return a false condition that does not make the object unready."""
    return Condition(kind, Status.FALSE, reason, message, severity=WARNING)


def with_ready(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """Return the conditions and ``Ready``, with the reason of the first one that is not true."""
    for condition in conditions:
        if not condition.is_true and not condition.severity:
            return (*conditions, false(READY, condition.reason, condition.message))
    return (*conditions, true(READY))


def written(previous: object, conditions: Sequence[Condition], now: str) -> list[dict[str, Any]]:
    """Return the list for ``status``.

    ``lastTransitionTime`` changes only when a status changes. Advice that is no longer given is
    removed; conditions of other writers stay as they are.

    Args:
        previous: ``status.conditions`` as it was read; may be anything.
        conditions: All conditions that this program writes on the object.
        now: The time, such as ``2024-05-01T12:00:00Z``.
    """
    before = _readable(previous)
    ours = _ADVICE.union(condition.type for condition in conditions)
    result = [dict(entry) for kind, entry in before.items() if kind not in ours]
    for condition in conditions:
        entry = {"type": condition.type, "status": condition.status.value}
        if condition.reason:
            entry["reason"] = condition.reason
        if condition.message:
            entry["message"] = condition.message
        if condition.severity:
            entry["severity"] = condition.severity
        old = before.get(condition.type, {})
        unchanged = old.get("status") == entry["status"] and old.get("lastTransitionTime")
        entry["lastTransitionTime"] = old["lastTransitionTime"] if unchanged else now
        result.append(entry)
    return sorted(result, key=lambda entry: str(entry["type"]))


def is_true(status: object, kind: str) -> bool:
    """Return whether a condition in a ``status`` that was read is true."""
    return bool(find(status, kind).get("status") == Status.TRUE.value)


def reason_of(status: object, kind: str) -> str:
    """Return the reason of a condition in a ``status`` that was read; empty if it has none."""
    return str(find(status, kind).get("reason") or "")


def seconds_since(status: object, kind: str, now: str) -> float | None:
    """Return how long a condition in a ``status`` that was read has had its status.

    Args:
        status: May be anything.
        kind: The type of the condition.
        now: The time, such as ``2024-05-01T12:00:00Z``.

    Returns:
        The seconds, or None if they are unknown.
    """
    try:
        last = datetime.fromisoformat(find(status, kind)["lastTransitionTime"])
        return (datetime.fromisoformat(now) - last).total_seconds()
    except (LookupError, ValueError, TypeError):
        return None


def find(status: object, kind: str) -> Mapping[str, Any]:
    """Return a condition in a ``status`` that was read; empty if it has none of that type."""
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    return _readable(conditions).get(kind, {})


def _readable(conditions: object) -> dict[str, Mapping[str, Any]]:
    if not isinstance(conditions, list):
        return {}
    return {
        entry["type"]: entry
        for entry in conditions
        if isinstance(entry, Mapping) and isinstance(entry.get("type"), str)
    }
