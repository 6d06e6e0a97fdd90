"""Tells of events that were refused or put aside, by what was counted since the last look.

Each kind is told once in a while for a channel or subscription; how often it happens is for the
metrics to say.
"""

from collections.abc import Iterator

from contract.resources import ResourceName
from dispatcher.metrics import Metrics
from dispatcher.reporting.occurrences import Tell, warning
from dispatcher.reporting.verdicts import CHANNEL_LIMIT

_QUIET = 600.0
"""Seconds until the same is told again."""

_MESSAGES = {
    "ChannelLimitReached": f"Publishers are answered 503: {CHANNEL_LIMIT}",
    "DeadLettered": "Subscription {}: events that could not be delivered went to the dead letter"
    " sink",
    "Unreadable": "Subscription {}: stored messages that are no events were put aside; their"
    " sequences are in the dispatcher's log",
}

_Kind = tuple[ResourceName, ResourceName | None, str]
"""Channel, Subscription and reason."""


class Losses:
    """Compares counts.

    Args:
        metrics: What is counted, from 0 when the process starts.
        tell: Gets what has happened.
    """

    def __init__(self, metrics: Metrics, tell: Tell) -> None:
        self._metrics = metrics
        self._tell = tell
        self._counts: dict[_Kind, int] = {}
        self._told_at: dict[_Kind, float] = {}

    def look(self, now: float) -> None:
        """Tell what was counted since the last look; ``now`` in seconds of a steady clock."""
        self._told_at = {kind: at for kind, at in self._told_at.items() if now - at < _QUIET}
        counts = dict(self._counted())
        for kind, count in counts.items():
            if count > self._counts.get(kind, 0) and kind not in self._told_at:
                self._told_at[kind] = now
                channel, ref, reason = kind
                self._tell(warning(channel, reason, _MESSAGES[reason].format(ref)))
        self._counts = counts

    def _counted(self) -> Iterator[tuple[_Kind, int]]:
        for name, channel in self._metrics.channels():
            if count := channel.results.get("channel_limit"):
                yield (name, None, "ChannelLimitReached"), count
        for name, ref, subscription in self._metrics.subscriptions():
            if subscription.dead_lettered:
                yield (name, ref, "DeadLettered"), subscription.dead_lettered
            if subscription.poison:
                yield (name, ref, "Unreadable"), subscription.poison
