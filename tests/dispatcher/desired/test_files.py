"""Files and folders as a source: changes are seen, and broken or missing files keep their state.

The watch is tested with a rescan so late that it cannot help.
"""

import asyncio
import gc
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import yaml

from dispatcher.desired import Source
from dispatcher.desired.catalogue import MAX_FILE_BYTES
from dispatcher.desired.files import FileSource
from dispatcher.durables.ledger import Ledger
from dispatcher.runtime.state_folder import StateFolder
from natss.contract.resources import Defaults, DesiredState, ResourceName
from tests.support.channel_ids import channel_id

NEVER = 3600.0


def channel(name: str, retry: int = 4) -> str:
    return (
        "apiVersion: eventing.knative.dev/v1alpha1\n"
        "kind: Channel\n"
        f"metadata: {{name: {name}}}\n"
        f"spec: {{provisioner: {{name: natss}}, arguments: {{retry: {retry}}}}}\n"
    )


class Seen:
    """Records what a source has applied, state by state."""

    def __init__(self) -> None:
        self._states: asyncio.Queue[DesiredState] = asyncio.Queue()
        self.last = DesiredState({})

    async def apply(self, state: DesiredState) -> None:
        self._states.put_nowait(state)

    async def next(self) -> DesiredState:
        self.last = await asyncio.wait_for(self._states.get(), 8)
        return self.last

    async def until(self, wanted: Callable[[DesiredState], bool]) -> DesiredState:
        """Wait for the first state that is as wanted; one change may cause several states."""
        while not wanted(await self.next()):
            pass
        return self.last

    @property
    def idle(self) -> bool:
        return self._states.empty()


@asynccontextmanager
async def running(*paths: Path, rescan: float = NEVER) -> AsyncIterator[Seen]:
    seen = Seen()
    source: Source = FileSource(paths, Defaults(), rescan=rescan)
    task = asyncio.create_task(source.run(seen.apply))
    try:
        yield seen
        assert not task.done(), task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def names(state: DesiredState) -> set[str]:
    return {name.name for name in state.channels}


def told(state: DesiredState) -> str:
    return "\n".join(str(problem) for problem in state.problems)


def are(*wanted: str) -> Callable[[DesiredState], bool]:
    return lambda state: names(state) == set(wanted)


def tells(text: str) -> Callable[[DesiredState], bool]:
    return lambda state: text in told(state)


def replace(path: Path, text: str) -> None:
    """Write as many editors do: a new file, renamed over the old one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


class TestOneFile:
    async def test_is_read_at_once(self, tmp_path: Path) -> None:
        file = tmp_path / "channels.yaml"
        file.write_text(channel("a") + "---\n" + channel("b"))
        async with running(file) as seen:
            assert names(await seen.next()) == {"a", "b"}
            assert seen.last.problems == ()

    @pytest.mark.parametrize("write", [Path.write_text, replace], ids=["in place", "renamed over"])
    async def test_a_change_is_seen(
        self, tmp_path: Path, write: Callable[[Path, str], None]
    ) -> None:
        file = tmp_path / "channels.yaml"
        file.write_text(channel("a"))
        async with running(file) as seen:
            await seen.next()
            for name in ("b", "c", "d"):
                write(file, channel(name))
                await seen.until(are(name))

    async def test_that_says_the_same_again_is_no_change(self, tmp_path: Path) -> None:
        file = tmp_path / "channels.yaml"
        file.write_text(channel("a"))
        async with running(file) as seen:
            await seen.next()
            replace(file, channel("a") + "# nothing new\n")
            replace(file, channel("b"))
            assert names(await seen.next()) == {"b"}

    async def test_that_comes_later(self, tmp_path: Path) -> None:
        file = tmp_path / "not" / "yet" / "channels.yaml"
        async with running(file) as seen:
            assert await seen.next() == seen.last
            assert names(seen.last) == set()
            assert f"{file}: cannot be read: no such file or directory" in told(seen.last)
            file.parent.mkdir(parents=True)
            file.write_text(channel("a"))
            assert names(await seen.until(are("a"))) == {"a"}
            assert seen.last.problems == ()

    async def test_that_vanishes_keeps_its_last_word(self, tmp_path: Path) -> None:
        file = tmp_path / "channels.yaml"
        file.write_text(channel("a"))
        async with running(file) as seen:
            await seen.next()
            file.unlink()
            await seen.until(tells("what it said before still holds"))
            assert names(seen.last) == {"a"}
            file.write_text(channel("b"))
            assert (await seen.until(are("b"))).problems == ()

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("a: [1,\nb: {", "line 3, column 1: did not find expected node content; what it said"),
            ("a: 1\na: 2\n", "line 2, column 1: the key 'a' is there twice; what it said before"),
            ("a: \x00", "line 1, column 4: control characters are not allowed"),
            ("", "is empty; if nothing is wanted, write a comment into it; what it said before"),
            ("[" * 100_000, "line 1, column 101: nested more than 100 levels deep"),
        ],
    )
    async def test_that_breaks_keeps_its_last_word(
        self, tmp_path: Path, text: str, problem: str
    ) -> None:
        file = tmp_path / "channels.yaml"
        file.write_text(channel("a"))
        async with running(file) as seen:
            await seen.next()
            replace(file, text)
            await seen.until(tells(f"{file}: {problem}"))
            assert names(seen.last) == {"a"}
            replace(file, channel("b"))
            assert (await seen.until(are("b"))).problems == ()

    async def test_that_is_broken_from_the_start(self, tmp_path: Path) -> None:
        file = tmp_path / "channels.yaml"
        file.write_text("a: [")
        async with running(file) as seen:
            assert names(await seen.next()) == set()
            assert "line 2, column 1" in told(seen.last)
            assert seen.last.unread.anything
            replace(file, channel("a"))
            assert not (await seen.until(are("a"))).unread.anything
            replace(file, "a: [")
            assert not (await seen.next()).unread.anything, "what it said before still holds"

    async def test_with_a_comment_only_asks_for_nothing(self, tmp_path: Path) -> None:
        file = tmp_path / "channels.yaml"
        file.write_text(channel("a"))
        async with running(file) as seen:
            await seen.next()
            replace(file, "# none at the moment\n")
            assert (await seen.until(are())).problems == ()
            assert not seen.last.unread.anything

    async def test_a_document_that_cannot_be_read_stays_as_it_was(self, tmp_path: Path) -> None:
        file = tmp_path / "channels.yaml"
        file.write_text(channel("a") + "---\n" + channel("b"))
        async with running(file) as seen:
            await seen.next()
            replace(file, channel("a", retry=9) + "---\n" + channel("b").replace("spec", "sepc"))
            await seen.until(tells("stays as it was"))
            assert names(seen.last) == {"a", "b"}
            assert seen.last.channels[channel_id("default", "a")].policy.retry == 9
            assert "Channel default/b (channels.yaml, line 6)" in told(seen.last)

    async def test_of_json(self, tmp_path: Path) -> None:
        file = tmp_path / "channels.json"
        file.write_text(
            '{"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "Channel",'
            ' "metadata": {"name": "a\\u0062"}, "spec": {"provisioner": {"name": "natss"}}}'
        )
        async with running(file) as seen:
            assert names(await seen.next()) == {"ab"}

    async def test_too_large(self, tmp_path: Path) -> None:
        file = tmp_path / "channels.yaml"
        with file.open("wb") as sparse:
            sparse.truncate(MAX_FILE_BYTES + 1)
        async with running(file) as seen:
            assert "is larger than 16 MiB; split it" in told(await seen.next())

    async def test_that_is_a_pipe_does_not_hang(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        async with running(pipe) as seen:
            assert "is no regular file" in told(await seen.next())

    async def test_below_what_is_no_folder(self, tmp_path: Path) -> None:
        place = tmp_path / "place"
        place.write_text("")
        async with running(place / "channels.yaml") as seen:
            assert "cannot be read: not a directory" in told(await seen.next())
            place.unlink()
            place.mkdir()
            (place / "channels.yaml").write_text(channel("a"))
            await seen.until(are("a"))


class TestFolder:
    async def test_every_file_with_a_known_ending(self, tmp_path: Path) -> None:
        for name in ("a.yaml", "b.yml", "notes.txt", ".hidden.yaml", "c.yaml~"):
            (tmp_path / name).write_text(channel(f"in-{name[0]}" if name[0] != "." else "hidden"))
        (tmp_path / "below").mkdir()
        (tmp_path / "below" / "d.yaml").write_text(channel("below"))
        async with running(tmp_path) as seen:
            assert names(await seen.next()) == {"in-a", "in-b"}
            assert seen.last.problems == ()

    async def test_files_that_come_change_and_go(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(channel("a"))
        async with running(tmp_path) as seen:
            await seen.next()
            (tmp_path / "b.yaml").write_text(channel("b"))
            await seen.until(are("a", "b"))
            replace(tmp_path / "a.yaml", channel("c"))
            await seen.until(are("b", "c"))
            (tmp_path / "b.yaml").unlink()
            assert (await seen.until(are("c"))).problems == ()

    async def test_a_broken_file_harms_only_itself(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(channel("a"))
        (tmp_path / "b.yaml").write_text(channel("b"))
        async with running(tmp_path) as seen:
            await seen.next()
            replace(tmp_path / "a.yaml", "a: [")
            await seen.until(tells("a.yaml: line 2, column 1"))
            replace(tmp_path / "b.yaml", channel("c"))
            assert "a.yaml: line 2, column 1" in told(await seen.until(are("a", "c")))

    async def test_that_vanishes_keeps_its_last_word(self, tmp_path: Path) -> None:
        folder = tmp_path / "channels"
        folder.mkdir()
        (folder / "a.yaml").write_text(channel("a"))
        async with running(folder) as seen:
            await seen.next()
            folder.rename(tmp_path / "elsewhere")
            await seen.until(tells(f"{folder}: cannot be read"))
            assert names(seen.last) == {"a"}
            (tmp_path / "elsewhere").rename(folder)
            assert names(await seen.until(lambda state: not state.problems)) == {"a"}
            (folder / "b.yaml").write_text(channel("b"))
            await seen.until(are("a", "b"))

    async def test_that_is_empty_of_a_sudden_keeps_its_last_word(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(channel("a"))
        async with running(tmp_path) as seen:
            await seen.next()
            (tmp_path / "a.yaml").unlink()
            await seen.until(tells("has no files that end in .yaml, .yml, .json; what it said"))
            assert names(seen.last) == {"a"}

    async def test_two_files_with_one_channel_tell_both_places(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(channel("x", retry=1))
        (tmp_path / "b.yaml").write_text("# here\n" + channel("x", retry=2))
        async with running(tmp_path) as seen:
            state = await seen.next()
        (one,) = state.channels.values()
        assert one.policy.retry == 1
        assert told(state) == (
            "Channel default/x (b.yaml, line 2): metadata.name:"
            " is there already (a.yaml, line 1); this one is ignored"
        )

    async def test_files_and_folders_together(self, tmp_path: Path) -> None:
        folder, file = tmp_path / "folder", tmp_path / "file.yaml"
        folder.mkdir()
        (folder / "a.yaml").write_text(channel("a"))
        file.write_text(channel("b"))
        async with running(folder, file) as seen:
            assert names(await seen.next()) == {"a", "b"}
            file.write_text(channel("c"))
            await seen.until(are("a", "c"))


class MountedConfigMap:
    """A folder as the kubelet makes it: files are links into ``..data``, a link that is swapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._version = 0
        folder.mkdir()

    def write(self, **files: str) -> None:
        self._version += 1
        version = self.folder / f"..2024_05_01_{self._version}"
        version.mkdir()
        for name, text in files.items():
            (version / f"{name}.yaml").write_text(text)
        old = (self.folder / "..data").resolve()
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self.folder / "..data")
        for name in files:
            file = self.folder / f"{name}.yaml"
            if not file.is_symlink():
                file.symlink_to(f"..data/{name}.yaml")
        if old.is_dir() and self._version > 1:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()


class TestLinks:
    async def test_a_config_map_as_folder(self, tmp_path: Path) -> None:
        mounted = MountedConfigMap(tmp_path / "etc")
        mounted.write(channels=channel("a"))
        async with running(mounted.folder) as seen:
            assert names(await seen.next()) == {"a"}
            for name in ("b", "c"):
                mounted.write(channels=channel(name))
                await seen.until(lambda s, name=name: are(name)(s) and not s.problems)  # type: ignore[misc]  # binds the name of this round

    async def test_a_file_in_a_config_map(self, tmp_path: Path) -> None:
        mounted = MountedConfigMap(tmp_path / "etc")
        mounted.write(channels=channel("a"))
        async with running(mounted.folder / "channels.yaml") as seen:
            assert names(await seen.next()) == {"a"}
            for name in ("b", "c"):
                mounted.write(channels=channel(name))
                await seen.until(are(name))

    async def test_a_link_to_a_file_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        real, link = tmp_path / "real" / "file.yaml", tmp_path / "link.yaml"
        real.write_text(channel("a"))
        link.symlink_to("real/file.yaml")
        async with running(link) as seen:
            await seen.next()
            for name in ("b", "c"):  # the first change may be seen before the watch begins
                replace(real, channel(name))
                await seen.until(are(name))

    async def test_a_folder_behind_a_link_that_is_swapped(self, tmp_path: Path) -> None:
        for version in ("v1", "v2", "v3"):
            (tmp_path / version / "channels").mkdir(parents=True)
            (tmp_path / version / "channels" / "a.yaml").write_text(channel(version))
        (tmp_path / "current").symlink_to("v1")
        async with running(tmp_path / "current" / "channels") as seen:
            assert names(await seen.next()) == {"v1"}
            for version in ("v2", "v3"):
                (tmp_path / "next").symlink_to(version)
                (tmp_path / "next").rename(tmp_path / "current")
                await seen.until(are(version))

    async def test_a_link_that_leads_to_itself(self, tmp_path: Path) -> None:
        link = tmp_path / "a.yaml"
        link.symlink_to("a.yaml")
        async with running(link) as seen:
            assert "cannot be read: too many levels of symbolic links" in told(await seen.next())


async def test_a_rescan_sees_what_no_watch_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles.awatch", full)
    file = tmp_path / "channels.yaml"
    file.write_text(channel("a"))
    async with running(file, rescan=0.05) as seen:
        await seen.next()
        file.write_text(channel("b"))
        await seen.until(are("b"))


async def test_a_large_folder_does_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    """The loop continues meanwhile, and no garbage collection stops every thread.

    The pauses themselves depend on what else the machine does: some 20 ms on two busy cores.
    """
    for number in range(20):
        text = "---\n".join(channel(f"c{number}-{i}") for i in range(250))
        (tmp_path / f"{number}.yaml").write_text(text)
    turns, collections = 0, 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    def count(phase: str, info: dict[str, int]) -> None:
        nonlocal collections
        collections += phase == "start" and info["generation"] == 2

    gc.callbacks.append(count)
    turning = asyncio.create_task(turn())
    await asyncio.sleep(0)
    try:
        async with running(tmp_path) as seen:
            assert len((await seen.next()).channels) == 5000
    finally:
        gc.callbacks.remove(count)
        turning.cancel()
    assert turns > 10
    assert collections == 0


async def test_cancelling_ends_the_watch_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as seen:
        await seen.next()
        started = time.perf_counter()
    assert time.perf_counter() - started < 1
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "watch channel files"]


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
async def test_json_documents_one_after_another(tmp_path: Path, name: str) -> None:
    documents = [yaml.safe_load(channel(each)) for each in ("orders", "invoices")]
    documents[0]["spec"]["arguments"]["retry"] = 8.0
    text = "".join(json.dumps(each, indent="\t") for each in documents)
    (tmp_path / name).write_text(text)
    async with running(tmp_path) as seen:
        state = await seen.next()
        assert not state.problems
        retries = {name.name: each.policy.retry for name, each in state.channels.items()}
        assert retries == {"orders": 8, "invoices": 4}


async def test_a_place_that_is_free_is_given_although_no_file_has_changed(tmp_path: Path) -> None:
    entries = [
        {"uid": uid, "ref": {"name": uid}, "subscriberURI": "http://x/"} for uid in ("b", "c", "d")
    ]
    spec = {"provisioner": {"name": "natss"}, "subscribable": {"subscribers": entries}}
    document = {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {"name": "orders"},
        "spec": spec,
    }
    file = tmp_path / "channels.json"
    file.write_text(json.dumps(document))
    orders = channel_id("default", "orders")
    records = Ledger(StateFolder(None), 60.0)
    for uid in ("a", "b"):  # a was removed and is in its grace
        records.want(orders, ResourceName("default", uid), uid, 0.0)
    seen = Seen()
    source = FileSource([file], Defaults(max_subscribers=2), records.of, rescan=0.05)
    task = asyncio.create_task(source.run(seen.apply))
    try:
        served = (await seen.next()).channels[orders]
        assert [each.durable for each in served.subscribers] == ["b"]
        records.forget(orders, "a")
        served = (await seen.next()).channels[orders]
        assert [each.durable for each in served.subscribers] == ["b", "c"]
        assert served.unserved.number == 1
        assert seen.last.problems
        assert seen.idle
    finally:
        task.cancel()
        await asyncio.wait([task])
