"""The pods of an installed Deployment, as far as there can be any without a node: processes."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from natss.document import Document
from tests.support.kubernetes import KubernetesServer
from tests.support.manifests import environment
from tests.support.servers import ServerFailed, free_port

_START_SECONDS = 30.0
_STOP_SECONDS = 40.0


class Pod:
    """One pod: command, environment, account and probe are those of the Deployment in the API.

    What only a node can give is given otherwise: addresses on 127.0.0.1, a folder for each volume,
    and the token in a kubeconfig.

    Args:
        kubernetes: Has the Deployment.
        deployment: As it is stored.
        folder: Of the pod's own.
        overrides: More variables.
    """

    def __init__(
        self,
        kubernetes: KubernetesServer,
        deployment: Document,
        folder: Path,
        overrides: Mapping[str, str],
    ) -> None:
        self.name = str(deployment["metadata"]["name"])
        spec = deployment["spec"]["template"]["spec"]
        (self._container,) = spec["containers"]
        namespace = deployment["metadata"]["namespace"]
        self._log = folder / f"{self.name}.log"
        self._ports = {each["name"]: free_port() for each in self._container["ports"]}
        program = Path(sys.executable).with_name(self._container["command"][0])
        self._command = [program, *self._container["command"][1:]]
        self._environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubernetes.kubeconfig_of(namespace, spec["serviceAccountName"])),
            **self._with_folders(environment(self._container, namespace), folder),
            **self._listening(),
            **overrides,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, port: str) -> str:
        """Return the URL of a port by its name."""
        return f"http://127.0.0.1:{self._ports[port]}/"

    def start(self) -> None:
        """Start it and wait until it is ready, as its probe says. Raises ServerFailed."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} is not ready:\n{self._log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """Stop it (SIGTERM, and SIGKILL if that is not enough); return the exit status."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _with_folders(self, variables: Mapping[str, str], folder: Path) -> dict[str, str]:
        mounts = [each["mountPath"] for each in self._container.get("volumeMounts", ())]
        return {
            name: str(folder / value.lstrip("/")) if value in mounts else value
            for name, value in variables.items()
        }

    def _listening(self) -> dict[str, str]:
        """Map each port of the container to a port of the test."""
        names = {"events": "LISTEN", "admin": "ADMIN_LISTEN", "health": "HEALTH_LISTEN"}
        return {names[name]: f"127.0.0.1:{port}" for name, port in self._ports.items()}

    def _is_ready(self) -> bool:
        probe = self._container["readinessProbe"]["httpGet"]
        url = self.url(probe["port"]) + probe["path"].lstrip("/")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return True
        return False
