"""Which cluster is taken for the end-to-end tests, and which is not; needs none."""

import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.end_to_end import __main__ as end_to_end
from tests.end_to_end.cluster import Cluster, NotGiven
from tests.end_to_end.made_clusters import ClusterOfPrograms, KindCluster
from tools.cache import ToolError

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: production, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: admin, user: {}}]
contexts: [{name: production, context: {cluster: production, user: admin}}]
current-context: production
"""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    return str(path)


def test_the_cluster_of_kubectl_is_not_taken(kubeconfig: str) -> None:
    with pytest.raises(NotGiven, match="NATSS_E2E_KUBECONFIG and NATSS_E2E_CONTEXT and"):
        Cluster.given({"KUBECONFIG": kubeconfig})


def test_a_current_context_is_not_taken(kubeconfig: str) -> None:
    given = {"NATSS_E2E_KUBECONFIG": kubeconfig, "NATSS_E2E_IMAGE": "image:1"}
    with pytest.raises(NotGiven, match=r"^NATSS_E2E_CONTEXT must say"):
        Cluster.given(given)


def test_a_context_must_exist(kubeconfig: str) -> None:
    given = {"NATSS_E2E_KUBECONFIG": kubeconfig, "NATSS_E2E_IMAGE": "image:1"}
    with pytest.raises(NotGiven, match="has no context test, but: production"):
        Cluster.given({**given, "NATSS_E2E_CONTEXT": "test"})
    assert Cluster.given({**given, "NATSS_E2E_CONTEXT": "production"}).context == "production"


def test_programs_are_taken_before_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert isinstance(end_to_end.choose({}, tmp_path), KindCluster)
    (tmp_path / "up").symlink_to(docker)
    chosen = end_to_end.choose({"E2E_CLUSTER": str(tmp_path)}, tmp_path)
    assert isinstance(chosen, ClusterOfPrograms)


def test_it_is_said_what_a_cluster_could_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"(?s)NATSS_E2E_KUBECONFIG.*E2E_CLUSTER.*docker: not inst"):
        end_to_end.choose({}, tmp_path)
    with pytest.raises(ToolError, match=f"there is no program {tmp_path}/up"):
        end_to_end.choose({"E2E_CLUSTER": str(tmp_path)}, tmp_path)


class BrokenCluster:
    """It starts, and takes no images."""

    kubeconfig = Path("/nonexistent")
    context = ""
    revive = ""
    is_started = False

    def start(self) -> None:
        self.is_started = True

    def add_image(self, name: str, folder: Path, flags: Sequence[str]) -> str:
        raise ToolError(f"no room for {name}")

    def stop(self) -> None:
        self.is_started = False


def test_a_cluster_is_removed_whatever_happens(tmp_path: Path) -> None:
    cluster = BrokenCluster()
    with pytest.raises(ToolError, match="no room"):
        end_to_end.run_in(cluster, [], tmp_path)
    assert not cluster.is_started
