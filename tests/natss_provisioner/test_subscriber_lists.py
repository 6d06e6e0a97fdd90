"""Writes of the list of subscribers while somebody else writes it, step by step."""

import copy
from collections.abc import Callable
from typing import cast

import pytest

from natss.document import Document
from natss.knative import SUBSCRIPTIONS
from natss.kube import Conflict, EventRecorder, KubeClient, NotFound, Resource
from natss_provisioner.children import DispatcherPlace
from natss_provisioner.handlers import subscribers
from natss_provisioner.handlers.context import Context
from natss_provisioner.subscribers import Physical
from tests.support.channel_ids import CHANNELS, channel_id

NAME = channel_id("shop", "orders")
BY_HAND: Document = {"uid": "by-hand", "subscriberURI": "http://y/"}
GONE: Document = {"uid": "gone", "ref": {"name": "gone"}, "subscriberURI": "http://z/"}


class FakeApi:
    """A fake API with one Channel and optimistic concurrency; ``meanwhile`` runs after reads."""

    def __init__(self) -> None:
        self.listed: list[Document] = []
        self.version = 1
        self.patches = 0
        self.exists = True
        self.knows_subscriptions = True
        self.meanwhile: list[Callable[[], None]] = []
        self.events: list[str] = []

    def write(self, listed: list[Document]) -> None:
        self.listed = listed
        self.version += 1

    async def get(self, resource: Resource, name: str, namespace: str) -> Document:
        if resource is SUBSCRIPTIONS or not self.exists:
            raise NotFound(404, "NotFound", name)
        channel = {
            "apiVersion": CHANNELS.api_version,
            "kind": "Channel",
            "metadata": {
                "namespace": namespace,
                "name": name,
                "uid": "c",
                "resourceVersion": str(self.version),
            },
            "spec": {
                "provisioner": {"name": "natss"},
                "subscribable": {"subscribers": copy.deepcopy(self.listed)},
            },
        }
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return channel

    async def list(self, resource: Resource, namespace: str) -> list[Document]:
        if not self.knows_subscriptions:
            raise NotFound(404, "NotFound", "the server could not find the requested resource")
        return []

    async def patch(
        self, resource: Resource, name: str, body: Document, namespace: str
    ) -> Document:
        self.patches += 1
        given = body["metadata"].get("resourceVersion")
        if given is not None and given != str(self.version):
            raise Conflict(409, "Conflict", "changed")
        self.write(body["spec"]["subscribable"]["subscribers"])
        return await self.get(resource, name, namespace)

    async def create(self, _: Resource, body: Document, __: str) -> Document:
        self.events.append(body["reason"])
        return body


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def context(api: FakeApi) -> Context:
    client = cast("KubeClient", api)
    events = EventRecorder(client, component="tests", instance="one")
    return Context(client, events, DispatcherPlace("system", "cluster.local"))


def subscription(name: str = "mail") -> Document:
    return {"metadata": {"namespace": "shop", "name": name, "uid": f"uid-{name}"}}


async def add(context: Context, name: str = "mail") -> None:
    channel = await subscribers.get(context, NAME)
    assert channel is not None
    await subscribers.add(context, channel, subscription(name), Physical("http://x/", None))


def uids(api: FakeApi) -> list[str]:
    return [entry["uid"] for entry in api.listed]


async def test_what_is_written_meanwhile_stays(api: FakeApi, context: Context) -> None:
    api.meanwhile = [lambda: None, lambda: api.write([*api.listed, BY_HAND])]
    await add(context)
    assert uids(api) == ["by-hand", "uid-mail"]
    assert api.patches == 2
    assert api.events == ["SubscriberAdded"]


async def test_a_removal_keeps_what_is_written_meanwhile(api: FakeApi, context: Context) -> None:
    await add(context)
    channel = await subscribers.get(context, NAME)
    assert channel is not None
    api.meanwhile = [lambda: api.write([*api.listed, BY_HAND])]
    await subscribers.remove(context, channel, subscription())
    assert uids(api) == ["by-hand"]
    await subscribers.remove(context, channel, subscription())
    assert api.events == ["SubscriberAdded", "SubscriberRemoved"]


async def test_it_does_not_race_for_ever(api: FakeApi, context: Context) -> None:
    api.meanwhile = [lambda: None] + 5 * [lambda: api.write(list(api.listed))]
    with pytest.raises(Conflict):
        await add(context)
    assert (uids(api), api.events) == ([], [])


async def test_what_is_right_is_not_written(api: FakeApi, context: Context) -> None:
    await add(context)
    await add(context)
    assert api.patches == 1


async def test_a_channel_that_is_gone_needs_nothing(api: FakeApi, context: Context) -> None:
    def end() -> None:
        api.exists = False

    api.meanwhile = [end]
    await add(context)
    assert (api.patches, api.events) == (0, [])


async def test_an_entry_of_nobody_is_removed(api: FakeApi, context: Context) -> None:
    api.listed = [GONE, BY_HAND]
    await subscribers.reconcile(context, NAME, {})
    assert uids(api) == ["by-hand"]


async def test_while_nobody_knows_of_subscriptions_none_is_gone(
    api: FakeApi, context: Context
) -> None:
    api.listed, api.knows_subscriptions = [GONE], False
    with pytest.raises(NotFound):
        await subscribers.reconcile(context, NAME, {})
    assert uids(api) == ["gone"]


async def test_one_that_was_seen_is_not_asked_for(api: FakeApi, context: Context) -> None:
    api.listed = [GONE]
    await subscribers.reconcile(context, NAME, {"gone": NAME})
    assert uids(api) == ["gone"]
    await subscribers.reconcile(context, NAME, {"gone": channel_id("shop", "other")})
    assert uids(api) == []
