"""What ``config/`` allows its accounts: all that they need, and nothing worth a theft."""

import os
from collections.abc import Iterator

import pytest
import yaml

from tests.conftest import CONFIG
from tests.support.manifests import INSTALLATIONS, Manifest, manifests

ADMISSION = "with admission"
PARTS = ("default", "admission")
NAMESPACE = "knative-eventing"
READS = {"get", "list", "watch"}
OURS = "eventing.knative.dev"


@pytest.fixture(scope="module")
def with_admission(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of an installation with the component, as in docs/provisioner.md."""
    folder = tmp_path_factory.mktemp("own")
    default, admission = (os.path.relpath(CONFIG / each, folder) for each in PARTS)
    text = f"resources: [{default}]\ncomponents: [{admission}]\n"
    (folder / "kustomization.yaml").write_text(text)
    return str(folder)


@pytest.fixture(params=[*INSTALLATIONS, ADMISSION])
def installation(request: pytest.FixtureRequest, with_admission: str) -> str:
    return with_admission if request.param == ADMISSION else str(request.param)


def rules(installation: str, *kinds: str) -> Iterator[tuple[str, Manifest]]:
    for role in manifests(installation, *(kinds or ("ClusterRole", "Role"))):
        for rule in role.get("rules", ()):
            yield role["metadata"]["name"], rule


def test_there_is_no_wildcard(installation: str) -> None:
    for name, rule in rules(installation):
        for key in ("apiGroups", "resources", "verbs"):
            assert rule[key], f"{name}: {key}"
            assert not [each for each in rule[key] if "*" in each], name
        assert "nonResourceURLs" not in rule, name


def test_of_secrets_there_is_one_that_is_named(installation: str) -> None:
    for name, rule in rules(installation):
        if any(each.startswith("secrets") for each in rule["resources"]):
            assert (name, rule["resourceNames"]) == ("natss-admission", ["natss-admission"])
            assert set(rule["verbs"]) == {"get", "patch"}


def test_config_maps_and_leases_are_named_but_to_be_created(installation: str) -> None:
    """In the system namespace alone; whoever creates cannot be held to a name."""
    for name, rule in rules(installation):
        if {"configmaps", "leases"} & set(rule["resources"]):
            assert rule["verbs"] == ["create"] or rule["resourceNames"], name
    for name, rule in rules(installation, "ClusterRole"):
        assert not {"configmaps", "leases", "secrets"} & set(rule["resources"]), name


def test_nobody_can_get_further_rights(installation: str) -> None:
    """Neither by roles, nor as somebody else, nor by way of pods and their accounts."""
    for name, rule in rules(installation):
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
        assert not {"rbac.authorization.k8s.io", "apps", "batch"} & set(rule["apiGroups"]), name
        subresources = {each.partition("/")[2] for each in rule["resources"]} - {""}
        assert subresources <= {"status"}, name
        if "" in rule["apiGroups"]:
            kinds = {"services", "events", "configmaps", "secrets"}
            assert set(rule["resources"]) <= kinds, name


def test_channels_are_not_deleted_and_services_only_by_the_controller(installation: str) -> None:
    for name, rule in rules(installation):
        if "delete" in rule["verbs"]:
            assert (name, rule["resources"]) == ("natss-controller", ["services"])
        if OURS in rule["apiGroups"]:
            assert set(rule["verbs"]) <= READS | {"patch", "create"}, name
            if "create" in rule["verbs"]:
                assert rule["resources"] == ["clusterchannelprovisioners"]


def test_roles_are_bound_to_the_accounts_of_the_programs(installation: str) -> None:
    accounts = {each["metadata"]["name"] for each in manifests(installation, "ServiceAccount")}
    for binding in manifests(installation, "ClusterRoleBinding", "RoleBinding"):
        (subject,) = binding["subjects"]
        assert subject["kind"] == "ServiceAccount"
        assert (subject["namespace"], subject["name"] in accounts) == (NAMESPACE, True)


def test_nats_streaming_is_nobody_to_the_api() -> None:
    for installation in ("nats-streaming", "nats-streaming-clustered"):
        assert not manifests(installation, "ClusterRole", "Role", "ServiceAccount")
        for each in manifests(installation, "StatefulSet"):
            assert each["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_every_role_is_looked_at(with_admission: str) -> None:
    installed = {
        role["metadata"]["name"]
        for installation in (*INSTALLATIONS, with_admission)
        for role in manifests(installation, "ClusterRole", "Role")
    }
    documents = [yaml.safe_load(path.read_text()) for path in CONFIG.rglob("*.yaml")]
    roles = [each for each in documents if each.get("kind") in {"ClusterRole", "Role"}]
    assert {role["metadata"]["name"] for role in roles} == installed
