"""When a subscriber is told to be stuck, and what ``status`` of its Channel should say. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.durables.member import MemberKey
from dispatcher.ingress.routing import Router, RoutingTable
from dispatcher.reporting.losses import Losses
from dispatcher.reporting.occurrences import Occurrence
from dispatcher.reporting.sessions import SessionState, SessionWatch, state_of
from dispatcher.reporting.verdicts import (
    NOT_SERVED,
    READY,
    UNKNOWN,
    UNPROVEN,
    Facts,
    SubscriberVerdict,
    judge,
)
from dispatcher.reporting.wanted_status import WantedStatus
from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.interface import (
    DeliveredElsewhere,
    LoginRefused,
    StoreError,
    StoreUnavailable,
    TooManyChannels,
    TooManySubscriptions,
)
from natss.contract.resources import Defaults, ResourceName, Subscriber
from tests.support.channel_ids import channel_id

ORDERS = channel_id("shop", "orders")
MAIL = ResourceName("shop", "mail")
BILLS = ResourceName("shop", "bills")
PATIENCE = 60.0
NOW = 1_800_000_000.0
FULL = TooManyChannels("stan: too many channels")
STUCK = SubscriberVerdict(
    False, "SubscriberStuck", "no event has got through since then: status 500"
)


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(), ""),
        (Facts(waits=True, has_settled=True), ""),
        (Facts(has_target=False), "NoUsableURI"),
        (Facts(failing_for=60, waits=True), "SubscriberStuck"),
        (Facts(failed_event_for=60, waits=True, has_settled=True), "SubscriberStuck"),
        (Facts(is_open=False, refusal=FULL, refused_for=5), "ChannelLimitReached"),
        (
            Facts(is_open=False, refusal=TooManySubscriptions("no"), refused_for=5),
            "DurableRefused",
        ),
        (Facts(is_open=True, refusal="not open again", refused_for=9), "DurableRefused"),
    ],
)
def test_what_lasts_is_told(facts: Facts, reason: str) -> None:
    verdict = judge(facts, PATIENCE, NOW)
    assert verdict is not None
    assert (verdict.reason, verdict.is_bad) == (reason, bool(reason))


@pytest.mark.parametrize(
    "facts",
    [
        Facts(failing_for=4.9, waits=True),
        Facts(failing_for=59, waits=True, has_settled=True),
        Facts(failed_event_for=59, waits=True, has_settled=True),
        Facts(waits=True),  # its first event is on the way
        Facts(is_open=False),
        Facts(is_open=False, refusal=FULL, refused_for=4.9),
    ],
)
def test_what_may_pass_changes_no_verdict(facts: Facts) -> None:
    assert judge(facts, PATIENCE, NOW) is None


def test_a_subscriber_that_never_took_an_event_and_fails_is_not_called_ready() -> None:
    """It was called ready while nothing was there to be delivered."""
    facts = Facts(failing_for=5, waits=True)
    assert judge(facts, PATIENCE, NOW) is UNPROVEN
    assert judge(replace(facts, failing_for=60), PATIENCE, NOW) not in {UNPROVEN, None}
    assert judge(replace(facts, has_settled=True), PATIENCE, NOW) is None
    assert wanted({MAIL: UNPROVEN}, entry("m", "True"), uids="m") == [
        entry("m", "Unknown", UNPROVEN.message)
    ]
    stuck = entry("m", "False", "told by a former process")
    assert wanted({MAIL: UNPROVEN}, stuck, uids="m") is None
    unknown = entry("m", "Unknown", UNKNOWN.message)
    assert wanted({MAIL: UNPROVEN}, unknown, uids="m") is None, "no write for another word"


def test_a_verdict_says_since_when_and_why() -> None:
    facts = Facts(failing_for=3600, waits=True, last_failure="status 503")
    verdict = judge(facts, PATIENCE, NOW)
    assert verdict is not None
    assert verdict.message == (
        "no event has got through since 2027-01-15T07:00:00Z,"
        " the first attempt of this dispatcher process: status 503"
    ), "what was before is not known"
    verdict = judge(replace(facts, has_settled=True), PATIENCE, NOW)
    assert verdict is not None
    assert verdict.message == "no event has got through since 2027-01-15T07:00:00Z: status 503"
    verdict = judge(replace(facts, failing_for=None, failed_event_for=3600), PATIENCE, NOW)
    assert verdict is not None
    assert verdict.message == (
        "at least one event has not got through since 2027-01-15T07:00:00Z"
        " (others may have): status 503"
    )


# --- status ---------------------------------------------------------------------------------------


def entry(uid: str, ready: str, message: str = "", reason: str = "") -> dict[str, str]:
    told = {"uid": uid, "ready": ready}
    reason = reason or ("NotKnownYet" if ready == "Unknown" else "SubscriberStuck")
    return {**told, "reason": reason, "message": message} if message else told


def wanted(
    verdicts: Mapping[ResourceName, SubscriberVerdict],
    *told: dict[str, str],
    uids: str = "mb",
    most: int | None = None,
) -> Any:
    """Return what is to be written on a channel with the subscribers mail (m) and bills (b)."""
    names = {"m": "mail", "b": "bills"}
    subscribers = [
        {"uid": uid, "ref": {"name": names[uid]}, "subscriberURI": "http://x/"} for uid in uids
    ]
    spec = {"provisioner": {"name": "natss"}, "subscribable": {"subscribers": subscribers}}
    table = ChannelTable(Defaults(max_subscribers=most))
    table.put(
        {
            "apiVersion": "eventing.knative.dev/v1alpha1",
            "kind": "Channel",
            "metadata": {
                "name": "orders", "namespace": "shop", "uid": "u", "resourceVersion": "1",
                "finalizers": ["natss-dispatcher"],
            },
            "spec": spec,
            "status": {"subscribableStatus": {"subscribers": list(told)}},
        }
    )  # fmt: skip
    known = {MemberKey(ORDERS, ref): verdict for ref, verdict in verdicts.items()}
    routes = Router(RoutingTable.build(table.state().channels.values(), Metrics().channel))
    (only,) = table
    status = WantedStatus(routes, known.get)(only)
    return None if status is None else status["subscribableStatus"]["subscribers"]


def test_each_subscriber_is_told_of_in_the_order_of_the_spec() -> None:
    stuck = entry("b", "False", STUCK.message)
    assert wanted({BILLS: STUCK, MAIL: READY}) == [entry("m", "True"), stuck]
    assert wanted({BILLS: STUCK, MAIL: READY}, entry("m", "True"), stuck) is None


def test_who_does_not_deliver_changes_nothing() -> None:
    assert wanted({}) is None
    assert wanted({}, entry("m", "True"), entry("b", "False", "told by another")) is None


def test_nothing_is_told_until_something_is_known_of_each() -> None:
    assert wanted({MAIL: READY}) is None
    unknown = entry("b", "Unknown", UNKNOWN.message)
    assert wanted({MAIL: READY, BILLS: UNKNOWN}) == [entry("m", "True"), unknown]


def test_what_was_told_before_stays_until_more_is_known() -> None:
    before = entry("m", "False", "told by a former process")
    assert wanted({MAIL: UNKNOWN}, before, uids="m") is None
    assert wanted({MAIL: READY}, before, uids="m") == [entry("m", "True")]
    other = entry("b", "False", "told by a former process")
    assert wanted({MAIL: READY}, before, other) == [entry("m", "True"), other]


def test_a_subscriber_that_has_gone_is_not_told_of() -> None:
    both = entry("m", "True"), entry("b", "True")
    assert wanted({MAIL: READY}, *both, uids="m") == [entry("m", "True")]
    assert wanted({}, *both, uids="") == []
    assert wanted({}, uids="") is None


@pytest.mark.parametrize(
    "status", ["text", ["list"], {"subscribers": "text"}, {"subscribers": [1]}]
)
def test_a_status_that_somebody_broke_is_written_anew(status: object) -> None:
    table = ChannelTable(Defaults())
    table.put(
        {
            "apiVersion": "eventing.knative.dev/v1alpha1",
            "kind": "Channel",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "resourceVersion": "1"},
            "spec": {},
            "status": {"subscribableStatus": status, "dispatcher": status, "address": status},
        }
    )
    (only,) = table
    assert (only.reported_subscribers, only.reported_host, only.address) == ([], None, None)


# --- sessions -------------------------------------------------------------------------------------


class PlayedLink:
    """What is looked at of a link, as a test wants it."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.is_open = False
        self.failure: StoreError | None = None
        self.last_error: str | None = None
        self.was_open = self

    def is_set(self) -> bool:
        """Return ``was_open``."""
        return self.has_been_open

    has_been_open = False

    def becomes(self, state: StoreError | bool) -> None:
        """Become open (True), or not open for this reason (an error)."""
        self.is_open = state is True
        self.has_been_open |= self.is_open
        self.failure = state if isinstance(state, StoreError) else None
        self.last_error = str(state) if isinstance(state, StoreError) else None


LOST = StoreUnavailable("nats://nats:4222: refused")
LOGIN = LoginRefused("nats://nats:4222 refused the credentials")
TAKEN = DeliveredElsewhere("taken")


@pytest.mark.parametrize(
    ("role", "life", "told"),
    [
        ("publish", [True], []),
        ("deliver", [True], ["Delivering"]),
        ("publish", [True, LOST, True], ["ConnectionLost", "ConnectionRestored"]),
        ("deliver", [TAKEN, True], ["Delivering"]),
        ("deliver", [TAKEN], []),
        ("deliver", [True, LOST, TAKEN], ["Delivering", "ConnectionLost"]),
        ("deliver", [True, TAKEN, True], ["Delivering", "StandingBy", "Delivering"]),
        ("publish", [LOGIN, True], ["AuthenticationFailed", "ConnectionRestored"]),
        ("publish", [True, LOST, LOGIN, True],
         ["ConnectionLost", "AuthenticationFailed", "ConnectionRestored"]),
    ],
)  # fmt: skip
def test_a_session_tells_what_becomes_of_it(
    role: str, life: list[StoreError | bool], told: list[str]
) -> None:
    link = PlayedLink(role)
    watch = SessionWatch(link, "no event is delivered")  # type: ignore[arg-type]  # as much of it
    found: list[Occurrence | None] = [watch.look(0.0)]
    for number, state in enumerate(life, start=1):
        link.becomes(state)
        found += [watch.look(10.0 * number), watch.look(10.0 * number + 5)]
    occurrences = [each for each in found if each is not None]
    assert [each.reason for each in occurrences] == told
    for each in occurrences:
        assert each.is_warning is (each.reason in {"ConnectionLost", "AuthenticationFailed"})
        assert each.channel is None


def test_what_passes_at_once_is_not_told() -> None:
    link = PlayedLink("publish")
    watch = SessionWatch(link, "publishers are answered 503")  # type: ignore[arg-type]  # as above
    link.becomes(True)
    assert [watch.look(float(at)) for at in range(5)] == [None] * 5
    link.becomes(LOST)
    assert state_of(link) is SessionState.AWAY  # type: ignore[arg-type]  # as above
    assert [watch.look(5.0), watch.look(6.0)] == [None, None]
    link.becomes(True)
    assert [watch.look(7.0), watch.look(60.0)] == [None, None]


# --- losses ---------------------------------------------------------------------------------------


def test_a_full_server_is_told_on_the_channel_once_in_a_while() -> None:
    metrics, told = Metrics(), list[Occurrence]()
    losses = Losses(metrics, told.append, lambda _, ref: Subscriber(ref))
    channel = metrics.channel(ORDERS)
    losses.look(0.0)
    for now in range(1, 1000):
        channel.results["channel_limit"] += 1
        losses.look(float(now))
    assert [(each.channel, each.reason) for each in told] == [(ORDERS, "ChannelLimitReached")] * 2
    assert "max_channels" in told[0].message


def test_events_that_were_put_aside_are_told_with_their_subscription() -> None:
    metrics, told = Metrics(), list[Occurrence]()
    losses = Losses(metrics, told.append, lambda _, ref: Subscriber(ref))
    subscription = metrics.subscription(ORDERS, Subscriber(MAIL))
    subscription.dead_lettered = subscription.poison = 1
    losses.look(0.0)
    losses.look(1.0)
    assert [each.reason for each in told] == ["DeadLettered", "Unreadable"]
    assert all("shop/mail" in each.full_message and each.channel == ORDERS for each in told)
    assert all("shop/mail" not in each.message for each in told)


def test_a_subscriber_without_a_place_is_told_so() -> None:
    told = wanted({MAIL: READY}, uids="mb", most=1)
    assert told == [entry("m", "True"), entry("b", "False", NOT_SERVED.message, NOT_SERVED.reason)]
    assert "--max-subscribers" in NOT_SERVED.message
    assert wanted({MAIL: READY}, *told, uids="mb", most=1) is None
    assert wanted({MAIL: READY}, *told, uids="m", most=1) == [entry("m", "True")]
    assert wanted({MAIL: READY, BILLS: READY}, *told) == [entry("m", "True"), entry("b", "True")]
