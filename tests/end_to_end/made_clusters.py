"""Clusters that are made for the end-to-end tests, and what they can run images of.

One is made by kind. The other, for a machine without a container engine, by programs in a folder:
``up`` starts a node made of the machine's own parts, with its kubeconfig at ``$KN_DIR/kubeconfig``,
``image NAME FOLDER FLAGS...`` builds an image for it, and ``down`` ends it.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tools import go_toolchain, image
from tools.cache import ToolError, cache_dir, say
from tools.provide import BIN, ROOT

_START_SECONDS = 1500.0
"""When nothing is there yet, all of Kubernetes is built first."""

_IMAGE_SECONDS = 600.0
_STOP_SECONDS = 120.0


class MadeCluster(Protocol):
    """A cluster that exists for the tests alone."""

    kubeconfig: Path
    context: str
    revive: str
    """Command that starts a killed kubelet again; empty where the node does so itself."""

    def start(self) -> None:
        """Make it, or do nothing if it is there."""

    def add_image(self, name: str, folder: Path, flags: Sequence[str]) -> str:
        """Build the Dockerfile of a folder, for pods that ask for the name that is returned."""

    def stop(self) -> None:
        """Remove it, unless it was there before."""


class KindCluster:
    """By kind, with docker.

    Args:
        folder: For the kubeconfig.
    """

    context = "kind-natss-e2e"
    revive = ""
    _NAME = "--name=natss-e2e"

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self._kind = str(BIN / "kind")

    def start(self) -> None:
        provide("kind")
        file = f"--kubeconfig={self.kubeconfig}"
        command = [self._kind, "create", "cluster", self._NAME, file, "--wait=120s"]
        _run(command, _START_SECONDS)

    def add_image(self, name: str, folder: Path, flags: Sequence[str]) -> str:
        image.build("docker", name, folder, flags)
        _run([self._kind, "load", "docker-image", self._NAME, name], _IMAGE_SECONDS)
        return name

    def stop(self) -> None:
        _run([self._kind, "delete", "cluster", self._NAME], _STOP_SECONDS)


class ClusterOfPrograms:
    """By the programs in a folder.

    Args:
        folder: It has ``up``, ``image`` and ``down``.
    """

    context = "kn"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version = str(_pinned()["version"])
        default = cache_dir() / f"cluster-{self._version}"
        self._tools = Path(os.environ.get("KN_TOOLS", default))
        self._directory = Path(os.environ.get("KN_DIR", "/tmp/kn"))
        self.kubeconfig = self._directory / "kubeconfig"
        self.revive = str(folder / "up")
        self._was_there = False

    def start(self) -> None:
        self._was_there = self.kubeconfig.exists()
        self._provide_programs()
        os.environ.update(self._environment())
        _run([self.revive], _START_SECONDS)

    def add_image(self, name: str, folder: Path, flags: Sequence[str]) -> str:
        _run([str(self._folder / "image"), name, str(folder), *flags], _IMAGE_SECONDS)
        return f"localhost/{name}"

    def stop(self) -> None:
        if self._was_there:
            say("the cluster was there before, and stays")
        else:
            _run([str(self._folder / "down")], _STOP_SECONDS)

    def _provide_programs(self) -> None:
        """Provide programs that this project builds too, so that they are built once."""
        wanted = {name: self._tools / "bin" / name for name in _pinned()["programs"]}
        wanted["etcd"] = self._tools / "v" / "bin" / "etcd"
        missing = [name for name, path in wanted.items() if not path.exists()]
        if missing:
            provide(*missing)
        for name in missing:
            wanted[name].parent.mkdir(parents=True, exist_ok=True)
            wanted[name].unlink(missing_ok=True)  # a link to what is no more
            wanted[name].symlink_to((BIN / name).resolve())

    def _environment(self) -> dict[str, str]:
        go = go_toolchain.find_or_install()
        path = [str(go.command.parent), os.environ["PATH"], str(BIN)]
        return {
            **go.environment(),
            "PATH": os.pathsep.join(path),
            "KN_TOOLS": str(self._tools),
            "KN_DIR": str(self._directory),
            "K8S_VERSION": self._version,
        }


def provide(*names: str) -> None:
    """Build programs and link them in ``.tools/bin``. Raises ToolError."""
    _run([sys.executable, "-m", "tools.provide", *names], _START_SECONDS)


def _pinned() -> dict[str, str | list[str]]:
    versions = tomllib.loads((ROOT / "tools" / "versions.toml").read_text())
    kubernetes: dict[str, str | list[str]] = versions["kubernetes"]
    return kubernetes


def _run(command: Sequence[str], seconds: float) -> None:
    try:
        subprocess.run(command, check=True, cwd=ROOT, timeout=seconds)
    except (subprocess.SubprocessError, OSError) as error:
        raise ToolError(str(error)) from error
