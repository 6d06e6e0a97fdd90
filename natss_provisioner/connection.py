"""``Connected`` of the ClusterChannelProvisioner: the reports of all replicas of the dispatcher.

Pure. Each replica writes its own entry (``natss.contract.dispatchers``); only this program writes
conditions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from natss.contract.dispatchers import BELIEVED_FOR, DISPATCHERS
from natss.contract.fields import object_at
from natss_provisioner.conditions import CONNECTED, WARNING, Condition, Status

_LONGEST = 1000
"""The most characters of a message."""


@dataclass(frozen=True, slots=True)
class DispatcherConnection:
    """The result of all entries."""

    condition: Condition | None
    """None as long as no dispatcher has ever reported."""

    expired: frozenset[str] = frozenset()
    """Replicas that no longer report, while others do."""

    again_in: float | None = None
    """In seconds: when the next entry expires; None if none will."""


def connection(provisioner: Mapping[str, Any], now: str, where: str) -> DispatcherConnection:
    """Return what the replicas have reported.

    Args:
        provisioner: The ClusterChannelProvisioner.
        now: The time, such as ``2024-05-01T12:00:00Z``.
        where: The namespace of the dispatcher.
    """
    entries = {
        name: entry
        for name, entry in object_at(provisioner, "status", DISPATCHERS).items()
        if isinstance(entry, Mapping)
    }
    left = {name: _seconds_left(entry, now) for name, entry in entries.items()}
    fresh = {name: entries[name] for name in sorted(entries) if left[name] > 0}
    if not entries:
        return DispatcherConnection(None)
    if not fresh:
        message = (
            f"No dispatcher has told for {BELIEVED_FOR:g} s: look at the pods with the label"
            f" role=dispatcher in the namespace {where}"
        )
        return DispatcherConnection(_condition(Status.UNKNOWN, "NoDispatcher", message))
    again_in = min(left[name] for name in fresh) + 1.0
    expired = frozenset(entries.keys() - fresh.keys())
    cut = {name: entry for name, entry in fresh.items() if entry.get("connected") == "False"}
    if not cut:
        return DispatcherConnection(_condition(Status.TRUE), expired, again_in)
    message = "; ".join(f"{name}: {entry.get('message')}" for name, entry in cut.items())
    reason = str(next(iter(cut.values())).get("reason") or "NotConnected")
    return DispatcherConnection(
        _condition(Status.FALSE, reason, message[:_LONGEST]), expired, again_in
    )


def _condition(status: Status, reason: str = "", message: str = "") -> Condition:
    return Condition(CONNECTED, status, reason, message, severity=WARNING)


def _seconds_left(entry: Mapping[str, Any], now: str) -> float:
    """Return how long an entry is believed; the clocks of nodes may differ a little."""
    try:
        age = datetime.fromisoformat(now) - datetime.fromisoformat(entry["time"])
        return BELIEVED_FOR - max(0.0, age.total_seconds())
    except (LookupError, ValueError, TypeError):
        return 0.0
