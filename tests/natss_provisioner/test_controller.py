"""Which object is reconciled when, with handlers that only record their calls."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from natss.contract.channel_id import ChannelId
from natss.contract.eventing import CHANNEL
from natss.contract.names import DISPATCHER_FINALIZER
from natss.contract.resources import ResourceName
from natss.document import Document
from natss.knative import PROVISIONERS, SUBSCRIPTIONS
from natss.kube import SERVICES, EventRecorder, KubeClient
from natss_provisioner.channel_kinds import HANDLERS
from natss_provisioner.children import DispatcherPlace
from natss_provisioner.controller import Controller
from natss_provisioner.handlers import provisioner, subscribers, subscription
from natss_provisioner.handlers.context import Context
from natss_provisioner.settings import ProvisionerSettings
from tests.support.channel_ids import CHANNELS, channel_id
from tests.support.other_kind import RIVAL, known
from tests.support.waiting import Changes


class Running:
    """A running controller and its calls."""

    def __init__(self, resync: float, *, subscriptions: bool) -> None:
        client = cast("KubeClient", None)  # decided without asking the API
        events = EventRecorder(client, component="tests", instance="one")
        context = Context(client, events, DispatcherPlace("system", "cluster.local"))
        self.controller = Controller(
            context, ProvisionerSettings(resync=resync, subscription_controller=subscriptions)
        )
        self.calls: list[str] = []
        self._changes = Changes()
        self.task = asyncio.create_task(self.controller.run())

    def note(self, call: str) -> None:
        self.calls.append(call)
        self._changes.note()

    async def until_called(self, *calls: str) -> None:
        await self._changes.until(lambda: set(calls) <= set(self.calls), 20.0)

    async def called(self) -> list[str]:
        """Return the calls since the last time, once all work is done."""
        for _ in range(20):
            await asyncio.sleep(0)
        calls, self.calls = sorted(self.calls), []
        return calls


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    started: list[Running] = []

    async def note_provisioner(_: Context, name: str) -> None:
        started[0].note(name)

    async def note_channel(_: Context, name: ChannelId) -> None:
        started[0].note(str(name))

    async def note_subscription(_: Context, name: ResourceName) -> None:
        started[0].note(f"subscription {name}")

    async def note_subscribers(_: Context, name: ChannelId, __: object) -> None:
        started[0].note(f"subscribers {name}")

    monkeypatch.setattr(subscription, "reconcile", note_subscription)
    monkeypatch.setattr(subscribers, "reconcile", note_subscribers)
    monkeypatch.setattr(provisioner, "reconcile", note_provisioner)
    monkeypatch.setitem(HANDLERS, CHANNEL, note_channel)

    def begin(resync: float = 3600.0, *, subscriptions: bool = True) -> Running:
        started.append(Running(resync, subscriptions=subscriptions))
        return started[0]

    yield begin
    for running in started:
        running.task.cancel()
        await asyncio.wait([running.task])


def document(name: str, provisioner: str = "natss") -> Document:
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"provisioner": {"name": provisioner}},
    }


TYPE_OF_RIVAL = {"apiVersion": RIVAL.api_version, "kind": RIVAL.kind}


def with_finalizer(channel: Document, created: str) -> Document:
    """Return the channel as a dispatcher serves it."""
    metadata = {"finalizers": [DISPATCHER_FINALIZER], "creationTimestamp": created}
    return {**channel, "metadata": {**channel["metadata"], **metadata}}


def service_of(channel: str) -> Document:
    return {"metadata": {"namespace": "shop", "name": "s", "labels": {"channel": channel}}}


def the_provisioner(ready: str, name: str = "natss") -> Document:
    conditions = [{"type": "Ready", "status": ready}]
    return {"metadata": {"name": name}, "status": {"conditions": conditions}}


async def test_only_our_channels_are_reconciled(start: Any) -> None:
    running = start()
    running.controller.on_channel(document("a"), deleted=False)
    running.controller.on_channel(document("b", "other"), deleted=False)
    running.controller.on_channel(document("c"), deleted=True)
    assert await running.called() == ["shop/a"]


async def test_who_waits_for_a_subject_is_reconciled_when_it_is_free(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = with_finalizer(document("a"), "2019-01-01T00:00:00Z")
    younger = {**with_finalizer(document("a"), "2024-01-01T00:00:00Z"), **TYPE_OF_RIVAL}
    with known(RIVAL):
        monkeypatch.setitem(HANDLERS, RIVAL, HANDLERS[CHANNEL])
        controller = (running := start()).controller
        controller.on_channel(younger, deleted=False)
        assert await running.called() == ["RivalChannel shop/a"]
        controller.on_channel(older, deleted=False)
        assert await running.called() == ["RivalChannel shop/a", "shop/a"]
        controller.on_channel(older, deleted=True)
        assert await running.called() == ["RivalChannel shop/a"]


async def test_all_channels_follow_when_the_provisioner_becomes_ready_or_not(start: Any) -> None:
    running = start()
    for name in "ab":
        running.controller.on_channel(document(name), deleted=False)
    await running.called()
    steps = [
        (the_provisioner("False"), False, ["natss", "shop/a", "shop/b"]),
        (the_provisioner("False"), False, ["natss"]),
        (the_provisioner("True"), False, ["natss", "shop/a", "shop/b"]),
        (the_provisioner("True"), False, ["natss"]),
        (the_provisioner("True"), True, ["natss", "shop/a", "shop/b"]),
        (the_provisioner("True", "other"), False, []),
    ]
    for body, deleted, expected in steps:
        running.controller.on_provisioner(body, deleted=deleted)
        assert await running.called() == expected


OWNER = {"kind": "Channel", "name": "a"}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"ownerReferences": [OWNER]}, ["shop/a"]),
        ({"labels": {"channel": "a"}}, ["shop/a"]),
        ({"labels": {"channel": "b"}, "ownerReferences": [OWNER]}, ["shop/a", "shop/b"]),
        ({"labels": {"channel": "unknown"}}, []),
        ({}, []),
    ],
)
async def test_who_sees_to_a_service(start: Any, metadata: Document, expected: list[str]) -> None:
    running = start()
    for name in "ab":
        running.controller.on_channel(document(name), deleted=False)
    await running.called()
    service = {"metadata": {"namespace": "shop", "name": "s", **metadata}}
    running.controller.on_service(service, deleted=False)
    assert await running.called() == expected


async def test_channels_that_are_gone_or_no_longer_ours_are_forgotten(start: Any) -> None:
    running = start()
    for name in "ab":
        running.controller.on_channel(document(name), deleted=False)
    running.controller.on_channel(document("a"), deleted=True)
    running.controller.on_channel(document("b", "other"), deleted=False)
    await running.called()
    for name in "ab":
        running.controller.on_service(service_of(name), deleted=True)
    assert await running.called() == []


@pytest.mark.parametrize("subscriptions", [True, False])
async def test_everything_is_looked_at_again_after_a_while(start: Any, subscriptions: bool) -> None:
    running = start(resync=0.001, subscriptions=subscriptions)
    running.controller.on_channel(document("a"), deleted=False)
    running.controller.on_channel(document("b", "other"), deleted=False)
    running.controller.on_channel(document("gone"), deleted=False)
    running.controller.on_subscription(subscription_document("s"), deleted=False)
    running.controller.on_channel(document("gone"), deleted=True)
    expected = {"natss", "shop/a"} | ({"subscription shop/s"} if subscriptions else set())
    await running.called()
    for _ in range(3):
        await running.until_called(*expected)
        assert set(await running.called()) == expected


async def test_what_was_told_last_outlives_the_look_at_everything(start: Any) -> None:
    """No list that was requested before undoes it."""
    running = start(resync=0.001)
    running.controller.on_channel(document("a"), deleted=False)
    await running.until_called("natss")
    running.controller.on_service(service_of("a"), deleted=True)
    assert "shop/a" in await running.called()


def subscription_document(name: str, channel: str = "a", uid: str = "") -> Document:
    reference = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "Channel", "name": channel}
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": uid or f"uid-{name}"},
        "spec": {"channel": reference, "subscriber": {"uri": "http://x/"}},
        "status": {"physicalSubscription": {"subscriberURI": "http://x/"}},
    }


def with_entries(body: Document, *names: str) -> Document:
    listed = [
        {"uid": f"uid-{name}", "ref": {"name": name}, "subscriberURI": "http://x/"}
        for name in names
    ]
    return {**body, "spec": {**body["spec"], "subscribable": {"subscribers": listed}}}


async def test_subscriptions_follow_their_channel(start: Any) -> None:
    running = start()
    controller = running.controller
    controller.on_subscription(subscription_document("s"), deleted=False)
    assert await running.called() == ["subscription shop/s"]
    channel = with_entries(document("a"), "s")
    ready = {**channel, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    steps: list[tuple[Document, bool, list[str]]] = [
        (channel, False, ["shop/a", "subscription shop/s"]),
        (channel, False, ["shop/a"]),
        (ready, False, ["shop/a", "subscription shop/s"]),
        (document("b"), False, ["shop/b"]),
        ({**ready, "spec": document("a")["spec"]}, False, ["shop/a", "subscription shop/s"]),
        (ready, False, ["shop/a"]),
        (with_entries(ready, "s", "gone"), False, ["shop/a", "subscribers shop/a"]),
        (ready, True, ["subscription shop/s"]),
    ]
    for body, deleted, expected in steps:
        controller.on_channel(body, deleted=deleted)
        assert await running.called() == expected


async def test_a_channel_is_looked_through_when_a_subscription_leaves_it(start: Any) -> None:
    running = start()
    steps: list[tuple[Document, bool, list[str]]] = [
        (subscription_document("s"), False, ["subscription shop/s"]),
        (subscription_document("s"), False, ["subscription shop/s"]),
        (subscription_document("s", "b"), False, ["subscribers shop/a", "subscription shop/s"]),
        (
            subscription_document("s", "b", "later"),
            False,
            ["subscribers shop/b", "subscription shop/s"],
        ),
        (subscription_document("s", "b", "later"), True, ["subscribers shop/b"]),
        (subscription_document("s", "b", "later"), True, []),
    ]
    for body, deleted, expected in steps:
        running.controller.on_subscription(body, deleted=deleted)
        assert await running.called() == expected


async def test_without_subscriptions_only_channels_are_reconciled(start: Any) -> None:
    running = start(subscriptions=False)
    assert not running.controller.has_subscriptions
    running.controller.on_subscription(subscription_document("s"), deleted=False)
    running.controller.on_channel(with_entries(document("a"), "gone"), deleted=False)
    assert await running.called() == ["shop/a"]


async def test_what_is_missing_in_a_list_has_gone(start: Any) -> None:
    """As when watches were broken for longer than the API remembers."""
    running = start()
    controller = running.controller
    controller.on_all_provisioners([the_provisioner("True")])
    controller.on_all_channels(CHANNEL, [document("a"), document("b")])
    controller.on_all_subscriptions([subscription_document("s"), subscription_document("t")])
    await running.called()
    controller.on_all_channels(CHANNEL, [document("b")])
    assert await running.called() == ["shop/b", "subscription shop/s", "subscription shop/t"]
    controller.on_all_subscriptions([subscription_document("t")])
    assert await running.called() == ["subscribers shop/a", "subscription shop/t"]
    controller.on_all_provisioners([the_provisioner("True", "other")])
    assert await running.called() == ["natss", "shop/b"]
    controller.on_all_services([])
    assert await running.called() == ["shop/b"]
    controller.on_dispatcher_service()
    assert await running.called() == ["natss"]


async def test_an_object_that_no_schema_has_checked_harms_only_itself(start: Any) -> None:
    running = start()
    broken = document("x")
    broken["spec"]["subscribable"] = {"subscribers": [{"uid": ["x"], "ref": {"name": "y"}}]}
    running.controller.on_all_channels(CHANNEL, [broken, document("a")])
    running.controller.on_channel(broken, deleted=False)
    running.controller.on_channel(document("b"), deleted=False)
    assert {"shop/a", "shop/b"} <= set(await running.called())


async def test_the_api_is_asked_only_if_there_is_something_to_write(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    grounds: list[object] = []

    async def reconcile(context: Context, name: ChannelId) -> None:
        grounds.append(context.seen and context.seen.channels.get(name))
        if name.name == "b":
            _ = context.writer

    monkeypatch.setitem(HANDLERS, CHANNEL, reconcile)
    for name in "ab":
        running.controller.on_channel(document(name), deleted=False)
    await running.called()
    assert grounds == [document("a"), document("b"), None]


async def test_what_nobody_watches_is_asked_for(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    controller = running.controller
    seen: list[tuple[bool, bool, bool, object]] = []

    async def look(context: Context, _: str) -> None:
        kept = context.seen
        assert kept is not None
        services = context.services.of(channel_id("shop", "a"))
        seen.append(
            (bool(kept.channels), bool(kept.subscriptions), bool(kept.provisioners), services)
        )

    monkeypatch.setattr(provisioner, "reconcile", look)
    controller.on_all_channels(CHANNEL, [document("a")])
    controller.on_all_subscriptions([subscription_document("s")])
    controller.on_all_services([])
    controller.on_all_provisioners([the_provisioner("True")])
    await running.called()
    for resource in (CHANNELS, SUBSCRIPTIONS, PROVISIONERS, SERVICES):
        controller.on_unseen(resource)
    controller.on_dispatcher_service()
    await running.called()
    controller.on_all_channels(CHANNEL, [document("a")])
    controller.on_all_subscriptions([])
    controller.on_all_channels(CHANNEL, [])
    controller.on_dispatcher_service()
    await running.called()
    assert seen == [
        (True, True, True, []),
        (False, False, False, None),
        (False, False, False, None),
    ]
