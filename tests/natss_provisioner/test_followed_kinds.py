"""Which kinds of objects are followed and what is reported of them, with a fake API."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from itertools import cycle
from typing import Any

import pytest
from structlog.typing import EventDict

from natss.contract.resources import ResourceName
from natss.document import Document
from natss.kube import (
    Forbidden,
    Invalid,
    KubeClient,
    KubeError,
    Listing,
    NotFound,
    Resource,
    Unreachable,
    connection_info,
)
from natss_provisioner import references
from natss_provisioner.dependents import DependentKind, ObjectName
from natss_provisioner.references import References

FAIRY = DependentKind("tales/v1", "Fairy")
PLACES = 20
MOST_ASKED_FOR = 100


class PlayedApi(KubeClient):
    """A fake API that serves one kind, refuses all others, and sends watches what the test says."""

    def __init__(self) -> None:
        super().__init__(connection_info, field_manager="tests")
        self.listing: list[Document] = []
        self.refusal: KubeError | None = None
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self._refusals = cycle(
            (Forbidden(403, "", "no"), NotFound(404, "", "no"), Invalid(405, "", "no"))
        )
        self.watching = asyncio.Event()
        self.events: asyncio.Queue[Document | KubeError] = asyncio.Queue()

    async def list_all(self, resource: Resource, *_: Any, **__: Any) -> Listing:
        self.asked.put_nowait(resource.kind)
        if resource.kind != FAIRY.kind:
            raise next(self._refusals)
        if self.refusal is not None:
            raise self.refusal
        return Listing(self.listing, "1")

    async def watch(self, *_: Any, **__: Any) -> AsyncGenerator[Document]:
        self.watching.set()
        while True:
            event = await self.events.get()
            if isinstance(event, KubeError):
                raise event
            yield event


class Following:
    """Running references and what they have reported."""

    def __init__(self) -> None:
        self.api = PlayedApi()
        self.moved: asyncio.Queue[ObjectName] = asyncio.Queue()
        self._kinds: Sequence[DependentKind] = ()
        self.references = References(self.api, lambda: self._kinds, self.moved.put_nowait)
        self.task = asyncio.create_task(self.references.run())

    def want(self, *kinds: DependentKind) -> None:
        self._kinds = kinds
        self.references.look()

    async def told(self) -> str:
        """Wait for the next object whose address has changed."""
        return (await asyncio.wait_for(self.moved.get(), 20.0)).name.name

    async def asked(self, count: int) -> None:
        """Wait for so many requests for kinds since the last time."""
        async with asyncio.timeout(20.0):
            for _ in range(count):
                await self.api.asked.get()


@pytest.fixture
async def following() -> AsyncIterator[Following]:
    running = Following()
    yield running
    running.task.cancel()
    await asyncio.wait([running.task])


def fairy(name: str, host: str | None = None) -> Document:
    status = {"address": {"hostname": host}} if host else {}
    metadata = {"namespace": "shop", "name": name, "resourceVersion": "2"}
    return {"kind": "Fairy", "metadata": metadata, "status": status}


def refused(count: int) -> list[DependentKind]:
    return [DependentKind("tales/v1", f"Secret{number}") for number in range(count)]


async def test_who_is_refused_keeps_no_place(following: Following) -> None:
    following.want(*refused(PLACES))
    await following.asked(PLACES)
    following.want(*refused(PLACES), FAIRY)
    await asyncio.wait_for(following.api.watching.wait(), 20.0)
    assert following.api.asked.get_nowait() == FAIRY.kind
    assert following.api.asked.empty(), "the others wait"


async def test_who_was_refused_is_asked_for_again(
    following: Following, monkeypatch: pytest.MonkeyPatch, logged: list[EventDict]
) -> None:
    monkeypatch.setattr(references, "_ASK_AGAIN", 0.01)
    following.api.refusal = Forbidden(403, "Forbidden", "not yet")
    following.want(FAIRY)
    await following.asked(3)
    told = [each for each in logged if "not yet" in each.get("reason", "")]
    assert len(told) == 1
    following.api.refusal = None
    await asyncio.wait_for(following.api.watching.wait(), 20.0)


async def test_an_object_that_is_gone_is_told_and_forgotten(following: Following) -> None:
    following.api.listing = [fairy("a", "one.example"), fairy("b", "two.example"), fairy("c")]
    following.want(FAIRY)
    assert {await following.told(), await following.told()} == {"a", "b"}
    following.api.events.put_nowait({"type": "DELETED", "object": fairy("a", "one.example")})
    assert await following.told() == "a"
    following.api.listing = [fairy("c")]
    following.api.events.put_nowait(Unreachable("the watch broke"))
    assert await following.told() == "b"
    following.api.events.put_nowait({"type": "ADDED", "object": fairy("c", "three.example")})
    assert await following.told() == "c"
    known = following.references._addresses[FAIRY]
    assert known == {ObjectName(FAIRY, ResourceName("shop", "c")): "three.example"}
    following.want()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not following.references._addresses


async def test_an_object_that_went_while_its_kind_was_refused_is_told(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "_ASK_AGAIN", 0.01)
    following.api.listing = [fairy("a", "one.example")]
    following.want(FAIRY)
    assert await following.told() == "a"
    following.api.listing = []
    following.api.events.put_nowait(Forbidden(403, "Forbidden", "for a moment"))
    assert await following.told() == "a"


async def test_of_too_many_kinds_the_first_are_asked_for_and_none_loses_its_place(
    following: Following,
) -> None:
    """Anybody who may write Subscriptions may name any number of kinds that do not exist."""
    following.want(FAIRY)
    await asyncio.wait_for(following.api.watching.wait(), 20.0)
    following.want(*refused(1000), FAIRY)
    await following.asked(MOST_ASKED_FOR)
    for _ in range(100):
        await asyncio.sleep(0)
    assert following.api.asked.empty()
    following.api.events.put_nowait({"type": "ADDED", "object": fairy("a", "one.example")})
    assert await following.told() == "a", "it is followed on"
