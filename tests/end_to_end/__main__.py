"""Runs the end-to-end tests: ``python -m tests.end_to_end``, with arguments for pytest.

In the cluster that ``NATSS_E2E_KUBECONFIG``, ``NATSS_E2E_CONTEXT`` and ``NATSS_E2E_IMAGE`` name;
else in one that is made for them by the programs in the folder ``E2E_CLUSTER``, or by kind where
docker works. One that was made is removed afterwards.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.end_to_end.made_clusters import ClusterOfPrograms, KindCluster, MadeCluster, provide
from tools import image
from tools.cache import ToolError, locked
from tools.provide import BIN, ROOT

_SERVER = "nats-streaming-server"
_TEST_SECONDS = 900.0


def main(arguments: Sequence[str]) -> int:
    """Run; return the status of pytest, or 1 if no cluster could be made."""
    # So that a cluster is removed also when this process is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lock = Path(tempfile.gettempdir()) / f".lock-natss-e2e-{os.getuid()}"
    try:
        provide("kubectl")
        if os.environ.get("NATSS_E2E_KUBECONFIG"):
            return run_tests(arguments, {})
        with tempfile.TemporaryDirectory(prefix="natss-e2e-") as folder:
            cluster = choose(os.environ, Path(folder))
            with locked(lock, "a cluster for tests"):
                return run_in(cluster, arguments, Path(folder))
    except ToolError as error:
        print(f"end to end: {error}", file=sys.stderr)
        return 1


def choose(environ: Mapping[str, str], folder: Path) -> MadeCluster:
    """Return a cluster that can be made here.

    Raises:
        ToolError: there is none.
    """
    programs = environ.get("E2E_CLUSTER")
    if programs:
        if not os.access(Path(programs) / "up", os.X_OK):
            raise ToolError(f"E2E_CLUSTER is {programs}, and there is no program {programs}/up")
        return ClusterOfPrograms(Path(programs).absolute())
    try:
        image.find_builder(["docker"])
    except ToolError as error:
        raise ToolError(
            "a cluster is needed. Name one with NATSS_E2E_KUBECONFIG, NATSS_E2E_CONTEXT and "
            "NATSS_E2E_IMAGE, or programs that make one with E2E_CLUSTER; or let kind make one, "
            f"with docker:\n{error}"
        ) from error
    return KindCluster(folder)


def run_in(cluster: MadeCluster, arguments: Sequence[str], folder: Path) -> int:
    """Run the tests in a cluster that is made for them, with the images of this checkout."""
    try:
        cluster.start()
        shutil.copy(ROOT / "tests" / "end_to_end" / "nats-streaming" / "Dockerfile", folder)
        shutil.copy(BIN / _SERVER, folder)
        server = cluster.add_image("nats-streaming:e2e", folder, [])
        ours = cluster.add_image(image.name(), ROOT, image.build_arguments())
        variables = {
            "NATSS_E2E_KUBECONFIG": str(cluster.kubeconfig),
            "NATSS_E2E_CONTEXT": cluster.context,
            "NATSS_E2E_IMAGE": ours,
            "NATSS_E2E_NATS_STREAMING_IMAGE": server,
            "NATSS_E2E_REVIVE": cluster.revive,
        }
        return run_tests(arguments, variables)
    finally:
        cluster.stop()


def run_tests(arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run pytest and return its status."""
    command = [sys.executable, "-m", "pytest", "-m", "end_to_end", "-v", "-raP"]
    try:
        return subprocess.run(
            [*command, "tests/end_to_end", *arguments],
            cwd=ROOT,
            env={**os.environ, **variables},
            check=False,
            timeout=_TEST_SECONDS,
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"the tests have not ended within {_TEST_SECONDS:.0f} s") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
