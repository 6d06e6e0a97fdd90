"""What ``config/`` installs, as kustomize makes it."""

import importlib.metadata
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from natss_provisioner.settings import OPTIONS
from tests.conftest import CONFIG
from tests.kubernetes import KUBECTL, KubernetesServer
from tests.provisioner_process import ACCOUNT, NAMESPACE

Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    command = [str(KUBECTL), "kustomize", str(CONFIG / "default")]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def of_kind(kind: str) -> Iterator[Manifest]:
    return (each for each in manifests() if each["kind"] == kind)


def test_every_file_is_one_object_and_is_installed() -> None:
    files = [path for path in CONFIG.rglob("*.yaml") if path.name != "kustomization.yaml"]
    for path in files:
        listed = yaml.safe_load((path.parent / "kustomization.yaml").read_text())["resources"]
        assert path.name in listed, path
        assert len(list(yaml.safe_load_all(path.read_text()))) == 1, path


def test_containers_may_do_nothing_that_they_need_not() -> None:
    for deployment in of_kind("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            assert container["livenessProbe"]


def test_the_image_is_the_one_of_this_version() -> None:
    version = importlib.metadata.version("natss-channel")
    for deployment in of_kind("Deployment"):
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            assert container["image"] == f"natss-channel:{version}"


def test_only_settings_that_exist_are_set() -> None:
    known = {variable for option in OPTIONS for variable in option.variables}
    (container,) = (
        container
        for deployment in of_kind("Deployment")
        for container in deployment["spec"]["template"]["spec"]["containers"]
        if container["command"] == ["natss-provisioner"]
    )
    assert {variable["name"] for variable in container["env"]} <= known


def test_pods_are_admitted_under_the_strictest_standard(
    kubernetes: KubernetesServer, unique_name: str
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubernetes.create("/api/v1/namespaces", {"metadata": {"name": unique_name, "labels": labels}})
    for deployment in of_kind("Deployment"):
        template = deployment["spec"]["template"]
        account = template["spec"]["serviceAccountName"]
        kubernetes.create(
            f"/api/v1/namespaces/{unique_name}/serviceaccounts", {"metadata": {"name": account}}
        )
        kubernetes.create(
            f"/api/v1/namespaces/{unique_name}/pods",
            {"metadata": {"name": account}, "spec": template["spec"]},
        )


@pytest.mark.parametrize(
    ("verb", "what", "allowed"),
    [
        ("patch", "channels.eventing.knative.dev/status", True),
        ("patch", "channels.eventing.knative.dev", True),
        ("delete", "channels.eventing.knative.dev", False),
        ("patch", "subscriptions.eventing.knative.dev", True),
        ("patch", "subscriptions.eventing.knative.dev/status", True),
        ("delete", "subscriptions.eventing.knative.dev", False),
        ("update", "channels.eventing.knative.dev/finalizers", False),
        ("create", "services", True),
        ("get", "secrets", False),
        ("list", "pods", False),
        ("list", "configmaps", False),
        ("create", "clusterchannelprovisioners.eventing.knative.dev", True),
        ("delete", "clusterchannelprovisioners.eventing.knative.dev", False),
    ],
)
def test_the_controller_may_do_its_work_and_no_more(
    kubernetes: KubernetesServer, verb: str, what: str, allowed: bool
) -> None:
    resource, _, group = what.partition(".")
    group, _, subresource = group.partition("/")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {
                "verb": verb,
                "group": group,
                "resource": resource,
                "subresource": subresource,
                "namespace": "default",
            },
        },
    }
    answer = kubernetes.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer["status"]["allowed"] is allowed, json.dumps(answer["status"])


def test_manifests_name_files_that_exist() -> None:
    for path in CONFIG.rglob("kustomization.yaml"):
        for resource in yaml.safe_load(path.read_text())["resources"]:
            assert Path(path.parent / resource).exists(), (path, resource)
