"""What a process leaves for the next one, in files of a folder that outlives it.

Each file is replaced as a whole, so that a process that dies while writing leaves the old one.
Without a folder nothing is kept.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import structlog

log = structlog.get_logger(__name__)


class StateFolder:
    """Reads and writes JSON values by name.

    Args:
        path: Created if it does not exist; None to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        # One thread: a write whose caller was cancelled continues in it, and ends before the next.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="state")

    @property
    def keeps(self) -> bool:
        """Whether written values survive a restart."""
        return self._path is not None

    def read(self, name: str) -> object:
        """Return a value that was written; None if there is none, or it cannot be read."""
        if self._path is None:
            return None
        file = self._path / name
        try:
            value: object = orjson.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError) as error:
            log.warning(
                "state of an earlier process cannot be read", file=str(file), reason=str(error)
            )
            return None
        return value

    async def write(self, name: str, value: object) -> bool:
        """Write a value so that it survives even a crash of the machine; return whether it did.

        A failure is only logged: continuing without state is better than stopping.
        """
        if self._path is None:
            return False
        data = orjson.dumps(value)
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, _replace, self._path / name, data)
        except OSError as error:
            log.error("state cannot be kept for a restart", file=name, reason=str(error))
            return False
        return True


NO_FOLDER = StateFolder(None)
"""Keeps nothing."""


def _replace(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f".{file.name}.staged")
    # Subscribers' URIs may contain passwords, and the folder may be open to others. A leftover file
    # may belong to another user, or be a link to another file.
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        output.write(data)
        output.flush()
        os.fsync(output.fileno())
    staged.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
