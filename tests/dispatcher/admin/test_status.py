"""What ``/status`` says of the dispatcher and durables, for people with little time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dispatcher.admin import page, status
from dispatcher.admin.readiness import Readiness, readiness
from dispatcher.durables.member import MemberKey
from dispatcher.ingress.routing import Router
from dispatcher.reporting.observed import Observed
from dispatcher.reporting.reports import Reports
from dispatcher.reporting.verdicts import READY, UNKNOWN, SubscriberVerdict
from dispatcher.settings.settings import NatsSettings
from dispatcher.stores.interface import (
    DeliveredElsewhere,
    DurableName,
    LoginRefused,
    StoreError,
    StoreUnavailable,
)
from dispatcher.stores.nats_streaming.store import NatsStreamingStore
from natss.contract.resources import (
    Channel,
    DeliveryPolicy,
    DesiredState,
    ResourceName,
    Subscriber,
    Unserved,
)
from tests.support.channel_ids import channel_id
from tests.support.data_plane import DataPlane
from tests.support.servers import NatsStreamingServer

ORDERS = channel_id("shop", "orders")
MAIL = ResourceName("shop", "mail")
STUCK = SubscriberVerdict(
    False, "SubscriberStuck", "no event has got through since then: status 500"
)


@pytest.fixture
async def observed(tmp_path: Path) -> Observed:
    """Yield the parts, not started."""
    plane = DataPlane(NatsStreamingServer(tmp_path), "tests")
    subscriber = Subscriber(MAIL, "u1", "http://mail/?token=abc")
    channel = Channel(ORDERS, ("orders.shop",), (subscriber,), DeliveryPolicy())
    await plane.reconciler.apply(DesiredState({ORDERS: channel}))
    return Observed(plane.store, plane.reconciler, Router(), plane.metrics)


def store_of(observed: Observed) -> NatsStreamingStore:
    assert isinstance(observed.store, NatsStreamingStore)
    return observed.store


def described(observed: Observed, verdict: SubscriberVerdict | None = None) -> Mapping[str, Any]:
    known = {} if verdict is None else {MemberKey(ORDERS, MAIL): verdict}
    return status.describe({}, observed, {}, (), known.get)


async def test_it_says_which_dispatcher_it_is_and_hides_the_password(observed: Observed) -> None:
    nats = NatsSettings(servers=("nats://me:hunter2@nats:4222",), client_id="dispatcher-1")
    about = status.about(nats, Reports(observed, 60.0, None))
    assert about["version"][0].isdigit()
    assert about["natsStreaming"] == "nats://***@nats:4222"
    assert (about["clusterId"], about["clientId"]) == ("knative-nats-streaming", "dispatcher-1")
    assert "statusOfChannels" not in about


@pytest.mark.parametrize(
    ("verdict", "delivers"), [(READY, "yes"), (STUCK, "no"), (UNKNOWN, "unknown"), (None, None)]
)
async def test_it_says_whether_events_get_through(
    observed: Observed, verdict: SubscriberVerdict | None, delivers: str | None
) -> None:
    (channel,) = described(observed, verdict)["channels"]
    (subscription,) = channel["subscriptions"]
    assert subscription.get("delivers") == delivers
    assert subscription["subscriber"] == "http://mail/?***"
    if verdict is STUCK:
        assert subscription["reason"] == f"SubscriberStuck: {STUCK.message}"


async def test_to_stand_by_is_nothing_bad(observed: Observed) -> None:
    link = store_of(observed).delivering
    link.failure, link.last_error = DeliveredElsewhere("taken"), "another client has the client id"
    document = described(observed)
    standing_by = "standing by: another dispatcher has the client id"
    assert document["connections"]["deliver"] == standing_by
    assert f"<td>{standing_by}</td>" in (shown := "".join(page.parts(document, Readiness())))
    assert '<td class="bad">closed: ' in shown, "the other connection"
    (subscription,) = document["channels"][0]["subscriptions"]
    assert subscription["durableState"] == "standby"
    assert "durableError" not in subscription
    assert "<td>standby</td>" in shown, "and not in red"
    assert not [each for each in readiness(observed.store, [], None).warnings if "deliver" in each]


LOST = StoreUnavailable("no NATS server can be reached: no answer")
REFUSED = LoginRefused("Authorization Violation")


@pytest.mark.parametrize("failure", [LOST, REFUSED])
async def test_an_outage_is_a_warning_and_no_reason_to_leave(
    observed: Observed, failure: StoreError
) -> None:
    store = store_of(observed)
    store.publishing.was_open.set()
    for link in (store.publishing, store.delivering):
        link.failure, link.last_error = failure, str(failure)
    now = readiness(store, [], "403: not for you")
    assert now.is_ready
    assert now.warnings == [
        f"publishers are answered 503: {failure}",
        f"no event is delivered: {failure}",
        "the status of channels cannot be written: 403: not for you",
    ]
    shown = "".join(page.parts({}, now))
    assert "Ready." in shown
    assert f"<li>no event is delivered: {failure}</li>" in shown


async def test_a_durable_that_was_not_opened_again_is_a_problem(observed: Observed) -> None:
    name = DurableName("orders.shop", "u1")
    store_of(observed).delivering.not_restored[name] = "full"
    (problem,) = described(observed)["problems"]
    assert "u1 of orders.shop" in problem
    assert "full" in problem


async def test_a_channel_that_was_held_back_says_so(observed: Observed) -> None:
    channels = {ORDERS: Channel(ORDERS, ("orders.shop",))}

    def shown() -> Mapping[str, Any]:
        document: Mapping[str, Any] = status.describe({}, observed, channels, (), lambda _: None)
        (channel,) = document["channels"]
        return dict(channel)

    assert "heldBackSeconds" not in shown()
    assert observed.metrics.channels() == []  # one that was just forgotten is not brought back
    observed.metrics.channel(ORDERS)
    observed.metrics.count_held_back(ORDERS, 2.04)
    assert shown()["heldBackSeconds"] == 2.0


async def test_a_channel_says_how_many_are_not_served(observed: Observed) -> None:
    channel = Channel(ORDERS, ("orders.shop",), unserved=Unserved(3, {}))
    document: Mapping[str, Any] = status.describe(
        {}, observed, {ORDERS: channel}, (), lambda _: None
    )
    assert [each["notServed"] for each in document["channels"]] == [3]
    assert "3 subscribers too many" in "".join(page.parts(document, Readiness()))


async def test_channels_are_described_one_by_one(observed: Observed) -> None:
    asked: list[MemberKey] = []
    document = status.describe({}, observed, {}, (), asked.append)
    assert asked == []
    channels = document["channels"]
    assert isinstance(channels, Sequence)
    assert len(channels) == 1
    assert asked == []
    assert channels[0]["name"] == "orders"
    assert len(asked) == 1
    assert [each["name"] for each in channels[:1]] == ["orders"]
