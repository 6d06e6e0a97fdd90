"""What is left for the next process, when writing it takes long."""

import asyncio
import threading
from pathlib import Path

import pytest

from dispatcher.runtime import state_folder
from dispatcher.runtime.state_folder import StateFolder


async def test_a_write_that_is_given_up_ends_before_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the end of the process: two would write one file at once, and the older one last."""
    begun, may_end, one_writes = threading.Event(), threading.Event(), threading.Lock()
    were_alone: list[bool] = []
    replace = state_folder._replace

    def slow(file: Path, data: bytes) -> None:
        alone = one_writes.acquire(blocking=False)
        were_alone.append(alone)
        begun.set()
        may_end.wait(10)
        replace(file, data)
        if alone:
            one_writes.release()

    monkeypatch.setattr(state_folder, "_replace", slow)
    folder = StateFolder(tmp_path)
    given_up = asyncio.create_task(folder.write("durables.json", ["old"]))
    assert await asyncio.to_thread(begun.wait, 10)
    given_up.cancel()
    await asyncio.wait([given_up])
    asyncio.get_running_loop().call_later(0.1, may_end.set)
    assert await folder.write("durables.json", ["new"])
    assert were_alone == [True, True]
    assert folder.read("durables.json") == ["new"]


async def test_what_was_left_by_others_where_a_file_is_written_first_is_not_written_to(
    tmp_path: Path,
) -> None:
    """The folder may be open to others, and the file may have passwords in it."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".durables.json.staged").symlink_to(precious)
    assert await StateFolder(tmp_path).write("durables.json", ["new"])
    assert precious.read_text() == "mine"
    assert not (tmp_path / "durables.json").is_symlink()
