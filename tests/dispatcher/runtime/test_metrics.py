"""Counting, the text that Prometheus gets, and its documentation."""

import gc
import re
import time
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.admin.exposition import FAMILIES, Exposition
from dispatcher.runtime.metrics import BUCKETS, RESULTS_AT_REST, Histogram, Metrics
from natss.contract.resources import ResourceName, Subscriber
from tests.support.channel_ids import channel_id
from tests.support.other_kind import other_id
from tests.support.repository import ROOT

_DOCUMENT = (ROOT / "docs" / "metrics.md").read_text("utf-8")

ORDERS = channel_id("default", "orders")
MAIL = Subscriber(ResourceName("default", "mail"), "uid-1")
BILLS = Subscriber(ResourceName("default", "bills"), "uid-2")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _text(metrics: Metrics) -> str:
    return b"".join(Exposition(metrics).parts()).decode("utf-8")


def _samples(metrics: Metrics) -> Samples:
    """Return what Prometheus's own parser reads; each series once."""
    samples: Samples = {}
    for family in text_string_to_metric_families(_text(metrics)):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    return samples


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return _samples(metrics).get((name, frozenset(labels.items())))


# --- counting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "index"),
    [
        (0, 0), (0.001, 0), (0.0011, 1), (0.005, 1), (0.3, 5), (30, len(BUCKETS) - 1),
        (30.1, len(BUCKETS)), (1e9, len(BUCKETS)),
    ],
)  # fmt: skip
def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_pass(
    seconds: float, index: int
) -> None:
    histogram = Histogram()
    histogram.observe(seconds)
    assert [i for i, count in enumerate(histogram.counts) if count] == [index]
    assert histogram.total == seconds


def test_a_channel_that_is_held_back_shows_for_how_long() -> None:
    metrics = Metrics()
    bills = channel_id("default", "bills")
    for name in (ORDERS, bills):
        metrics.channel(name)
    metrics.count_held_back(ORDERS, 0.0625)
    metrics.count_held_back(ORDERS, 1.5)
    metrics.count_held_back(channel_id("default", "gone"), 1.0)
    held_back = "natss_channel_held_back_seconds_total"
    told = {labels: value for (of, labels), value in _samples(metrics).items() if of == held_back}
    assert told == {frozenset({("namespace", "default"), ("channel", "orders")}): 1.562}
    metrics.forget_channel(ORDERS)
    assert held_back + "{" not in _text(metrics)


def test_a_channel_keeps_its_metrics_until_it_is_forgotten() -> None:
    metrics = Metrics()
    first = metrics.channel(ORDERS)
    first.results["stored"] += 1
    assert metrics.channel(ORDERS) is first
    metrics.forget_channel(ORDERS)
    metrics.forget_channel(ORDERS)
    assert "orders" not in _text(metrics)
    assert metrics.channel(ORDERS).results["stored"] == 0


def test_a_subscription_goes_on_counting_under_another_uid() -> None:
    metrics = Metrics()
    metrics.subscription(ORDERS, MAIL).settled += 1
    again = metrics.subscription(ORDERS, Subscriber(MAIL.ref, "another"))
    again.settled += 1
    metrics.forget_subscription(ORDERS, MAIL)  # the old one is removed when the new one is there
    labels = {"namespace": "default", "channel": "orders", "subscription": "default/mail"}
    assert _value(metrics, "natss_subscription_settled_events_total", **labels) == 2
    metrics.forget_subscription(ORDERS, MAIL)
    metrics.forget_subscription(ORDERS, MAIL)
    assert "mail" not in _text(metrics)


def test_two_kinds_of_channels_of_one_name_are_counted_apart() -> None:
    """Two series with the same labels would have Prometheus refuse all of them."""
    metrics = Metrics()
    other = other_id("default", "orders")
    metrics.channel(ORDERS).results["stored"] += 1
    metrics.channel(other).results["stored"] += 5
    metrics.subscription(ORDERS, MAIL).settled += 2
    metrics.subscription(other, MAIL).settled += 7
    lines = [line.rpartition(" ")[0] for line in _text(metrics).splitlines() if line[0] != "#"]
    assert len(set(lines)) == len(lines)
    labels = {"namespace": "default", "channel": "orders"}
    name = "natss_channel_events_total"
    assert _value(metrics, name, **labels, result="stored") == 1
    assert _value(metrics, name, **labels, kind="OtherChannel", result="stored") == 5
    name, labels["subscription"] = "natss_subscription_settled_events_total", "default/mail"
    assert _value(metrics, name, **labels) == 2
    assert _value(metrics, name, **labels, kind="OtherChannel") == 7
    metrics.forget_channel(other)
    metrics.forget_subscription(other, MAIL)
    assert "OtherChannel" not in _text(metrics)
    assert _value(metrics, name, **labels) == 2


# --- the text -------------------------------------------------------------------------------------


def test_figures_of_a_channel() -> None:
    metrics = Metrics()
    channel = metrics.channel(ORDERS)
    channel.results["stored"] += 3
    channel.results["of another kind"] = 1
    for seconds in (0.0005, 0.2, 0.2, 60):
        channel.seconds.observe(seconds)
    samples = _samples(metrics)
    labels = {("namespace", "default"), ("channel", "orders")}

    def value(name: str, *more: tuple[str, str]) -> float:
        return samples[name, frozenset(labels | set(more))]

    assert value("natss_channel_events_total", ("result", "stored")) == 3
    assert value("natss_channel_events_total", ("result", "of another kind")) == 1
    assert value("natss_channel_events_total", ("result", "channel_limit")) == 0
    name = "natss_channel_request_duration_seconds"
    below = [value(f"{name}_bucket", ("le", str(bound))) for bound in BUCKETS]
    assert below == [1, 1, 1, 1, 3, 3, 3, 3]
    assert value(f"{name}_bucket", ("le", "+Inf")) == value(f"{name}_count") == 4
    assert value(f"{name}_sum") == pytest.approx(60.4005)


def test_figures_of_a_subscription() -> None:
    metrics = Metrics()
    mail = metrics.subscription(ORDERS, MAIL)
    mail.attempt("202", 0.01)
    mail.attempt("202", 0.01)
    mail.attempt("timeout", 30)
    mail.pending = lambda: 7
    mail.settled, mail.redelivered, mail.copies_dropped, mail.deferred = 1, 2, 3, 4
    mail.poison, mail.dead_lettered, mail.replies = 5, 6, 8
    mail.stuck = True
    mail.unusable_replies = 9
    metrics.subscription(ORDERS, BILLS)
    labels = {("namespace", "default"), ("channel", "orders"), ("subscription", "default/mail")}
    prefix = "natss_subscription_"
    own = {
        (name.removeprefix(prefix), *sorted(set(of) - labels)): value
        for (name, of), value in _samples(metrics).items()
        if labels <= of and "_bucket" not in name
    }
    assert own == {
        ("attempts_total", ("code", "202")): 2,
        ("attempts_total", ("code", "timeout")): 1,
        ("attempt_duration_seconds_sum",): pytest.approx(30.02),
        ("attempt_duration_seconds_count",): 3,
        ("pending_events",): 7,
        ("stuck",): 1,
        ("settled_events_total",): 1,
        ("redelivered_messages_total",): 2,
        ("dropped_copies_total",): 3,
        ("deferred_messages_total",): 4,
        ("poison_messages_total",): 5,
        ("dead_lettered_events_total",): 6,
        ("replies_total",): 8,
        ("unusable_replies_total",): 9,
    }


def test_figures_of_the_dispatcher() -> None:
    metrics = Metrics()
    assert _value(metrics, "natss_connection_up", role="publish") == 0
    metrics.set_connection("publish", up=True)
    metrics.session_losses += 1
    metrics.reconnects += 2
    metrics.unknown_hosts += 3
    metrics.refused[431] += 4
    assert _value(metrics, "natss_connection_up", role="publish") == 1
    assert _value(metrics, "natss_connection_up", role="deliver") == 0
    assert _value(metrics, "natss_session_losses_total") == 1
    assert _value(metrics, "natss_reconnects_total") == 2
    assert _value(metrics, "natss_unknown_host_requests_total") == 3
    assert _value(metrics, "natss_refused_requests_total", status="431") == 4
    text = _text(metrics)
    assert re.search(
        r'^natss_build_info\{version="\d+\.\d+[^"]*",python="3\.[^"]*"\} 1$', text, re.MULTILINE
    )
    assert re.search(r"^process_resident_memory_bytes [0-9.e+]+$", text, re.MULTILINE)


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    odd = channel_id('a"b', "c\\d\ne}")
    metrics.channel(odd).results['r"'] = 1
    metrics.subscription(odd, Subscriber(ResourceName("x", 'y"'))).attempt('c"\n', 1)
    samples = _samples(metrics)
    found = {frozenset(labels) for name, labels in samples if name == "natss_channel_events_total"}
    assert {("namespace", 'a"b'), ("channel", "c\\d\ne}"), ("result", 'r"')} in found
    attempts = [dict(of) for name, of in samples if name == "natss_subscription_attempts_total"]
    assert attempts == [
        {"namespace": 'a"b', "channel": "c\\d\ne}", "subscription": 'x/y"', "code": 'c"\n'}
    ]


def test_each_metric_has_a_type_and_a_help_and_its_lines_together() -> None:
    metrics = Metrics()
    for number in range(250):
        channel = channel_id("default", f"c{number}")
        metrics.channel(channel)
        metrics.subscription(channel, MAIL).attempt("202", 0.1)
        metrics.refused[number] = 1
    text = _text(metrics)
    for family in FAMILIES:
        assert f"# HELP {family.name} {family.help}\n" in text
        assert f"# TYPE {family.name} {family.kind}\n" in text
        assert family.help.endswith(".")
        assert family.name.endswith("_total") == (family.kind == "counter")
    groups: list[str] = []
    for line in text.splitlines():
        name = line.split()[2] if line.startswith("#") else re.split(r"[{ ]", line)[0]
        name = re.sub(r"_(bucket|sum|count)$", "", name)
        if not groups or groups[-1] != name:
            groups.append(name)
    assert len(groups) == len(set(groups))


AT_REST = {
    "natss_channel_events_total",
    "natss_subscription_pending_events",
    "natss_subscription_stuck",
    "natss_subscription_settled_events_total",
    "natss_subscription_poison_messages_total",
    "natss_subscription_dead_lettered_events_total",
}
"""Metrics of channels and subscriptions that are there before anything was posted."""


def test_at_rest_there_are_only_series_that_somebody_may_wait_for() -> None:
    metrics = Metrics()
    metrics.channel(ORDERS)
    metrics.subscription(ORDERS, MAIL)
    samples = {
        (name, dict(labels).get("result")): value
        for (name, labels), value in _samples(metrics).items()
        if ("channel", "orders") in labels
    }
    assert set(samples.values()) == {0}
    assert {name for name, _ in samples} == AT_REST
    assert {result for _, result in samples} == {None, "stored", "channel_limit"}


def test_1000_channels_of_3_subscriptions_are_less_than_20000_series_at_rest() -> None:
    metrics = Metrics()
    for number in range(1000):
        channel = channel_id("default", f"channel-{number}")
        metrics.channel(channel)
        for index in range(3):
            metrics.subscription(
                channel, Subscriber(ResourceName("default", f"s-{number}-{index}"))
            )
    lines = [line for line in _text(metrics).splitlines() if not line.startswith("#")]
    assert len(lines) < 20_000


@pytest.mark.parametrize("result", ["stored", "timeout", "too_large"])
def test_the_second_kind_of_result_of_a_channel_begins_at_0(result: str) -> None:
    """Else the first of it would be no increase."""
    metrics = Metrics()
    metrics.channel(ORDERS).results[result] += 1
    shown = {
        dict(labels)["result"]: value
        for (name, labels), value in _samples(metrics).items()
        if name == "natss_channel_events_total"
    }
    assert len(shown) == 8
    assert shown.pop(result) == 1
    assert set(shown.values()) == {0}


@pytest.mark.parametrize("attribute", ["settled", "redelivered", "deferred"])
def test_all_counters_of_a_subscription_begin_with_its_first_event(attribute: str) -> None:
    metrics = Metrics()
    setattr(metrics.subscription(ORDERS, MAIL), attribute, 1)
    names = {
        name for name, labels in _samples(metrics) if ("subscription", "default/mail") in labels
    }
    counters = {of.name for of in FAMILIES if of.name.startswith("natss_subscription_")}
    histogram = {"natss_subscription_attempt_duration_seconds"}
    assert names == counters - histogram - {"natss_subscription_attempts_total"}


def test_a_subscription_is_in_all_of_a_scrape_or_in_nothing_of_it() -> None:
    metrics = Metrics()
    metrics.subscription(ORDERS, MAIL).settled = 1
    parts = Exposition(metrics).parts()
    text = b""
    while b"default/mail" not in text:
        text += next(parts)
    metrics.subscription(ORDERS, BILLS)
    metrics.forget_subscription(ORDERS, MAIL)
    text += b"".join(parts)
    assert b"bills" not in text
    assert b'natss_subscription_replies_total{namespace="default",channel="orders"' in text


def test_a_large_scrape_is_made_in_small_parts() -> None:
    metrics = Metrics()
    for number in range(1000):
        channel = channel_id("default", f"channel-{number}")
        metrics.channel(channel)
        for index in range(3):
            subscriber = Subscriber(ResourceName("default", f"sub-{number}-{index}"))
            metrics.subscription(channel, subscriber).attempt("202", 0.1)
    worst = 0.0
    size = 0
    gc.disable()  # it would walk through what all other tests have left
    before = time.thread_time()
    for part in Exposition(metrics).parts():
        now = time.thread_time()
        worst = max(worst, now - before)
        before = now
        size += len(part)
    gc.enable()
    assert size > 8_000_000
    assert worst < 0.1


# --- the documentation ----------------------------------------------------------------------------


def test_the_document_has_every_metric_as_it_is() -> None:
    row = r"^\| `(natss_\w+)` \| (\w+) \|([^|]*)\| (.*) \|$"
    rows = re.findall(row, _DOCUMENT, re.MULTILINE)
    documented = {
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)), text)
        for name, kind, labels, text in rows
    }
    assert len(rows) == len(documented)
    assert documented == {(of.name, of.kind, of.labels, of.help) for of in FAMILIES}


def test_the_document_explains_every_label() -> None:
    section = _DOCUMENT.partition("## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    explained = set(re.findall(r"`(\w+)`", "".join(cells)))
    assert explained | {"version", "python"} == {label for of in FAMILIES for label in of.labels}


def _alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load(_DOCUMENT.partition("```yaml")[2].partition("```")[0])
    alerts: list[dict[str, Any]] = rules["groups"][0]["rules"]
    return alerts


def test_no_alert_is_about_a_replica_that_stands_by_as_it_should() -> None:
    """One replica has the client id, so that of two one has no connection to deliver with."""
    of_connections = [each["expr"] for each in _alerts() if "connection_up" in each["expr"]]
    assert of_connections == ["max by (role) (natss_connection_up) == 0"]


def test_no_alert_waits_for_an_increase_that_nobody_sees() -> None:
    """Prometheus takes the first sample of a series for its beginning, however high it is.

    What happens once has to be there at 0; what is not there has to come again and again.
    """
    comes_again = {
        "natss_connect_failures_total",  # tried again within seconds
        "natss_channel_events_total",  # a share of all, for minutes
        "natss_subscription_redelivered_messages_total",  # the same
        "natss_subscription_attempt_duration_seconds_bucket",  # the same
        "natss_subscription_unusable_replies_total",  # by each answer of such a subscriber
    }
    for alert in _alerts():
        expression = alert["expr"]
        for name, labels in re.findall(r"(natss_\w+)(?:\{([^}]*)\})?", expression):
            if labels == 'result="channel_limit"':
                assert "channel_limit" in RESULTS_AT_REST
            elif name not in {"natss_connection_up", *AT_REST}:
                assert name in comes_again, alert["alert"]
            elif name == "natss_channel_events_total":
                assert alert["for"], alert["alert"]


def test_alerts_use_metrics_and_labels_that_exist() -> None:
    alerts = _alerts()
    assert len(alerts) >= 6
    names = {of.name for of in FAMILIES} | {
        of.name + "_bucket" for of in FAMILIES if of.kind == "histogram"
    }
    labels = {label for of in FAMILIES for label in of.labels} | {"le"}
    for alert in alerts:
        used = set(re.findall(r"natss_\w+", alert["expr"]))
        assert used
        assert used <= names
        for group in re.findall(r"by \(([^)]*)\)", alert["expr"]):
            assert set(group.split(", ")) <= labels
        shown = re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"])
        assert set(shown) <= labels
        assert alert["annotations"]["action"]
