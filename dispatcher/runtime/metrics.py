"""What the dispatcher counts.

Counting is adding to plain numbers, so that it costs next to nothing on the way of an event.
``dispatcher.admin.exposition`` shows them to Prometheus.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import MappingProxyType

from natss.contract.channel_id import ChannelId
from natss.contract.labels import subscription_labels
from natss.contract.resources import ResourceName, Subscriber

BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0)
"""Upper bounds in seconds, from subscribers that answer at once to the default timeout of an
attempt. Each further bound is one more series for every channel and every subscription.
"""

_RESULTS = (
    "stored", "timeout", "unavailable", "overload", "channel_limit", "too_large", "refused",
    "error",
)  # fmt: skip
"""Shown as 0 from the first event on, so that the first of a kind counts as an increase."""

RESULTS_AT_REST = ("stored", "channel_limit")
"""Shown as 0 even before that: after a request for which NATS Streaming has no channel left there
may be no second one, and the first must raise an alert.
"""


class Histogram:
    """Counts durations by ``BUCKETS``.

    Attributes:
        counts: Durations that fall into each bucket and no lower one; the last has no bound. Empty
            before the first.
        total: Sum of all durations in seconds.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        if not self.counts:
            self.counts = [0] * (len(BUCKETS) + 1)
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class ChannelMetrics:
    """Outcomes of the events that were posted to one channel.

    Attributes:
        results: Answered requests by ``stored``, or by the reason why not.
        seconds: Time from the complete request to its answer.
        held_back: Seconds in which it was limited for the sake of others
        (``dispatcher.runtime.fair_share``).
    """

    __slots__ = ("held_back", "results", "seconds")

    def __init__(self) -> None:
        self.results = dict.fromkeys(_RESULTS, 0)
        self.seconds = Histogram()
        self.held_back = 0.0

    @property
    def is_used(self) -> bool:
        """Whether anything was posted to it."""
        return any(self.results.values())


def _none() -> int:
    return 0


class SubscriptionMetrics:
    """Outcomes of the events of one subscription.

    Attributes:
        attempts: POSTs to subscriber, reply and dead letter sink, by status or kind of error.
        seconds: Time from the beginning of an attempt to the end of its answer.
        settled: Finished events: delivered, dead lettered or put aside as poison.
        redelivered: Messages that NATS Streaming sent again.
        copies_dropped: Those of them that were under way already, or settled.
        deferred: Messages that are left to be sent again because there was no room for them.
        poison: Stored messages that are not events.
        dead_lettered: Events that the dead letter sink accepted.
        stuck: Whether its events do not get through (``dispatcher.reporting.verdicts``).
        replies: Replies that the reply address accepted.
        unusable_replies: Answers to accepted events that can never become a reply.
        pending: Returns the number of events received and not settled.
        labels: The subscription, by the names that metrics and logs share.
    """

    __slots__ = (
        "attempts",
        "copies_dropped",
        "dead_lettered",
        "deferred",
        "labels",
        "pending",
        "poison",
        "redelivered",
        "replies",
        "seconds",
        "settled",
        "stuck",
        "unusable_replies",
    )

    def __init__(self, labels: Mapping[str, str] = MappingProxyType({})) -> None:
        self.labels = labels
        self.attempts: dict[str, int] = {}
        self.seconds = Histogram()
        self.settled = 0
        self.redelivered = 0
        self.copies_dropped = 0
        self.deferred = 0
        self.poison = 0
        self.dead_lettered = 0
        self.stuck = False
        self.replies = 0
        self.unusable_replies = 0
        self.pending: Callable[[], int] = _none

    @property
    def is_used(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.attempts or self.settled or self.redelivered or self.deferred)

    def attempt(self, code: str, seconds: float) -> None:
        """Count one attempt by its status, or by the kind of error if there was no answer."""
        attempts = self.attempts
        attempts[code] = attempts.get(code, 0) + 1
        self.seconds.observe(seconds)


class _Shared:
    """Metrics of a subscription, and how many users have asked for them and not forgotten them."""

    __slots__ = ("holders", "metrics")

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.metrics = SubscriptionMetrics(labels)
        self.holders = 0


class Metrics:
    """Everything that the process counts.

    Attributes:
        session_losses: NATS Streaming sessions that were lost.
        reconnects: NATS connections that were lost and came back with their session.
        unknown_hosts: Requests whose Host belongs to no channel.
        refused: Other requests that were refused before a channel was found, by status.
        evicted_connections: Connections of publishers closed to make room for new ones.
        connect_failures: Failed attempts to open a session, by role and reason. While a session
            outlives its connection, an attempt counts only if it fails for another reason.
    """

    def __init__(self) -> None:
        self.session_losses = 0
        self.reconnects = 0
        self.unknown_hosts = 0
        self.evicted_connections = 0
        self.refused: defaultdict[int, int] = defaultdict(int)
        self.connect_failures: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._connections = {"publish": False, "deliver": False}
        self._channels: dict[ChannelId, ChannelMetrics] = {}
        self._subscriptions: dict[tuple[ChannelId, ResourceName], _Shared] = {}

    def channel(self, name: ChannelId) -> ChannelMetrics:
        """Return the metrics of a channel, the same ones each time until they are forgotten."""
        found = self._channels.get(name)
        if found is None:
            found = self._channels[name] = ChannelMetrics()
        return found

    def count_held_back(self, name: ChannelId, seconds: float) -> None:
        """Count time in which a channel was limited. An unknown channel is no error."""
        found = self._channels.get(name)
        if found is not None:
            found.held_back += seconds

    def forget_channel(self, name: ChannelId) -> None:
        """Show a channel no longer. An unknown channel is no error."""
        self._channels.pop(name, None)

    def subscription(self, channel: ChannelId, subscriber: Subscriber) -> SubscriptionMetrics:
        """Return the metrics of a subscription, whatever its uid, so that a new uid continues them.

        They are shown until each call has been followed by one of ``forget_subscription``: a late
        removal does not take away the figures of the successor.
        """
        key = (channel, subscriber.ref)
        shared = self._subscriptions.get(key)
        if shared is None:
            labels = subscription_labels(channel, subscriber.ref)
            shared = self._subscriptions[key] = _Shared(labels)
        shared.holders += 1
        return shared.metrics

    def forget_subscription(self, channel: ChannelId, subscriber: Subscriber) -> None:
        """Take back one call of ``subscription``. An unknown subscription is no error."""
        key = (channel, subscriber.ref)
        shared = self._subscriptions.get(key)
        if shared is not None:
            shared.holders -= 1
            if shared.holders == 0:
                del self._subscriptions[key]

    def set_connection(self, role: str, *, up: bool) -> None:
        """Record whether the connection for ``publish`` or ``deliver`` is usable."""
        self._connections[role] = up

    def connections(self) -> dict[str, bool]:
        return dict(self._connections)

    def channels(self) -> list[tuple[ChannelId, ChannelMetrics]]:
        """Return the channels as they are now; later changes do not show."""
        return list(self._channels.items())

    def subscriptions(self) -> list[tuple[ChannelId, ResourceName, SubscriptionMetrics]]:
        """Return channel, subscription and metrics, as they are now."""
        return [
            (channel, ref, shared.metrics) for (channel, ref), shared in self._subscriptions.items()
        ]
