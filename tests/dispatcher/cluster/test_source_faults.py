"""What a failing API does to the desired state. The API is a fake: real ones fail rarely."""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.cluster.orphans import Orphans
from dispatcher.cluster.source import KubernetesSource
from dispatcher.durables.ledger import Ledger
from dispatcher.runtime.state_folder import StateFolder
from natss.contract.resources import Defaults, DesiredState, ResourceName
from natss.kube import (
    Forbidden,
    KubeClient,
    KubeError,
    Listing,
    Resource,
    Unreachable,
    connection_info,
)
from tests.support.channel_ids import channel_id
from tests.support.waiting import Changes, eventually

ORDERS = channel_id("shop", "orders")


def document(
    name: str, version: int, *, finalizers: tuple[str, ...] = ("natss-dispatcher",)
) -> Any:
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": name,
            "resourceVersion": str(version),
            "finalizers": list(finalizers),
        },
        "spec": {
            "provisioner": {"name": "natss"},
            "subscribable": {"subscribers": [{"uid": name, "subscriberURI": "http://mail/"}]},
        },
    }


class PlayedApi(KubeClient):
    """A fake API that lists what it is given, and ends every watch when the test says so."""

    def __init__(self, *documents: Any, version: int = 10) -> None:
        super().__init__(connection_info, field_manager="tests")
        self.listing = Listing(list(documents), str(version))
        self.error: KubeError | None = None
        self.events: list[Any] = []
        self.refuses_writes = False
        self.patches: list[Any] = []
        self.lists = 0
        self._broken = asyncio.Event()

    def tell(self, *documents: Any, version: int) -> None:
        """List these from now on; break the present watch."""
        self.listing = Listing(list(documents), str(version))
        self._broken.set()

    async def list_all(self, *_: Any, **__: Any) -> Listing:
        if self.error is not None:
            raise self.error
        self.lists += 1
        return self.listing

    async def watch(self, *_: Any, **__: Any) -> AsyncGenerator[Any]:
        self._broken.clear()
        await self._broken.wait()
        for event in self.events:
            yield event
        raise Unreachable("broken by the test")

    async def patch(
        self, resource: Resource, name: str, body: Any, namespace: str | None = None
    ) -> Any:
        if self.refuses_writes:
            raise Forbidden(403, "Forbidden", "no")
        self.patches.append(body)
        found = next(each for each in self.listing.documents if each["metadata"]["name"] == name)
        version = {"resourceVersion": str(int(self.listing.version) + len(self.patches))}
        return {**found, "metadata": {**found["metadata"], **body["metadata"], **version}}


class Run:
    """A source at work."""

    def __init__(self, source: KubernetesSource) -> None:
        self.source = source
        self.states: list[DesiredState] = []
        self.takes = 0.0
        """In seconds: how long it takes to apply a state."""
        self.may_end = asyncio.Event()
        """Set when applying a state may end."""
        self.may_end.set()
        self._changes = Changes()
        self.task = asyncio.create_task(source.run(self._apply), name="source")

    @property
    def names(self) -> set[str]:
        return {each.name for each in self.states[-1].channels}

    def tell(self, *documents: Any, deleted: bool = False) -> None:
        """Have the source know these, as a watch tells them."""
        for each in documents:
            (self.source._table.discard if deleted else self.source._table.put)(each)
        self.source._note_change()

    async def until(self, condition: Callable[[], bool], seconds: float = 8.0) -> None:
        await self._changes.until(condition, seconds)

    async def _apply(self, state: DesiredState) -> None:
        self.states.append(state)
        self._changes.note()
        time.sleep(self.takes)  # noqa: ASYNC251  it is the loop that is kept busy
        await self.may_end.wait()


@asynccontextmanager
async def running(
    api: PlayedApi,
    folder: Path | None = None,
    empty_is_true: float = 60.0,
    records: Ledger | None = None,
) -> AsyncIterator[Run]:
    records = records or Ledger(StateFolder(None), 60.0)
    source = KubernetesSource(
        api,
        ChannelTable(Defaults()),
        StateFolder(folder),
        records,
        Orphans(api, "natss", records, Defaults()),
        empty_is_true=empty_is_true,
    )
    run = Run(source)
    try:
        yield run
    finally:
        run.task.cancel()
        await asyncio.wait([run.task])


async def test_an_empty_list_by_fault_takes_nothing_away() -> None:
    api = PlayedApi(document("orders", 5))
    async with running(api) as run:
        await run.until(lambda: len(run.states) == 1)
        api.tell(version=20)
        await run.until(lambda: len(run.states) == 2)
        assert run.names == {"orders"}
        api.tell(document("orders", 5), document("new", 21), version=22)
        await run.until(lambda: run.names == {"orders", "new"})


async def test_a_list_that_stays_empty_is_believed() -> None:
    api = PlayedApi(document("orders", 5))
    async with running(api, empty_is_true=0.2) as run:
        await run.until(lambda: len(run.states) == 1)
        api.tell(version=20)
        await run.until(lambda: run.names == set())
        assert api.lists == 3


async def test_a_store_that_was_restored_is_asked_again_and_not_believed() -> None:
    api = PlayedApi(document("orders", 50), version=60)
    async with running(api, empty_is_true=0.05) as run:
        await run.until(lambda: len(run.states) == 1)
        api.tell(document("other", 7), version=20)
        await run.until(lambda: api.lists >= 4)
        assert run.names == {"orders", "other"}


async def test_what_was_kept_is_used_at_once_if_the_api_refuses(tmp_path: Path) -> None:
    async with running(PlayedApi(document("orders", 5)), tmp_path) as run:
        await run.until(lambda: bool(run.states))
        await eventually((tmp_path / "channels.json").exists, 8, every=0.01)
    api = PlayedApi(document("orders", 5), document("new", 6))
    api.error = Unreachable("away")
    async with running(api, tmp_path) as run:
        await run.until(lambda: bool(run.states))
        assert run.names == {"orders"}
        api.error = None
        await run.until(lambda: run.names == {"orders", "new"})


@pytest.mark.parametrize("text", ["", "[]", '{"channels": [7], "version": "1"}', "{}"])
async def test_what_was_kept_and_is_broken_is_as_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "channels.json").write_text(text)
    async with running(PlayedApi(document("orders", 5)), tmp_path) as run:
        await run.until(lambda: bool(run.states))
        assert run.names == {"orders"}


async def test_a_channel_that_cannot_get_its_finalizer_is_served_in_the_end() -> None:
    api = PlayedApi(document("orders", 5, finalizers=()))
    api.refuses_writes = True
    async with running(api) as run:
        await run.until(lambda: bool(run.states))
        assert run.names == set()
        await run.until(lambda: run.names == {"orders"})


async def test_a_deleted_channel_is_let_go_when_its_durables_are_and_not_before() -> None:
    deleted = document("orders", 5, finalizers=("a/b", "natss-dispatcher"))
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    api = PlayedApi(deleted)
    records = Ledger(StateFolder(None), 60.0)
    records.want(ORDERS, ResourceName("shop", "orders"), "orders", 0.0)
    async with running(api, records=records) as run:
        await run.until(lambda: bool(run.states))
        assert set(run.states[0].deleted) == {ORDERS}, "who is asked knows what is to be removed"
        await asyncio.sleep(0.2)  # an absence, not a wait for something
        assert api.patches == []
        records.forget(ORDERS, "orders")
        await run.until(lambda: bool(api.patches))
    metadata = {"resourceVersion": "5", "finalizers": ["a/b"]}
    assert api.patches == [{"metadata": metadata}]


async def test_a_channel_is_let_go_only_after_it_was_applied_as_deleted() -> None:
    """Its durables are unknown before that: they would stay for ever."""
    api = PlayedApi(document("orders", 5), version=5)
    async with running(api) as run:
        run.may_end.clear()
        await run.until(lambda: len(run.states) == 1)
        deleted = document("orders", 6)
        deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        run.tell(deleted)
        run.may_end.set()
        await run.until(lambda: len(run.states) == 2)
        assert set(run.states[1].deleted) == {ORDERS}
        assert api.patches == []
        await eventually(lambda: api.patches, every=0.01)


async def test_what_changes_while_a_state_is_applied_is_applied_after_it() -> None:
    api = PlayedApi(document("orders", 5), document("gone", 5), version=5)
    async with running(api) as run:
        run.may_end.clear()
        await run.until(lambda: len(run.states) == 1)
        run.tell(document("passing", 6), document("new", 7))
        run.tell(document("passing", 8), document("gone", 8), deleted=True)
        await asyncio.sleep(0.1)  # an absence, not a wait for something
        assert len(run.states) == 1, "one after another"
        run.may_end.set()
        await run.until(lambda: len(run.states) == 2)
        assert run.names == {"orders", "new"}, "what went is seen to be gone"


async def test_the_event_loop_is_never_held_up_by_1000_channels(tmp_path: Path) -> None:
    """Reading them takes some 100 ms of CPU; it is done in steps."""
    api = PlayedApi(*(document(f"c{number}", number) for number in range(1, 1001)), version=2000)
    longest = 0.0
    gc.disable()  # it would walk through the objects of all other tests
    try:
        async with running(api, tmp_path) as run:
            while not run.states:
                began = time.thread_time()
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - began)
            assert len(run.names) == 1000
    finally:
        gc.enable()
    assert longest < 0.05


async def test_changes_without_end_leave_most_of_the_time_to_the_events() -> None:
    """Anybody may change a Channel again and again; with thousands of them, that takes long."""
    async with running(PlayedApi(document("orders", 5))) as run:
        run.takes = 0.05
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < 1.5:
            run.source._note_change()
            await asyncio.sleep(0.001)
        assert 2 <= len(run.states) < 0.3 * elapsed / run.takes
