"""The dispatcher as users run it, in a process of its own: for tests, demo and benchmarks."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.servers import free_port

_START_SECONDS = 20.0
_STOP_SECONDS = 15.0


class ProcessFailed(Exception):
    """A child ended or was not ready in time; the text has the end of its log."""


class DispatcherProcess:
    """A natss-dispatcher process on 127.0.0.1 that keeps its ports over restarts.

    Args:
        channels: The file with Channels and Subscriptions.
        natss_url: That of the NATS Streaming server.
        cluster_id: That of the server.
        log: The file that its output is appended to.
        flags: Further flags, as for the command.
    """

    module = "dispatcher.main"
    """What is run as the command; a test may replace it."""

    def __init__(
        self, channels: Path, natss_url: str, cluster_id: str, log: Path, flags: Sequence[str] = ()
    ) -> None:
        self.channels = channels
        self.port = free_port()
        self.admin_port = free_port()
        self.log = log
        self._command = [
            sys.executable,
            "-m",
            self.module,
            f"--channels={channels}",
            f"--natss-url={natss_url}",
            f"--cluster-id={cluster_id}",
            f"--listen=127.0.0.1:{self.port}",
            f"--admin-listen=127.0.0.1:{self.admin_port}",
            *flags,
        ]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def use(self, *flags: str) -> None:
        """Use these flags as well from the next start on; the last of a flag counts."""
        self._command += flags

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment of the process."""
        return os.environ

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ProcessFailed("the dispatcher is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def launch(self) -> None:
        """Start it and do not wait until it is ready."""
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.environ),
            )

    async def start(self, until: str = "/readyz") -> None:
        """Start it and wait until it answers 200 on a path of its admin server.

        Raises:
            ProcessFailed: it ended, or does not answer so after 20 s.
        """
        await self.launch()
        await self.wait_ready(until)

    async def wait_ready(self, until: str = "/readyz") -> None:
        """Wait until it answers 200 on a path of its admin server. Raises ProcessFailed."""
        if self._process is None:
            raise ProcessFailed("the dispatcher is not running")
        process = self._process
        ended = asyncio.create_task(process.wait(), name="end of the dispatcher")
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self._answers(until):
                    if ended in (await asyncio.wait([ended], timeout=0.05))[0]:
                        raise ProcessFailed(f"the dispatcher ended\n{self.end_of_log()}")
        except TimeoutError:
            raise ProcessFailed(f"the dispatcher is not ready\n{self.end_of_log()}") from None
        finally:
            ended.cancel()

    async def kill(self) -> None:
        """Kill it (SIGKILL), without a chance to clean up."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Stop it (SIGTERM, and SIGKILL if it does not end); return the exit status."""
        return await self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Pause it (SIGSTOP): its connections stay open, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def is_ready(self) -> bool:
        """Return what its readiness probe says."""
        return await self._answers("/readyz")

    async def status(self) -> dict[str, Any]:
        """Return what ``/status`` says."""
        answer = json.loads(await asyncio.to_thread(self._get, "/status"))
        assert isinstance(answer, dict)
        return answer

    async def metrics(self) -> str:
        """Return the page ``/metrics``."""
        return (await asyncio.to_thread(self._get, "/metrics")).decode()

    def end_of_log(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
        return await process.wait()

    async def _answers(self, path: str) -> bool:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._get, path)
            return True
        return False

    def _get(self, path: str) -> bytes:
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                body: bytes = response.read()
        except http.client.HTTPException as error:  # it was killed while it answered
            raise ConnectionResetError(f"{url}: {error!r}") from error
        return body
