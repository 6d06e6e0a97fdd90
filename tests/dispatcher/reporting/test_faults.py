"""What goes wrong while people are told of their channels: it must never end delivery."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.ingress.routing import Router
from dispatcher.reporting.events import Events
from dispatcher.reporting.observed import Observed
from dispatcher.reporting.occurrences import Occurrence, about, news, warning
from dispatcher.reporting.reports import Cluster, Reports
from natss.contract.names import DISPATCHER_FINALIZER
from natss.contract.resources import Defaults, Problem, ResourceName, Subscriber
from natss.kube import Forbidden, KubeClient, KubeError, NotFound
from tests.support.channel_ids import channel_id
from tests.support.data_plane import DataPlane
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

LENGTHS = pytest.mark.parametrize("length", [64, 70, 253])


class RefusingApi:
    """An API that answers every request to look at something with an error."""

    def __init__(self, error: KubeError) -> None:
        self.error = error
        self.asked = 0

    async def get(self, *_: object) -> None:
        self.asked += 1
        raise self.error


def client(api: RefusingApi) -> KubeClient:
    return cast("KubeClient", api)


def document(name: str, provisioner: str) -> dict[str, Any]:
    """Return a Channel as the API sends it."""
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-of-{name}",
            "resourceVersion": "7",
            "finalizers": [DISPATCHER_FINALIZER] if provisioner == "natss" else [],
        },
        "spec": {"provisioner": {"name": provisioner}},
    }


def table(*documents: Mapping[str, Any]) -> ChannelTable:
    made = ChannelTable(Defaults())
    for each in documents:
        made.put(each)
    return made


@pytest.fixture
async def told(monkeypatch: pytest.MonkeyPatch) -> list[Occurrence]:
    """Return what would become an Event."""
    occurrences: list[Occurrence] = []
    monkeypatch.setattr(Events, "tell", lambda _, occurrence: occurrences.append(occurrence))
    return occurrences


def reports(folder: Path, known: ChannelTable) -> Reports:
    """Return the reports of a dispatcher that is not started."""
    plane = DataPlane(NatsStreamingServer(folder), "tests")
    observed = Observed(plane.store, plane.reconciler, Router(), plane.metrics)
    api = client(RefusingApi(NotFound(404, "NotFound", "nothing is here")))
    return Reports(observed, 60.0, Cluster(api, known, "natss-dispatcher"))


@LENGTHS
async def test_a_name_that_is_too_long_is_told_on_the_channel_that_has_it(
    tmp_path: Path, told: list[Occurrence], length: int
) -> None:
    state = (known := table(document("a" * length, "natss"), document("good", "natss"))).state()
    assert [each.name for each in state.channels] == ["good"]
    reports(tmp_path, known).applied(state.channels, state.problems)
    (occurrence,) = told
    assert occurrence.channel == channel_id("shop", "a" * length)
    assert f"has {length} characters; at most 63 between two dots" in occurrence.message


@LENGTHS
async def test_a_long_name_of_another_provisioner_is_nobodys_business(
    tmp_path: Path, told: list[Occurrence], length: int
) -> None:
    state = (known := table(document("a" * length, "kafka"), document("good", "natss"))).state()
    assert [each.name for each in state.channels] == ["good"]
    assert state.problems == ()
    reports(tmp_path, known).applied(state.channels, state.problems)
    assert told == []


async def test_a_problem_of_nobody_in_particular_is_told_to_nobody(
    tmp_path: Path, told: list[Occurrence]
) -> None:
    with capture_logs() as logged:
        problems = [Problem("Channel", "metadata", "must be an object"), Problem("f.yaml", "", "?")]
        reports(tmp_path, table()).applied({}, problems)
    assert told == []
    assert logged == []


async def test_a_fault_in_reporting_ends_nothing_and_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(*_: object) -> None:
        raise TypeError("a fault of ours")

    monkeypatch.setattr(Events, "tell", tell)
    broken, problem = reports(tmp_path, table()), Problem("Channel shop/orders", "spec", "?")
    with capture_logs() as logged:
        for _ in range(3):
            broken.applied({}, [problem])
    (line,) = logged
    assert (line["log_level"], line["exc_info"]) == ("error", True)


async def asked_twice(api: RefusingApi) -> None:
    async def is_so() -> bool:
        return api.asked == 2

    await eventually(is_so)


@contextmanager
def writing(api: RefusingApi) -> Iterator[Events]:
    events = Events(client(api), table(), "natss-dispatcher")
    task = asyncio.create_task(events.run())
    try:
        yield events
    finally:
        task.cancel()


async def test_without_provisioner_the_log_has_what_happened_and_no_fault_is_told() -> None:
    """At the first installation the dispatcher may be there before it."""
    api = RefusingApi(NotFound(404, "NotFound", 'clusterchannelprovisioners "natss" not found'))
    with capture_logs() as logged, writing(api) as events:
        events.tell(news(None, "Delivering", "it has the client id"))
        events.tell(news(None, "ConnectionRestored", "it is back"))
        await asked_twice(api)
    assert [each["reason"] for each in logged] == ["Delivering", "ConnectionRestored"]
    assert [(each["log_level"], each["event"]) for each in logged] == [
        ("info", "reported"),
        ("info", "reported"),
    ]


async def test_events_that_may_not_be_written_are_told_once_and_harm_nothing() -> None:
    api = RefusingApi(Forbidden(403, "Forbidden", "not for you"))
    with capture_logs() as logged, writing(api) as events:
        events.tell(news(None, "Delivering", "it has the client id"))
        events.tell(news(None, "Delivering", "it has the client id"))
        await asked_twice(api)
    told = [each for each in logged if each["log_level"] == "warning"]
    assert [each["event"] for each in told] == [
        "Kubernetes Events cannot be written (delivery goes on)"
    ]


class TakingApi:
    """An API that takes every Event."""

    def __init__(self) -> None:
        self.about: list[tuple[str, str, str]] = []

    async def create(self, _: object, body: Mapping[str, Any], namespace: str) -> None:
        involved = body["involvedObject"]
        assert involved["namespace"] == namespace
        self.about.append((involved["kind"], namespace, involved["name"]))


@pytest.mark.parametrize(
    ("ref", "uid", "is_told"),
    [
        (ResourceName("shop", "mail"), "u1", True),
        (ResourceName("victim", "mail"), "u1", False),
        (ResourceName("kube-system", "mail"), "u1", False),
        (ResourceName("shop", "mail"), None, False),
    ],
)
async def test_an_entry_has_no_events_written_in_the_namespace_of_others(
    ref: ResourceName, uid: str | None, is_told: bool
) -> None:
    """Whoever may write a Channel chooses what its entries refer to."""
    api = TakingApi()
    events = Events(cast("KubeClient", api), table(document("orders", "natss")), "natss-dispatcher")
    orders = channel_id("shop", "orders")
    told = about(
        Subscriber(ref, uid=uid), warning(orders, "SubscriberStuck", "nothing got through")
    )
    events.tell(told)
    events.tell(warning(orders, "Ignored", "the last one"))
    task = asyncio.create_task(events.run())

    async def both_are_told() -> bool:
        return api.about.count(("Channel", "shop", "orders")) == 2

    await eventually(both_are_told)
    task.cancel()
    others = [each for each in api.about if each[0] != "Channel"]
    assert others == ([("Subscription", "shop", "mail")] if is_told else [])
