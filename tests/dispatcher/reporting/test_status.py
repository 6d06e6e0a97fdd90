"""How reports are written while the API refuses, is away, or somebody undoes them. It is played."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dispatcher.cluster.channel_table import ChannelTable, Entry
from dispatcher.reporting import channel_status
from dispatcher.reporting.channel_status import ChannelStatus
from natss.contract.resources import Defaults
from natss.kube import (
    Conflict,
    Forbidden,
    Invalid,
    KubeClient,
    KubeError,
    Unreachable,
    connection_info,
)
from natss.kube.resources import Resource
from tests.support.channel_ids import CHANNELS
from tests.support.waiting import Changes

Status = dict[str, Any]
SERVED: Status = {"dispatcher": {"host": "a.example"}}


def document(name: str, version: int = 1) -> Any:
    metadata = {"name": name, "namespace": "shop", "uid": f"u-{name}"}
    return {
        "apiVersion": CHANNELS.api_version,
        "kind": CHANNELS.kind,
        "metadata": {**metadata, "resourceVersion": str(version)},
        "spec": {},
    }


class PlayedApi(KubeClient):
    """Takes a status, or fails as it is told."""

    def __init__(self) -> None:
        super().__init__(connection_info, field_manager="tests")
        self.errors: list[KubeError | None] = []
        """Of the next requests; after the last all succeed."""
        self.written: list[tuple[str, Status]] = []
        self.requests = 0
        self._requested = Changes()

    async def patch_status(
        self, resource: Resource, name: str, body: Any, namespace: str | None = None
    ) -> Any:
        self.requests += 1
        self._requested.note()
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        self.written.append((name, body["status"]))
        stored = document(name, 100 + self.requests)
        return {**stored, "status": body["status"]}

    async def until(self, condition: Callable[[], bool]) -> None:
        await self._requested.until(condition, 15)


@pytest.fixture
def api() -> PlayedApi:
    return PlayedApi()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_status, "_LOOK_AGAIN", 0.02)
    monkeypatch.setattr(channel_status, "_FIRST_WAIT", 0.05)


@asynccontextmanager
async def reporting(
    api: PlayedApi, *names: str, wanted: Status | None = None
) -> AsyncIterator[ChannelStatus]:
    """Report: want the status on each channel as long as it is not there."""
    table = ChannelTable(Defaults())
    for name in names:
        table.put(document(name))
    status = SERVED if wanted is None else wanted

    def missing(entry: Entry) -> Status | None:
        return None if entry.document.get("status") == status else status

    reports = ChannelStatus(api, table, missing, lambda: True)
    task = asyncio.create_task(reports.run(), name="reports")
    try:
        yield reports
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_each_difference_is_written_once(api: PlayedApi) -> None:
    async with reporting(api, *"abcdefghijklmnop"):
        await api.until(lambda: len(api.written) == 16)
        await asyncio.sleep(0.2)
    assert sorted(api.written) == [(name, SERVED) for name in "abcdefghijklmnop"]


async def test_after_a_conflict_it_waits_for_the_channel_as_it_is_now(api: PlayedApi) -> None:
    api.errors = [Conflict(409, "Conflict", "changed")]
    table = ChannelTable(Defaults())
    table.put(document("a"))
    reports = ChannelStatus(api, table, lambda _: SERVED, lambda: True)
    task = asyncio.create_task(reports.run(), name="reports")
    await api.until(lambda: api.requests == 1)
    await asyncio.sleep(0.2)
    assert api.requests == 1
    table.put(document("a", version=2))
    await api.until(lambda: bool(api.written))
    task.cancel()
    await asyncio.wait([task])


async def test_a_refusal_of_one_holds_up_no_other(api: PlayedApi) -> None:
    api.errors = [Invalid(422, "Invalid", "no")]
    async with reporting(api, *"abc") as reports:
        await api.until(lambda: len(api.written) == 2)
        await asyncio.sleep(0.2)
    assert api.requests == 3, "what was refused is not tried again at once"
    assert reports.last_error is None


@pytest.mark.parametrize("error", [Unreachable("away"), Forbidden(403, "Forbidden", "no role")])
async def test_while_nothing_can_be_written_little_is_tried(
    api: PlayedApi, error: KubeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_status, "_FIRST_WAIT", 3.0)
    api.errors = [error] * 8
    async with reporting(api, *[f"c{number}" for number in range(50)]) as reports:
        await api.until(lambda: api.requests >= 8)
        await asyncio.sleep(0.5)
        assert api.requests == 8, "so many are under way at once, then there is a pause"
        assert reports.last_error == str(error)
        await api.until(lambda: len(api.written) == 50)
        assert reports.last_error is None


async def test_who_undoes_it_is_no_reason_to_flood_the_api(api: PlayedApi) -> None:
    """Here it never gets to be as wanted, for what is wanted has nothing to do with it."""
    never = {"dispatcher": {"host": "b.example"}}
    table = ChannelTable(Defaults())
    table.put(document("a"))
    reports = ChannelStatus(api, table, lambda _: never, lambda: True)
    task = asyncio.create_task(reports.run(), name="reports")
    await api.until(lambda: bool(api.written))
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.wait([task])
    assert api.requests == 1


async def test_what_changes_all_the_time_is_written_now_and_then_a_host_at_once(
    api: PlayedApi,
) -> None:
    table = ChannelTable(Defaults())
    table.put(document("a"))
    counter = iter(range(1_000_000))
    host: Status = {}

    def restless(_: Entry) -> Status:
        return {"subscribableStatus": {"subscribers": [next(counter)]}, **host}

    reports = ChannelStatus(api, table, restless, lambda: True)
    task = asyncio.create_task(reports.run(), name="reports")
    await api.until(lambda: api.requests == 1)
    await asyncio.sleep(0.3)
    assert api.requests == 1
    host.update(SERVED)
    await api.until(lambda: api.requests == 2)
    assert api.written[1][1].items() >= SERVED.items()
    task.cancel()
    await asyncio.wait([task])


async def test_who_stands_by_leaves_it_to_the_other_at_first(
    api: PlayedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_status, "_DEFERENCE", 0.5)
    table = ChannelTable(Defaults())
    for name in ("told", "forgotten"):
        table.put(document(name))

    def missing(entry: Entry) -> Status | None:
        return SERVED if "status" not in entry.document else None

    reports = ChannelStatus(api, table, missing, lambda: False)
    task = asyncio.create_task(reports.run(), name="reports")
    await asyncio.sleep(0.1)
    table.put({**document("told", version=2), "status": SERVED})
    await api.until(lambda: bool(api.written))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert api.written == [("forgotten", SERVED)]


async def test_a_channel_that_is_deleted_is_left_alone(api: PlayedApi) -> None:
    table = ChannelTable(Defaults())
    gone = document("gone")
    gone["metadata"]["deletionTimestamp"] = "2024-05-01T12:00:00Z"
    table.put(gone)
    table.put(document("here"))
    reports = ChannelStatus(api, table, lambda _: SERVED, lambda: True)
    task = asyncio.create_task(reports.run(), name="reports")
    await api.until(lambda: bool(api.written))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert api.written == [("here", SERVED)]


async def test_a_fault_of_ours_ends_no_report(api: PlayedApi) -> None:
    table = ChannelTable(Defaults())
    table.put(document("a"))
    faults = iter([ValueError("ours"), ValueError("ours")])

    def broken(_: Entry) -> Status:
        for fault in faults:
            raise fault
        return SERVED

    reports = ChannelStatus(api, table, broken, lambda: True)
    task = asyncio.create_task(reports.run(), name="reports")
    await api.until(lambda: bool(api.written))
    task.cancel()
    await asyncio.wait([task])
    assert reports.last_error is None


async def test_a_fault_of_ours_with_one_channel_keeps_no_other_from_being_reported(
    api: PlayedApi,
) -> None:
    table = ChannelTable(Defaults())
    for name in ("broken", "whole"):
        table.put(document(name))

    def missing(entry: Entry) -> Status | None:
        if entry.name.name == "broken":
            raise ValueError("ours")
        return SERVED

    reports = ChannelStatus(api, table, missing, lambda: True)
    task = asyncio.create_task(reports.run(), name="reports")
    await api.until(lambda: api.written == [("whole", SERVED)])
    task.cancel()
    await asyncio.wait([task])
