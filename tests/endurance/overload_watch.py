"""Observes a dispatcher from outside while it is overloaded: its memory, and how fast it answers.

In a thread of its own, so that publishers beside it do not affect what it measures.
"""

import http.client
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

from tests.support.dispatcher_process import DispatcherProcess

_BETWEEN_PROBES = 0.1
_HOPELESS_SECONDS = 10.0


class Watch:
    """Asks for /healthz ten times a second, on a new connection each time as the kubelet does.

    Use it by ``with``. Sizes are in MiB, times in seconds.

    Attributes:
        slowest: Time until the slowest answer to /healthz.
        failures: Answers other than 200, and missing ones, by kind.
    """

    def __init__(self, dispatcher: DispatcherProcess) -> None:
        self.slowest = 0.0
        self.failures: Counter[str] = Counter()
        self._pid = dispatcher.pid
        self._port = dispatcher.admin_port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._probe_all, name="watch")

    def __enter__(self) -> Self:
        forget_peak(self._pid)
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def peak(self) -> float:
        """The most memory that the dispatcher had since the watch began."""
        return peak_mib(self._pid)

    def _probe_all(self) -> None:
        is_over = False
        while not is_over:
            began = time.monotonic()
            problem = self._probe()
            self.slowest = max(self.slowest, time.monotonic() - began)
            if problem is not None:
                self.failures[f"/healthz: {problem}"] += 1
            is_over = self._stop.wait(_BETWEEN_PROBES)

    def _probe(self) -> str | None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_HOPELESS_SECONDS)
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()
        return None if status == 200 else f"status {status}"


def peak_mib(pid: int) -> float:
    """Return the most physical memory of a process since ``forget_peak`` or its start."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def forget_peak(pid: int) -> None:
    """Make ``peak_mib`` start with the present memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
