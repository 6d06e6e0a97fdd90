"""Conditions in ``status``: what is true, why not, and since when.

Pure. Each condition has one writer, the function that makes it; ``Ready`` is derived from the
others. Types and reasons are those of Knative eventing v0.6 where it had them. What is told as
advice is there only while there is something to tell, and does not count for ``Ready``.
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
"""Advice: whether everything in ``spec`` is taken as it is written."""

DELIVERING = "Delivering"
"""Advice, of a Subscription: whether its events get through, as the dispatcher has told."""

CONNECTED = "Connected"
"""Advice, of the ClusterChannelProvisioner: whether all dispatchers reach NATS Streaming."""

_ADVICE = frozenset({SPEC_ACCEPTED, DELIVERING, CONNECTED})

WARNING = "Warning"
"""The severity of advice."""


class Status(enum.Enum):
    """As the API writes it."""

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
    """A condition that is not true, which is no reason not to be ready."""
    return Condition(kind, Status.FALSE, reason, message, severity=WARNING)


def with_ready(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """The conditions and ``Ready``, which says why by the first that is not true."""
    for condition in conditions:
        if not condition.is_true and not condition.severity:
            return (*conditions, false(READY, condition.reason, condition.message))
    return (*conditions, true(READY))


def written(previous: object, conditions: Sequence[Condition], now: str) -> list[dict[str, Any]]:
    """The list as it goes into ``status``.

    ``lastTransitionTime`` moves only when a status changes. Advice that is not given any more is
    taken away; conditions of others stay as they are.

    Args:
        previous: ``status.conditions`` as it was read; may be anything.
        conditions: All that this program writes on the object.
        now: As ``2024-05-01T12:00:00Z``.
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
    """Whether a condition in a ``status`` that was read is true."""
    return bool(find(status, kind).get("status") == Status.TRUE.value)


def reason_of(status: object, kind: str) -> str:
    """The reason of a condition in a ``status`` that was read; empty if it has none."""
    return str(find(status, kind).get("reason") or "")


def seconds_since(status: object, kind: str, now: str) -> float | None:
    """How long a condition in a ``status`` that was read has been what it is.

    Args:
        status: May be anything.
        kind: The type of the condition.
        now: As ``2024-05-01T12:00:00Z``.

    Returns:
        None if that cannot be told.
    """
    try:
        last = datetime.fromisoformat(find(status, kind)["lastTransitionTime"])
        return (datetime.fromisoformat(now) - last).total_seconds()
    except (LookupError, ValueError, TypeError):
        return None


def find(status: object, kind: str) -> Mapping[str, Any]:
    """A condition in a ``status`` that was read; empty if it has none of that type."""
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
