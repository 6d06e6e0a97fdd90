import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tools.cache import ToolError, cache_dir, locked, new_entry, run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NATSS_TOOLS_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_is_in_the_users_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NATSS_TOOLS_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "natss-channel"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "natss-channel"


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NATSS_TOOLS_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(ToolError, match=r"file/cache: .*set NATSS_TOOLS_DIR"):
        cache_dir()


def test_an_entry_appears_whole_and_only_at_the_end(cache: Path) -> None:
    with new_entry("thing-1") as folder:
        (folder / "thing").write_text("made")
        assert not (cache / "thing-1").exists()
    assert (cache / "thing-1" / "thing").read_text() == "made"
    assert [path.name for path in cache.iterdir()] == ["thing-1"]


def test_nothing_is_left_of_an_entry_that_failed(cache: Path) -> None:
    def interrupted() -> None:
        with new_entry("thing-1") as folder:
            (folder / "half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(cache.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(cache: Path) -> None:
    script = (
        "import os; from tools.cache import new_entry\n"
        "with new_entry('thing-1') as f: (f / 'half').write_text(''); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert [path.name.startswith(".making-thing-1.") for path in cache.iterdir()] == [True]
    with new_entry("thing-1") as folder:
        (folder / "thing").write_text("made")
    assert [path.name for path in cache.iterdir()] == ["thing-1"]


def test_a_lock_keeps_others_out_until_its_holder_ends(cache: Path) -> None:
    lock = cache / ".lock"
    with locked(lock, "thing"), lock.open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_command_that_fails_shows_the_end_of_its_output(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('first'); print('no such thing'); exit(3)"]
    with pytest.raises(ToolError, match=r"(?s)making: failed with status 3.*no such thing"):
        run("making", command, tmp_path / "log", dict(os.environ))


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="/no/such cannot be started"):
        run("making", ["/no/such"], tmp_path / "log", {})
