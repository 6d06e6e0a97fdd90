"""The image, and pods of it as the manifests describe them."""

import json
from datetime import datetime

import pytest

from natss.document import Document
from tests.end_to_end.cluster import Cluster, until
from tests.end_to_end.installation import DEPLOYMENTS, LOAD, SYSTEM
from tools.image import ROOT
from tools.sbom import canonical, read_lock

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]

LOOK = """
import json
from pathlib import Path
try:
    Path("/written").touch()
    refusal = None
except OSError as error:
    refusal = error.strerror
status = Path("/proc/1/status").read_text()
print(json.dumps({"refusal": refusal, **dict(line.split(":\\t") for line in status.splitlines())}))
"""

CONTENTS = """
import json
from importlib.metadata import distributions
from pathlib import Path
bill = json.loads(Path("/usr/share/sbom/natss-channel.cdx.json").read_text())
installed = {each.name: each.version for each in distributions()}
print(json.dumps({"bill": bill, "installed": installed}))
"""


def pods_of(cluster: Cluster, deployment: str) -> list[Document]:
    return cluster.pods(SYSTEM, f"app.kubernetes.io/name={deployment}")


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_a_pod_runs_as_nobody_who_can_do_anything(cluster: Cluster, deployment: str) -> None:
    pod, *_ = pods_of(cluster, deployment)
    look = [f"--namespace={SYSTEM}", pod["metadata"]["name"], "--", "python", "-c", LOOK]
    seen = json.loads(cluster.kubectl("exec", *look))
    assert seen["Uid"].split() == ["65532"] * 4
    assert seen["Gid"].split() == ["65532"] * 4
    assert {seen[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert seen["NoNewPrivs"] == "1"
    assert seen["Seccomp"] == "2"  # a filter
    assert seen["refusal"] == "Read-only file system"


def test_the_bill_of_materials_is_of_what_is_installed(cluster: Cluster) -> None:
    pod, *_ = pods_of(cluster, DEPLOYMENTS[0])
    look = [f"--namespace={SYSTEM}", pod["metadata"]["name"], "--", "python", "-c", CONTENTS]
    seen = json.loads(cluster.kubectl("exec", *look))
    bill = seen["bill"]
    told = [bill["metadata"]["component"], *bill["components"]]
    installed = {canonical(name): version for name, version in seen["installed"].items()}
    assert {each["name"]: each["version"] for each in told} == installed
    pins = read_lock((ROOT / "requirements.txt").read_text())
    for each in bill["components"]:
        (taken,) = each["hashes"]
        assert taken["content"] in pins[each["name"]].hashes


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_a_new_pod_is_ready_soon(cluster: Cluster, deployment: str) -> None:
    old = {each["metadata"]["name"] for each in pods_of(cluster, deployment)}
    cluster.kubectl("rollout", "restart", f"--namespace={SYSTEM}", f"deployment/{deployment}")
    cluster.await_rollout(SYSTEM, f"deployment/{deployment}")
    for pod in pods_of(cluster, deployment):
        assert pod["metadata"]["name"] not in old
        (container,) = pod["status"]["containerStatuses"]
        assert container["restartCount"] == 0
        (ready,) = (each for each in pod["status"]["conditions"] if each["type"] == "Ready")
        begin = datetime.fromisoformat(pod["status"]["startTime"])
        seconds = (datetime.fromisoformat(ready["lastTransitionTime"]) - begin).total_seconds()
        print(f"{deployment}: ready {seconds:.0f} s after the node had its pod")
        assert seconds < 60


def test_the_image_is_small_and_its_commands_start_quickly(cluster: Cluster) -> None:
    program = {"name": "programs", "configMap": {"name": "programs"}}
    scratch = {"name": "scratch", "emptyDir": {}}
    container = {
        "name": "measure",
        "image": cluster.images.natss_channel,
        "command": ["python", "/programs/measure.py"],
        "volumeMounts": [
            {"name": "programs", "mountPath": "/programs"},
            {"name": "scratch", "mountPath": "/tmp"},
        ],
    }
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [program, scratch]}
    metadata = {"name": "measure", "namespace": LOAD}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def has_ended() -> bool:
        phase = cluster.get(LOAD, "pod", "measure")["status"]["phase"]
        return phase in {"Succeeded", "Failed"}

    until(has_ended)
    log = cluster.kubectl("logs", f"--namespace={LOAD}", "measure")
    *_, measured = log.splitlines()
    print(measured)
    figures = json.loads(measured)
    assert figures["size"] < 80e6
    for command, seconds in figures["cpu"].items():
        # Of processor time, for other programs may keep the machine busy.
        assert seconds < 2, f"{command} needs {seconds} s to start"
