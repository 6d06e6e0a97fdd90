"""Reports events that were refused or put aside, from the counts since the last look.

Each kind is reported at intervals for a channel or subscription; the metrics say how often it
happens.
"""

from collections.abc import Callable, Iterator

from dispatcher.reporting.occurrences import Tell, about, logged, warning
from dispatcher.reporting.verdicts import CHANNEL_LIMIT
from dispatcher.runtime.metrics import Metrics
from natss.contract.channel_id import ChannelId
from natss.contract.resources import ResourceName, Subscriber

_QUIET = 600.0
"""Seconds until the same is reported again."""

_MESSAGES = {
    "ChannelLimitReached": f"Publishers are answered 503: {CHANNEL_LIMIT}",
    "DeadLettered": "events that could not be delivered went to the dead letter sink",
    "Unreadable": "stored messages that are no events were put aside; their sequences are in the"
    " dispatcher's log",
}

_LOGGED = frozenset({"Unreadable"})
"""Each of these messages has a line of its own."""

Of = Callable[[ChannelId, ResourceName], Subscriber]
"""Returns the subscriber by Channel and Subscription."""

_Kind = tuple[ChannelId, ResourceName | None, str]
"""Channel, Subscription and reason."""


class Losses:
    """Compares counts.

    Args:
        metrics: The counts, from 0 when the process starts.
        tell: Receives what has happened.
        subscriber: Returns the subscriber that a Subscription stands for now.
    """

    def __init__(self, metrics: Metrics, tell: Tell, subscriber: Of) -> None:
        self._metrics = metrics
        self._subscriber = subscriber
        self._tell = tell
        self._counts: dict[_Kind, int] = {}
        self._told_at: dict[_Kind, float] = {}

    def look(self, now: float) -> None:
        """Report what was counted since the last look; ``now`` in seconds of a steady clock."""
        self._told_at = {kind: at for kind, at in self._told_at.items() if now - at < _QUIET}
        counts = dict(self._counted())
        for kind, count in counts.items():
            if count > self._counts.get(kind, 0) and kind not in self._told_at:
                self._told_at[kind] = now
                channel, ref, reason = kind
                told = warning(channel, reason, _MESSAGES[reason])
                if ref is not None:
                    told = about(self._subscriber(channel, ref), told)
                self._tell(logged(told) if reason in _LOGGED else told)
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
