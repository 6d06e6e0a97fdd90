"""How busy the thread of the event loop is."""

import contextlib
import time
from io import FileIO
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


class LoopLoad:
    """Measures the thread in which it was made, and holds a file open until ``close``.

    Waiting for a CPU counts as busy: everything that the loop serves has to wait as well. Where the
    kernel does not report that, only the time on a CPU counts.
    """

    def __init__(self) -> None:
        self._file: FileIO | None = None
        with contextlib.suppress(OSError):
            self._file = FileIO(_SCHEDSTAT)
        self._at = time.monotonic()
        self._spent = self._read()

    def since_last(self) -> float:
        """Return the part of the time since the last call in which it was busy, from 0 to 1."""
        at, spent = time.monotonic(), self._read()
        busy = (spent - self._spent) / max(at - self._at, 1e-6)
        self._at, self._spent = at, spent
        return min(max(busy, 0.0), 1.0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> float:
        """Return the busy seconds since the thread began."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.seek(0)
                on_cpu, waiting, slices = map(int, self._file.read(100).split())  # see proc(5)
                if slices:  # otherwise the kernel does not count
                    return (on_cpu + waiting) / 1e9
            self.close()
        return time.thread_time()
