"""Commands of the documents, run as they stand there."""

import os
import subprocess
from pathlib import Path

from tests.support.kubernetes import KUBECTL, KubernetesServer
from tests.support.repository import ROOT


class Shell:
    """A shell in a folder that has the folders of this project, as the administrator.

    Args:
        kubernetes: The cluster of ``kubectl``.
        folder: What commands write is here.
    """

    def __init__(self, kubernetes: KubernetesServer, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in ("config", "examples"):
            (folder / name).symlink_to(ROOT / name)
        path = f"{KUBECTL.parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {
            "PATH": path,
            "HOME": str(folder),
            "KUBECONFIG": str(kubernetes.kubeconfig),
        }

    def run(self, script: str, seconds: float = 60.0) -> str:
        """Return the output of a script. Raises AssertionError when its first command fails."""
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"
        return result.stdout
