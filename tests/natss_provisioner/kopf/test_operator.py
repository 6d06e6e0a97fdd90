"""Why the control plane follows objects by itself, and not with kopf's operator.

These tests are about kopf. Each shows a fault that has no setting. When one fails, kopf has mended
it: look again at the decision in ``docs/architecture.md``, and at ``natss/kube/following.py``.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import kopf
import pytest

from tests.natss_provisioner.kopf.fake_api import PLURAL, FakeApi


@dataclass(frozen=True)
class Told:
    """What kopf passed to a handler, and what its index had then."""

    kind: str | None
    name: str
    index: frozenset[str]


class Operator:
    """kopf's operator in a thread of its own, because it cancels every task in its loop.

    Attributes:
        ended: The result; done once it has ended by itself or by ``stop``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Told] = asyncio.Queue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self.ended: asyncio.Future[BaseException | None] = self._loop.create_future()

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join)

    async def told(self, name: str) -> Told:
        """Wait for the next call about an object; forget the earlier ones."""
        async with asyncio.timeout(10):
            while (told := await self._told.get()).name != name:
                pass
        return told

    def _run(self) -> None:
        asyncio.run(self._operate())

    async def _operate(self) -> None:
        end: BaseException | None = None
        try:
            await self._operator()
        except Exception as error:  # how it ends is what is asked
            end = error
        self._loop.call_soon_threadsafe(self.ended.set_result, end)

    async def _operator(self) -> None:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=self._url)

        @kopf.index(PLURAL, id="index", registry=registry)
        async def names(name: str, **_: Any) -> dict[str, bool]:
            return {name: True}

        @kopf.on.event(PLURAL, registry=registry)
        async def event(name: str, **of: Any) -> None:
            told = Told(of["type"], name, frozenset(of["index"]))
            self._loop.call_soon_threadsafe(self._told.put_nowait, told)

        settings = kopf.OperatorSettings()
        settings.scanning.disabled = True
        settings.networking.error_backoffs = [0.02] * 1000
        await kopf.operator(
            registry=registry,
            settings=settings,
            standalone=True,
            clusterwide=True,
            stop_flag=self._stop,
        )


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """Run an API with one object."""
    fake = FakeApi()
    fake.put("kept")
    async with fake.serve():
        yield fake


@pytest.fixture
async def operator(api: FakeApi) -> AsyncIterator[Operator]:
    """Run an operator that has handled the object."""
    running = Operator(api.url)
    running.start()
    try:
        await running.told("kept")
        yield running
    finally:
        await running.stop()


async def index_after_all_is_told(api: FakeApi, operator: Operator) -> frozenset[str]:
    """Return which objects exist for kopf, once it has handled all that has happened so far.

    The word of a change comes behind the list that kopf has made before it watched, and the second
    one when the first has been handled.
    """
    for _ in range(2):
        api.put("marker")
        told = await operator.told("marker")
    return told.index


async def test_kopf_tells_of_a_deletion_that_it_watches(api: FakeApi, operator: Operator) -> None:
    """This is correct: the other test would notice if kopf reported the deletion."""
    api.put("gone")
    await operator.told("gone")
    api.delete("gone")
    assert (await operator.told("gone")).kind == "DELETED"
    assert await index_after_all_is_told(api, operator) == {"kept", "marker"}


async def test_kopf_keeps_what_was_deleted_while_the_api_was_away(
    api: FakeApi, operator: Operator
) -> None:
    """When this fails, kopf compares a new list with what it knows: see the top of this file."""
    api.put("gone")
    await operator.told("gone")
    api.go_away()
    await api.refused.acquire()
    api.delete("gone")
    api.come_back()
    assert (await operator.told("kept")).kind is None  # all is listed again
    assert await index_after_all_is_told(api, operator) == {"kept", "gone", "marker"}


async def test_an_error_in_a_watch_ends_kopf(api: FakeApi, operator: Operator) -> None:
    """When this fails, kopf lists again after an error: see the top of this file."""
    api.fail_watch(500)
    async with asyncio.timeout(10):
        end = await operator.ended
    assert "'code': 500" in str(end)


async def test_kopf_lists_again_after_the_error_that_it_knows(
    api: FakeApi, operator: Operator
) -> None:
    """This is correct, and kopf could do the same after any other error."""
    api.fail_watch(410)
    assert (await operator.told("kept")).kind is None
    assert not operator.ended.done()
