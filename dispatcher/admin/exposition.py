"""The figures of ``dispatcher.runtime.metrics`` as text for Prometheus (format 0.0.4).

The text is made in small parts, so that a scrape of thousands of subscriptions does not hold up the
events. prometheus-client does not write it: that takes ten times as long, in one piece. Figures of
the process come from prometheus-client. ``docs/metrics.md`` explains each metric to operators.
"""

import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter
from typing import TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from dispatcher.runtime.metrics import (
    BUCKETS,
    RESULTS_AT_REST,
    ChannelMetrics,
    Histogram,
    Metrics,
    SubscriptionMetrics,
)
from dispatcher.version import VERSION
from natss.contract.labels import channel_labels, subscription_labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SERIES_AT_ONCE = 100
"""Channels or subscriptions in one part; even with histograms it takes less than a millisecond."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric as Prometheus knows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


_CHANNEL = ("namespace", "channel")
_SUBSCRIPTION = (*_CHANNEL, "subscription")


def _of_subscription(name: str, text: str) -> Family:
    return Family(f"natss_subscription_{name}", "counter", _SUBSCRIPTION, text)


_BUILD = Family("natss_build_info", "gauge", ("version", "python"), "Versions; always 1.")
_UP = Family(
    "natss_connection_up",
    "gauge",
    ("role",),
    "1 while the NATS Streaming connection of this role is usable, else 0.",
)
_CONNECT_FAILURES = Family(
    "natss_connect_failures_total",
    "counter",
    ("role", "reason"),
    "Failed attempts to open a NATS Streaming session.",
)
_LOSSES = Family(
    "natss_session_losses_total", "counter", (), "NATS Streaming sessions lost and opened anew."
)
_RECONNECTS = Family(
    "natss_reconnects_total", "counter", (), "NATS connections lost and back with their session."
)
_UNKNOWN = Family(
    "natss_unknown_host_requests_total", "counter", (), "Requests whose Host no channel has."
)
_REFUSED = Family(
    "natss_refused_requests_total",
    "counter",
    ("status",),
    "Other requests refused before a channel was found, by status of the answer.",
)
_EVICTED = Family(
    "natss_evicted_connections_total",
    "counter",
    (),
    "Connections of publishers, idle or stalled, closed to make room for new ones.",
)
_EVENTS = Family(
    "natss_channel_events_total",
    "counter",
    (*_CHANNEL, "result"),
    "Events posted to a channel: stored (answered 202), or why not.",
)
_REQUESTS = Family(
    "natss_channel_request_duration_seconds",
    "histogram",
    _CHANNEL,
    "Time from a complete request to its answer.",
)
_HELD_BACK = Family(
    "natss_channel_held_back_seconds_total",
    "counter",
    _CHANNEL,
    "Time in which the busiest channels had less under way at once so that others got through.",
)
_PENDING = Family(
    "natss_subscription_pending_events",
    "gauge",
    _SUBSCRIPTION,
    "Events received from NATS Streaming and not settled.",
)
_STUCK = Family(
    "natss_subscription_stuck",
    "gauge",
    _SUBSCRIPTION,
    "1 while events of the subscription do not get through, else 0; /status tells why.",
)
_ATTEMPTS = Family(
    "natss_subscription_attempts_total",
    "counter",
    (*_SUBSCRIPTION, "code"),
    "POSTs to subscriber, reply and dead letter sink, by status or kind of error.",
)
_DURATIONS = Family(
    "natss_subscription_attempt_duration_seconds",
    "histogram",
    _SUBSCRIPTION,
    "Time from the beginning of an attempt to the end of its answer.",
)
_COUNTERS = {
    "settled": _of_subscription(
        "settled_events_total",
        "Events done with: delivered, dead lettered or put aside as poison.",
    ),
    "redelivered": _of_subscription(
        "redelivered_messages_total", "Messages that NATS Streaming sent again."
    ),
    "copies_dropped": _of_subscription(
        "dropped_copies_total", "Redelivered messages that were on the way already, or settled."
    ),
    "deferred": _of_subscription(
        "deferred_messages_total",
        "Messages left to be sent again because there was no room for them.",
    ),
    "poison": _of_subscription("poison_messages_total", "Stored messages that are no event."),
    "dead_lettered": _of_subscription(
        "dead_lettered_events_total", "Events taken by the dead letter sink."
    ),
    "replies": _of_subscription("replies_total", "Replies taken by the reply address."),
    "unusable_replies": _of_subscription(
        "unusable_replies_total",
        "Answers that could never become a reply; their events are not sent again.",
    ),
}
"""Counters of a subscription by the attribute of ``SubscriptionMetrics``."""

_AT_REST = frozenset({"settled", "poison", "dead_lettered"})
"""Those that are shown as 0 while a subscription has nothing to show. Prometheus does not see the
first increase of a series that begins with it, and for these a single increase must raise an alert.
The others are shown from the first event on, since thousands of subscriptions have none for days.
"""

FAMILIES = (
    _BUILD, _UP, _CONNECT_FAILURES, _LOSSES, _RECONNECTS, _UNKNOWN, _REFUSED, _EVICTED, _EVENTS,
    _REQUESTS, _HELD_BACK, _PENDING, _STUCK, _ATTEMPTS, _DURATIONS, *_COUNTERS.values(),
)  # fmt: skip

_SPECIAL = re.compile(r'[\\"\n]')
_ESCAPES = {"\\": r"\\", "\n": r"\n", '"': r"\""}
_BOUNDS = [*(f'le="{bound}"' for bound in BUCKETS), 'le="+Inf"']

T = TypeVar("T")
Series = list[tuple[str, T]]
"""What is counted, by its labels as they are written."""


class Exposition:
    """Makes the text of a scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)

    def parts(self) -> Iterator[bytes]:
        """Yield the text in parts, each made when it is requested.

        Figures may change between two parts; the set of channels and subscriptions does not.
        """
        metrics = self._metrics
        yield generate_latest(self._process)
        yield "".join(_of_dispatcher(metrics)).encode("utf-8")
        yield from _of_channels(
            [(_named(channel_labels(channel)), of) for channel, of in metrics.channels()]
        )
        yield from _of_subscriptions(
            [
                (_named(subscription_labels(channel, ref)), of)
                for channel, ref, of in metrics.subscriptions()
            ]
        )


def _of_dispatcher(metrics: Metrics) -> Iterator[str]:
    yield _header(_BUILD)
    yield _line(_BUILD, _labels(_BUILD.labels, (VERSION, platform.python_version())), 1)
    yield _header(_UP)
    for role, up in metrics.connections().items():
        yield _line(_UP, _labels(_UP.labels, (role,)), int(up))
    yield _header(_CONNECT_FAILURES)
    for labels, number in sorted(metrics.connect_failures.items()):
        yield _line(_CONNECT_FAILURES, _labels(_CONNECT_FAILURES.labels, labels), number)
    yield _header(_REFUSED)
    for status, number in sorted(metrics.refused.items()):
        yield _line(_REFUSED, _labels(_REFUSED.labels, (str(status),)), number)
    for family, number in (
        (_LOSSES, metrics.session_losses),
        (_RECONNECTS, metrics.reconnects),
        (_UNKNOWN, metrics.unknown_hosts),
        (_EVICTED, metrics.evicted_connections),
    ):
        yield f"{_header(family)}{family.name} {number}\n"


def _of_channels(channels: Series[ChannelMetrics]) -> Iterator[bytes]:
    yield from _family(_EVENTS, channels, lambda labels, of: _by(_EVENTS, labels, _results(of)))
    yield from _family(_REQUESTS, channels, lambda labels, of: _of(_REQUESTS, labels, of.seconds))
    held_back = [(labels, of) for labels, of in channels if of.held_back]
    yield from _family(
        _HELD_BACK, held_back, lambda labels, of: _line(_HELD_BACK, labels, round(of.held_back, 3))
    )


def _results(of: ChannelMetrics) -> Mapping[str, int]:
    return of.results if of.is_used else dict.fromkeys(RESULTS_AT_REST, 0)


def _of_subscriptions(subscriptions: Series[SubscriptionMetrics]) -> Iterator[bytes]:
    yield from _family(
        _PENDING, subscriptions, lambda labels, of: _line(_PENDING, labels, of.pending())
    )
    yield from _family(
        _STUCK, subscriptions, lambda labels, of: _line(_STUCK, labels, int(of.stuck))
    )
    yield from _family(
        _ATTEMPTS, subscriptions, lambda labels, of: _by(_ATTEMPTS, labels, of.attempts)
    )
    yield from _family(
        _DURATIONS, subscriptions, lambda labels, of: _of(_DURATIONS, labels, of.seconds)
    )
    used = [(labels, of) for labels, of in subscriptions if of.is_used]
    for attribute, family in _COUNTERS.items():
        counted = subscriptions if attribute in _AT_REST else used
        yield from _family(family, counted, _attribute(family, attribute))


def _attribute(family: Family, name: str) -> Callable[[str, SubscriptionMetrics], str]:
    read: Callable[[SubscriptionMetrics], int] = attrgetter(name)
    return lambda labels, of: _line(family, labels, read(of))


def _family(family: Family, series: Series[T], text: Callable[[str, T], str]) -> Iterator[bytes]:
    yield _header(family).encode("utf-8")
    for start in range(0, len(series), _SERIES_AT_ONCE):
        some = series[start : start + _SERIES_AT_ONCE]
        yield "".join([text(labels, of) for labels, of in some]).encode("utf-8")


def _header(family: Family) -> str:
    return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"


def _line(family: Family, labels: str, number: float) -> str:
    return f"{family.name}{{{labels}}} {number}\n"


def _by(family: Family, labels: str, numbers: Mapping[str, int]) -> str:
    """Return a line for each value of the last label."""
    begin = f'{family.name}{{{labels},{family.labels[-1]}="'
    return "".join([f'{begin}{_escaped(value)}"}} {number}\n' for value, number in numbers.items()])


def _of(family: Family, labels: str, histogram: Histogram) -> str:
    """Return the lines of a histogram, whose buckets count what is in all lower ones too.

    There are none before anything was observed.
    """
    if not histogram.counts:
        return ""
    begin = f"{family.name}_bucket{{{labels},"
    counts = list(accumulate(histogram.counts))
    buckets = [f"{begin}{bound}}} {count}\n" for bound, count in zip(_BOUNDS, counts, strict=True)]
    return (
        f"{''.join(buckets)}{family.name}_sum{{{labels}}} {histogram.total}\n"
        f"{family.name}_count{{{labels}}} {counts[-1]}\n"
    )


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return _named(dict(zip(names, values, strict=True)))


def _named(labels: Mapping[str, str]) -> str:
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in labels.items()])


def _escaped(value: str) -> str:
    return _SPECIAL.sub(lambda special: _ESCAPES[special[0]], value)
