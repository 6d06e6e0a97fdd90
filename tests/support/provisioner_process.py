"""The provisioner as users run it: a process with the service account of the manifests."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.kubernetes import KubernetesServer
from tests.support.servers import ServerFailed, free_port

NAMESPACE = "knative-eventing"
ACCOUNT = "natss-controller"
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


class ProvisionerProcess:
    """A natss-provisioner process.

    Args:
        kubernetes: The API that it works on, with the manifests applied.
        log: The file that its output is appended to.
        flags: Further flags, as for the command.
        pod: The name under which it holds the Lease. A process of the same name takes over at once.
    """

    def __init__(
        self,
        kubernetes: KubernetesServer,
        log: Path,
        flags: Sequence[str] = (),
        *,
        pod: str = "natss-controller-0",
    ) -> None:
        self.log = log
        self.kubeconfig = kubernetes.kubeconfig_of(NAMESPACE, ACCOUNT)
        self._health = free_port()
        self._command = [
            sys.executable,
            "-m",
            "natss_provisioner.main",
            f"--health-listen=127.0.0.1:{self._health}",
            f"--pod-name={pod}",
            *flags,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until its probe answers. Raises ServerFailed."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(self.end_of_log())
            time.sleep(0.02)

    def stop(self) -> int | None:
        """Stop it (SIGTERM); return the exit status, or None if it did not run."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it (SIGKILL), without a chance to clean up."""
        self._end(signal.SIGKILL)

    def end_of_log(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def readiness(self) -> dict[str, Any]:
        """Return what ``/readyz`` says; without an answer, nothing."""
        with contextlib.suppress(OSError):
            try:
                with urllib.request.urlopen(self._url("readyz"), timeout=5) as response:
                    return dict(json.load(response))
            except urllib.error.HTTPError as error:
                with error:
                    return dict(json.load(error))
        return {}

    def _url(self, probe: str) -> str:
        return f"http://127.0.0.1:{self._health}/{probe}"

    def _end(self, number: int) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(number)
        try:
            return process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def _is_healthy(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(self._url("healthz"), timeout=2):
            return True
        return False
