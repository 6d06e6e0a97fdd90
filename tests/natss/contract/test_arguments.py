"""``spec.arguments``: every argument, every refusal, and never an exception."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natss.contract.arguments import ARGUMENTS, parse_arguments
from natss.contract.resources import (
    BackoffPolicy,
    Defaults,
    DeliveryPolicy,
    Order,
    Problem,
    Start,
    StartKind,
)

drawn = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The same values each time, however busy the machine."""

DEFAULT = DeliveryPolicy()


def parse(
    arguments: object, policy: DeliveryPolicy = DEFAULT
) -> tuple[DeliveryPolicy, tuple[Problem, ...]]:
    return parse_arguments(arguments, "Channel shop/orders", "shop", Defaults(policy=policy))


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        (None, DEFAULT),
        ({}, DEFAULT),
        ({"retry": None}, DEFAULT),
        ({"ackWait": "PT2M"}, replace(DEFAULT, ack_wait=120)),
        ({"ackWait": "2m"}, replace(DEFAULT, ack_wait=120)),
        ({"ackWait": 120}, replace(DEFAULT, ack_wait=120)),
        ({"maxInflight": 1}, replace(DEFAULT, max_inflight=1)),
        ({"maxInflight": 10_000}, replace(DEFAULT, max_inflight=10_000)),
        ({"timeout": "PT0.5S"}, replace(DEFAULT, timeout=0.5)),
        ({"timeout": "2m", "ackWait": "5m"}, replace(DEFAULT, timeout=120, ack_wait=300)),
        ({"retry": 0}, replace(DEFAULT, retry=0)),
        ({"backoffDelay": "PT0S"}, replace(DEFAULT, backoff_delay=0)),
        ({"backoffDelay": "250ms"}, replace(DEFAULT, backoff_delay=0.25)),
        ({"backoffPolicy": "linear"}, replace(DEFAULT, backoff_policy=BackoffPolicy.LINEAR)),
        ({"backoffPolicy": "exponential"}, DEFAULT),
        (
            {"deadLetterURI": "dead-letters"},
            replace(DEFAULT, dead_letter_uri="http://dead-letters.shop.svc.cluster.local/"),
        ),
        (
            {"deadLetterURI": "https://x.y/z", "maxRedeliveries": 3},
            replace(DEFAULT, dead_letter_uri="https://x.y/z", max_redeliveries=3),
        ),
        ({"order": "channel"}, replace(DEFAULT, order=Order.CHANNEL)),
        ({"order": "none"}, DEFAULT),
    ],
)
def test_good_arguments(arguments: object, policy: DeliveryPolicy) -> None:
    assert parse(arguments) == (policy, ())


TIME = datetime(2024, 5, 1, 12, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("start", "kind", "value"),
    [
        ("new", StartKind.NEW, 0),
        ("first", StartKind.FIRST, 0),
        ("last", StartKind.LAST, 0),
        (1042, StartKind.SEQUENCE, 1042),
        ("1042", StartKind.SEQUENCE, 1042),
        (2**64 - 1, StartKind.SEQUENCE, 2**64 - 1),
        ("2024-05-01T12:30:00Z", StartKind.TIME, TIME),
        ("2024-05-01t12:30:00z", StartKind.TIME, TIME),
        ("2024-05-01T14:30:00+02:00", StartKind.TIME, TIME),
        ("2024-05-01T12:30:00.250Z", StartKind.TIME, TIME + 0.25),
        ("2024-05-01T12:30:00.123456789Z", StartKind.TIME, pytest.approx(TIME + 0.123456789)),
        ("1h ago", StartKind.AGO, 3600),
        ("PT1H ago", StartKind.AGO, 3600),
        ("1m30s  ago", StartKind.AGO, 90),
    ],
)
def test_start(start: object, kind: StartKind, value: float) -> None:
    policy, problems = parse({"start": start})
    assert (policy.start.kind, policy.start.value) == (kind, value)
    assert problems == ()


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("1h", 'did you mean "1h ago"?'),
        ("PT1H", 'did you mean "PT1H ago"?'),
        ("newest", 'did you mean "new"?'),
        ("90 ago", 'must say its unit, as "90s ago"'),
        ("soon ago", "must be a duration"),
        ("2024-05-01", "needs a date, the seconds and Z or an offset"),
        ("2024-05-01T12:30:00", "needs a date, the seconds and Z or an offset"),
        ("2024-02-30T12:30:00Z", "must be a time that exists"),
        ("2024-05-01T24:30:00Z", "must be a time that exists"),
        ("0001-01-01T00:00:00+23:59", "must be a time from 1970 to 2241"),
        ("9999-12-31T23:59:59Z", "must be a time from 1970 to 2241"),
        (0, "must be a sequence of at least 1"),
        (-5, "must be a sequence of at least 1"),
        (2**64, "must be a sequence of at least 1"),
        (1.5, "must be new, first, last"),
        (True, "must be new, first, last"),
        (["first"], "a list; must be new, first, last"),
        ("", "must be new, first, last"),
    ],
)
def test_wrong_start(start: object, says: str) -> None:
    policy, (problem,) = parse({"start": start})
    assert policy == replace(DEFAULT, start=Start(StartKind.FIRST)), "nothing is missed"
    assert problem.path == "spec.arguments.start"
    assert says in problem.message
    assert problem.consequence == "first is used instead"
    assert problem.refused


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ackWait", "1.5s", "the text '1.5s'; must be whole seconds, at least 1, as PT30S; 1m is"),
        ("ackWait", 0, "the number 0; must be whole seconds, at least 1, as PT30S; 1m is used"),
        ("ackWait", "soon", "the text 'soon'; must be a duration such as PT30S, 30s or 30"),
        ("ackWait", True, "true; must be a duration such as"),
        ("timeout", 0, "the number 0; must be longer than 0; 30s is used instead"),
        ("timeout", "P1M", "a minute is PT1M; 30s is used instead"),
        ("maxInflight", 0, "the number 0; must be a whole number from 1 to 10000; 64 is used"),
        ("maxInflight", 10_001, "must be a whole number from 1 to 10000; 64 is used instead"),
        ("maxInflight", 1.5, "the number 1.5; must be a whole number from 1 to 10000; 64 is used"),
        ("maxInflight", False, "false; must be a whole number from 1 to 10000"),
        ("maxInflight", "64", "the text '64'; must be a whole number from 1 to 10000, without quo"),
        ("retry", -1, "the number -1; must be a whole number from 0 to 1000; 4 is used instead"),
        ("retry", 10**300, "a very large number; must be a whole number from 0 to 1000; 4 is"),
        ("backoffDelay", "-1s", "the text '-1s'; must not be negative; 500ms is used instead"),
        ("backoffDelay", float("nan"), "the number nan; must be a finite duration"),
        ("backoffPolicy", "Linear", "the text 'Linear'; must be linear or exponential; exponent"),
        ("backoffPolicy", ["linear"], "a list; must be linear or exponential; exponential is"),
        ("maxRedeliveries", "often", "the text 'often'; must be a whole number from 0 to 1000000"),
        ("deadLetterURI", {"ref": {}}, "an object; must be a URI such as http://dead-letters.def"),
        ("deadLetterURI", "ftp://a.b/", "must begin with http:// or https://, not ftp://; none is"),
        ("order", "strict", "the text 'strict'; must be none or channel; channel is used instead"),
        ("order", 1, "the number 1; must be none or channel; channel is used instead"),
    ],
)
def test_a_wrong_value_is_told_and_its_default_holds(key: str, value: object, message: str) -> None:
    policy, (problem,) = parse({key: value, "retry" if key != "retry" else "maxInflight": 7})
    default = Order.CHANNEL if key == "order" else getattr(DEFAULT, ARGUMENTS[key].field)
    assert getattr(policy, ARGUMENTS[key].field) == default
    assert 7 in {policy.retry, policy.max_inflight}, "the other argument holds"
    assert problem.resource == "Channel shop/orders"
    assert problem.path == f"spec.arguments.{key}"
    assert message in f"{problem.message}; {problem.consequence}"
    assert problem.refused


FORMER = DeliveryPolicy(
    ack_wait=90,
    max_inflight=7,
    timeout=3.0,
    retry=9,
    backoff_delay=2.0,
    backoff_policy=BackoffPolicy.LINEAR,
    max_redeliveries=5,
    dead_letter_uri="http://dead.shop/",
    start=Start(StartKind.SEQUENCE, 1042),
    order=Order.NONE,
)


@pytest.mark.parametrize("key", ARGUMENTS)
def test_for_a_wrong_value_holds_what_held_before(key: str) -> None:
    policy, (problem,) = parse_arguments(
        {key: ["?"]}, "Channel shop/orders", "shop", Defaults(), FORMER
    )
    argument = ARGUMENTS[key]
    former = getattr(FORMER, argument.field)
    changed: dict[str, Any] = {argument.field: former}
    assert policy == replace(DEFAULT, **changed)
    assert problem.consequence == f"{argument.show(former)} is used instead"


def test_what_held_before_does_not_hold_where_nothing_is_wrong() -> None:
    assert parse_arguments({"retry": 1}, "C", "shop", Defaults(), FORMER) == (
        replace(DEFAULT, retry=1),
        (),
    )


def test_arguments_that_are_no_object_change_nothing() -> None:
    policy, (problem,) = parse_arguments("retry: 3", "C", "shop", Defaults(), FORMER)
    assert policy == FORMER
    assert problem.refused


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("maxInFlight", 'unknown, ignored (did you mean "maxInflight"?)'),
        ("retries", 'unknown, ignored (did you mean "retry"?)'),
        ("deadLetterUri", 'unknown, ignored (did you mean "deadLetterURI"?)'),
        ("color", "unknown, ignored; known are ackWait, maxInflight, timeout, retry"),
        (5, "unknown, ignored; known are"),
        ("\ud800", "unknown, ignored; known are"),
    ],
)
def test_an_unknown_key_is_told_and_ignored(key: object, says: str) -> None:
    policy, (problem,) = parse({key: 1})
    assert policy == DEFAULT
    assert problem.message.startswith(says)
    assert not problem.refused
    problem.message.encode()
    problem.path.encode()


@pytest.mark.parametrize("arguments", [5, "retry: 3", ["retry"], True, 1.5])
def test_arguments_that_are_no_object(arguments: object) -> None:
    policy, (problem,) = parse(arguments)
    assert policy == DEFAULT
    assert problem.path == "spec.arguments"
    assert problem.message.endswith("must be an object")
    assert problem.consequence == "what held before, or else the defaults, are used instead"


def test_a_timeout_that_is_not_shorter_than_ack_wait_is_told() -> None:
    policy, (problem,) = parse({"timeout": "2m"})
    assert policy.timeout == 30
    assert problem.path == "spec.arguments.timeout"
    assert problem.message.startswith("2m; must be shorter than ackWait (1m)")
    assert problem.consequence == "30s is used instead"


def test_the_default_timeout_gives_way_to_a_short_ack_wait_silently() -> None:
    assert parse({"ackWait": "5s"}) == (replace(DEFAULT, ack_wait=5, timeout=2.5), ())


def test_a_wrong_timeout_beside_a_short_ack_wait_still_fits() -> None:
    policy, (problem,) = parse({"ackWait": "5s", "timeout": "5s"})
    assert (policy.ack_wait, policy.timeout) == (5, 2.5)
    assert problem.consequence == "2.5s is used instead"


def test_redeliveries_need_a_dead_letter_sink() -> None:
    _, (problem,) = parse({"maxRedeliveries": 3})
    assert problem.path == "spec.arguments.maxRedeliveries"
    assert "has no effect without deadLetterURI" in problem.message


def test_redeliveries_may_use_the_sink_of_the_process() -> None:
    process = replace(DEFAULT, dead_letter_uri="http://a.b/")
    assert parse({"maxRedeliveries": 3}, process) == (replace(process, max_redeliveries=3), ())


def test_defaults_are_those_of_the_process() -> None:
    process = replace(DEFAULT, retry=9, start=Start(StartKind.FIRST))
    policy, (problem,) = parse({"start": "x", "backoffDelay": 1}, process)
    assert policy == replace(process, backoff_delay=1)
    assert problem.consequence == "first is used instead"


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://user:secret@host/",
        "user:secret@host:99999/",
        "ftp://host/?token=secret",
        "host:99999/?token='secret",
        "http://host/?token=se cret",
    ],
)
def test_a_secret_is_not_shown(uri: str) -> None:
    _, (problem,) = parse({"deadLetterURI": uri})
    assert "cret" not in str(problem)


def test_the_query_of_what_is_used_instead_is_not_shown() -> None:
    former, _ = parse({"deadLetterURI": "http://host/?token=secret"})
    _, (problem,) = parse_arguments(
        {"deadLetterURI": "ftp://x/"}, "Channel shop/orders", "shop", Defaults(), former
    )
    assert "http://host/?*** is used instead" in str(problem)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@drawn
@given(JSON | st.dictionaries(st.sampled_from([*ARGUMENTS, "retires"]), JSON))
def test_no_value_raises_and_the_policy_is_always_usable(arguments: object) -> None:
    policy, problems = parse(arguments)
    assert 0 < policy.timeout < policy.ack_wait
    assert policy.max_inflight >= 1
    assert min(policy.retry, policy.max_redeliveries, policy.backoff_delay) >= 0
    for problem in problems:
        assert len(str(problem)) < 500
        str(problem).encode()
