"""Which object is reconciled when, with handlers that only note that they were called."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from contract.resources import ResourceName
from kube import Document, EventRecorder, KubeClient, Resource, Unreachable
from natss_provisioner.children import Place
from natss_provisioner.controller import Controller
from natss_provisioner.handlers import channel, provisioner
from natss_provisioner.handlers.context import Context
from natss_provisioner.resources import CHANNELS
from natss_provisioner.settings import Settings


class FakeClient:
    """Lists what it is told to; anything else is a mistake of the test."""

    def __init__(self) -> None:
        self.lists: list[list[Document] | Unreachable] = []
        self.listed = asyncio.Event()

    async def list(self, resource: Resource) -> list[Document]:
        assert resource is CHANNELS
        answer = self.lists.pop(0) if self.lists else []
        if not self.lists:
            self.listed.set()
        if isinstance(answer, Unreachable):
            raise answer
        return answer


class Running:
    """A controller at work and what it called."""

    def __init__(self, resync: float) -> None:
        self.client = FakeClient()
        client = cast("KubeClient", self.client)
        events = EventRecorder(client, component="tests", instance="one")
        context = Context(client, events, Place("system", "cluster.local"))
        self.controller = Controller(context, Settings(resync=resync))
        self.calls: list[str] = []
        self.task = asyncio.create_task(self.controller.run())

    async def called(self) -> list[str]:
        """What was called since the last time, once all is done."""
        for _ in range(20):
            await asyncio.sleep(0)
        calls, self.calls = sorted(self.calls), []
        return calls


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    started: list[Running] = []

    async def note_provisioner(_: Context, name: str) -> None:
        started[0].calls.append(name)

    async def note_channel(_: Context, name: ResourceName) -> None:
        started[0].calls.append(str(name))

    monkeypatch.setattr(provisioner, "reconcile", note_provisioner)
    monkeypatch.setattr(channel, "reconcile", note_channel)

    def begin(resync: float = 3600.0) -> Running:
        started.append(Running(resync))
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


def the_provisioner(ready: str, name: str = "natss") -> Document:
    conditions = [{"type": "Ready", "status": ready}]
    return {"metadata": {"name": name}, "status": {"conditions": conditions}}


async def test_only_our_channels_are_reconciled(start: Any) -> None:
    running = start()
    running.controller.on_channel(document("a"), deleted=False)
    running.controller.on_channel(document("b", "other"), deleted=False)
    running.controller.on_channel(document("c"), deleted=True)
    assert await running.called() == ["shop/a"]


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
        ({"ownerReferences": [{"kind": "ClusterChannelProvisioner", "name": "natss"}]}, ["natss"]),
        ({"labels": {"role": "dispatcher"}}, ["natss"]),
        ({}, ["natss"]),
    ],
)
async def test_who_sees_to_a_service(start: Any, metadata: Document, expected: list[str]) -> None:
    running = start()
    for name in "ab":
        running.controller.on_channel(document(name), deleted=False)
    await running.called()
    running.controller.on_service({"namespace": "shop", "name": "s", **metadata})
    assert await running.called() == expected


async def test_channels_that_are_gone_or_no_longer_ours_are_forgotten(start: Any) -> None:
    running = start()
    for name in "ab":
        running.controller.on_channel(document(name), deleted=False)
    running.controller.on_channel(document("a"), deleted=True)
    running.controller.on_channel(document("b", "other"), deleted=False)
    await running.called()
    for name in "ab":
        running.controller.on_service({"namespace": "shop", "labels": {"channel": name}})
    assert await running.called() == []


async def test_everything_is_looked_at_again_after_a_while_even_if_the_api_was_away(
    start: Any,
) -> None:
    running = start(resync=0.001)
    running.controller.on_channel(document("gone"), deleted=False)
    running.client.lists = [Unreachable("away"), [document("a"), document("b", "other")]]
    await running.client.listed.wait()
    assert {"natss", "shop/a"} <= set(await running.called())
    running.controller.on_service({"namespace": "shop", "labels": {"channel": "gone"}})
    assert "shop/gone" not in await running.called()
