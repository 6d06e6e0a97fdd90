"""Where things that take long to make are kept, complete or not at all.

The cache lies outside the checkout, so that every clone on a machine shares it. Each entry is made
under a temporary name and renamed, by one process at a time. Callers decide what is made, and how.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_STILL_BUSY_SECONDS = 15.0


class ToolError(Exception):
    """Something could not be made; the text says what, and what to do."""


def say(text: str) -> None:
    print(f"tools: {text}", file=sys.stderr, flush=True)


def cache_dir() -> Path:
    """Return the cache folder: ``NATSS_TOOLS_DIR``, else ``natss-channel`` in the user's cache."""
    explicit = os.environ.get("NATSS_TOOLS_DIR")
    if explicit:
        folder = Path(explicit).expanduser().absolute()
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path.home() / ".cache") / "natss-channel"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(
            f"cannot make the cache folder {folder}: {error.strerror}; "
            "set NATSS_TOOLS_DIR to a folder that you may write to"
        ) from error
    return folder


@contextlib.contextmanager
def locked(lock: Path, what: str) -> Iterator[None]:
    """Wait until no other process makes ``what``, and keep others out meanwhile.

    The kernel releases the lock when its holder ends, however it ends.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is making {what}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def new_entry(name: str) -> Iterator[Path]:
    """Make a temporary folder that becomes the cache entry ``name`` if the block succeeds.

    Call it under the lock of that entry: it removes what an earlier process left half made.
    """
    cache = cache_dir()
    prefix = f".making-{name}."
    for leftover in cache.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=cache))
    try:
        yield folder
        target = cache / name
        shutil.rmtree(target, ignore_errors=True)
        folder.chmod(0o755)
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(what: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> None:
    """Run a command that takes a while; write its output to ``log``.

    Raises:
        ToolError: it could not be started or failed; the text ends with the last part of its
            output.
    """
    say(f"{what} ...")
    begin = time.monotonic()
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
            )
        except OSError as error:
            raise ToolError(f"{command[0]} cannot be started: {error.strerror}") from error
        try:
            while True:
                try:
                    status = process.wait(_STILL_BUSY_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{what}: still busy after {time.monotonic() - begin:.0f} s")
        except BaseException:
            process.kill()
            process.wait()
            raise
    if status:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise ToolError(f"{what}: failed with status {status} (whole output: {log})\n{tail}")
    say(f"{what}: done in {time.monotonic() - begin:.0f} s")
