"""Real servers for tests: each on 127.0.0.1, on ports of its own, ready when ``start`` returns.

The binary is ``NATS_STREAMING_SERVER`` or in ``.tools/bin`` (``make`` builds it there).
"""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tests.support.repository import BIN

BINARY = Path(
    os.environ.get(
        "NATS_STREAMING_SERVER",
        BIN / "nats-streaming-server",
    )
)
READY = "Streaming Server is ready"
START_SECONDS = 20.0
STOP_SECONDS = 10.0

Store = Literal["MEMORY", "FILE"]


class ServerFailed(Exception):
    """The server ended, or was not ready in time; the text has the end of its log."""


def free_port() -> int:
    """Return a port on which nothing listens, below those given to outgoing connections.

    So that no connection takes it while a server under test is restarted.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _is_stopped(thread: Path) -> bool:
    """Return whether a thread stands still, by the state that Linux reports (proc(5))."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:  # the thread has just ended
        return True


class NatsStreamingServer:
    """A nats-streaming-server process that keeps its ports and its store over restarts.

    Args:
        directory: its own folder, for the configuration file and the FILE store.
        store: FILE survives ``kill`` and ``restart``, MEMORY does not.
        cluster_id: that of NATS Streaming.
        streaming: more lines for the ``streaming`` block, such as ``hb_interval: "1s"``.
        nats: more lines for the NATS server, such as ``max_payload: 65536`` or ``authorization``.
        scheme: that of ``url``: ``tls`` if the NATS server asks for it.
    """

    binary = BINARY
    """What is run; a test may replace it."""

    def __init__(
        self,
        directory: Path,
        *,
        store: Store = "MEMORY",
        cluster_id: str = "test-cluster",
        streaming: str = "",
        nats: str = "",
        scheme: str = "nats",
    ) -> None:
        self.directory = directory
        self.store = store
        self.cluster_id = cluster_id
        self.streaming = streaming
        self.nats = nats
        self.scheme = scheme
        self.port = 0
        self.monitor_port = 0
        self.log: deque[str] = deque(maxlen=2000)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._changed = threading.Condition()
        self._ready = False
        self._ended = False

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return f"<NatsStreamingServer {self.store} {self.url} {state}>"

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment of the process."""
        return os.environ

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def store_directory(self) -> Path:
        return self.directory / "store"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._running().pid

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises ServerFailed."""
        await asyncio.to_thread(self.start_blocking)

    async def stop(self) -> None:
        """Stop it (SIGTERM): the server closes connections and flushes its store."""
        await asyncio.to_thread(self.stop_blocking)

    async def kill(self) -> None:
        """Kill it (SIGKILL), without a chance to clean up."""
        await asyncio.to_thread(self._end, signal.SIGKILL)

    async def restart(self) -> None:
        """Stop it (SIGTERM) if it runs, and start it on the same ports and store."""
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """Pause it (SIGSTOP): connections stay open; return when no thread of it runs."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + STOP_SECONDS
        threads = Path(f"/proc/{self.pid}/task")
        while any(not _is_stopped(each) for each in threads.iterdir()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self} does not stand still")
            time.sleep(0.001)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wipe(self) -> None:
        """Remove what the FILE store wrote; the server must be stopped."""
        if self.is_running:
            raise AssertionError("stop the server before its store is wiped")
        shutil.rmtree(self.store_directory, ignore_errors=True)

    async def monitor(self, path: str) -> dict[str, Any]:
        """Return the monitoring answer (JSON) to a path such as ``/streaming/serverz``."""
        return await asyncio.to_thread(self._get, path)

    async def channelsz(self, channel: str) -> dict[str, Any]:
        """Return messages, sequences, ``subscriptions`` of a channel. HTTPError 404 if unknown."""
        return await self.monitor(f"/streaming/channelsz?channel={channel}&subs=1")

    def start_blocking(self) -> None:
        if self.is_running:
            raise AssertionError(f"{self} already runs")
        first_time = not self.port
        for attempts_left in (4, 3, 2, 1, 0):
            if first_time:
                self.port, self.monitor_port = free_port(), free_port()
            try:
                self._launch()
            except ServerFailed as error:
                # Another process took the port between free_port and now.
                if first_time and attempts_left and "address already in use" in str(error):
                    continue
                raise
            return

    def stop_blocking(self) -> None:
        self._end(signal.SIGTERM)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"{self} does not run")
        return self._process

    def _launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "server.conf"
        config.write_text(self._config())
        self._ready = self._ended = False
        self._process = subprocess.Popen(
            [str(self.binary), "-c", str(config)],
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(
            target=self._read_log, args=(self._process,), name="nats-streaming-server log"
        )
        self._reader.start()
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended, START_SECONDS)
            if self._ready:
                return
        self._end(signal.SIGKILL)
        raise ServerFailed("not ready:\n" + "\n".join(list(self.log)[-20:]))

    def _config(self) -> str:
        return "\n".join(
            [
                f'listen: "127.0.0.1:{self.port}"',
                f'http: "127.0.0.1:{self.monitor_port}"',
                self.nats,
                "streaming {",
                f'  cluster_id: "{self.cluster_id}"',
                f"  store: {self.store}",
                f'  dir: "{self.store_directory}"',
                self.streaming,
                "}",
                "",
            ]
        )

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._changed:
                    self.log.append(line.rstrip())
                    if READY in line:
                        self._ready = True
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _end(self, signal_number: int) -> None:
        process, reader = self._process, self._reader
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal_number)
            process.send_signal(signal.SIGCONT)  # a paused process cannot act on SIGTERM
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if reader is not None:
            reader.join()
        self._process = self._reader = None

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.monitor_url + path, timeout=5) as response:
            answer = json.load(response)
        assert isinstance(answer, dict)
        return answer
