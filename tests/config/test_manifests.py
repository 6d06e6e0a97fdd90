"""What ``config/`` installs, as kustomize makes it."""

import importlib.metadata
import json
from typing import Any

import pytest
import yaml

from natss_provisioner.settings import OPTIONS
from tests.conftest import CONFIG
from tests.support.kubernetes import KubernetesServer
from tests.support.manifests import (
    INSTALLATIONS,
    Manifest,
    environment,
    manifest,
    manifests,
    workloads,
)
from tests.support.provisioner_process import ACCOUNT, NAMESPACE

OURS = ("default", "knative", "kyma")
WORKLOADS = [
    *((each, f"natss-{role}") for each in OURS for role in ("controller", "dispatcher")),
    *((each, "nats-streaming") for each in ("nats-streaming", "nats-streaming-clustered")),
]


@pytest.fixture(params=WORKLOADS, ids="-".join)
def workload(request: pytest.FixtureRequest) -> Manifest:
    """Return each Deployment and StatefulSet in turn."""
    installation, name = request.param
    (found,) = (each for each in workloads(installation) if each["metadata"]["name"] == name)
    return found


def test_all_workloads_are_looked_at() -> None:
    found = {(i, each["metadata"]["name"]) for i in INSTALLATIONS for each in workloads(i)}
    assert found == set(WORKLOADS)


def names(installation: str, *kinds: str) -> set[str]:
    return {each["metadata"]["name"] for each in manifests(installation, *kinds)}


def test_every_file_is_one_object_and_is_used() -> None:
    for path in CONFIG.rglob("*.yaml"):
        if path.name == "kustomization.yaml":
            continue
        kustomization = yaml.safe_load((path.parent / "kustomization.yaml").read_text())
        patches = (each.get("path") for each in kustomization.get("patches", ()))
        assert path.name in {*kustomization["resources"], *patches}, path
        assert len(list(yaml.safe_load_all(path.read_text()))) == 1, path


def test_containers_may_do_nothing_that_they_need_not(workload: Manifest) -> None:
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_containers_say_what_they_need_and_how_they_are(workload: Manifest) -> None:
    for container in workload["spec"]["template"]["spec"]["containers"]:
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports


def test_pods_are_spread(workload: Manifest) -> None:
    spec = workload["spec"]
    pod = spec["template"]["spec"]
    spread = {each["topologyKey"]: each for each in pod["topologySpreadConstraints"]}
    assert spread.keys() == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    labels = spec["template"]["metadata"]["labels"].items()
    for each in spread.values():
        assert each["labelSelector"]["matchLabels"].items() <= labels


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_every_pod_has_a_budget_a_policy_and_its_class(installation: str) -> None:
    (priority,) = manifests(installation, "PriorityClass")
    assert priority["preemptionPolicy"] == "Never"
    for workload in workloads(installation):
        labels = workload["spec"]["template"]["metadata"]["labels"].items()
        pod = workload["spec"]["template"]["spec"]
        assert pod["priorityClassName"] == priority["metadata"]["name"]
        selectors = {
            (each["kind"], each["metadata"]["namespace"]): _selector(each)
            for each in manifests(installation, "PodDisruptionBudget", "NetworkPolicy")
            if _selector(each).items() <= labels
        }
        namespace = workload["metadata"]["namespace"]
        assert selectors.keys() == {
            ("PodDisruptionBudget", namespace),
            ("NetworkPolicy", namespace),
        }


def _selector(policy: Manifest) -> dict[str, str]:
    spec = policy["spec"]
    labels: dict[str, str] = (spec.get("podSelector") or spec["selector"])["matchLabels"]
    return labels


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_no_budget_stops_a_drain(installation: str) -> None:
    for budget in manifests(installation, "PodDisruptionBudget"):
        assert budget["spec"].keys() == {"maxUnavailable", "selector"}
        assert budget["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("installation", OURS)
def test_the_image_is_the_one_of_this_version(installation: str) -> None:
    version = importlib.metadata.version("natss-channel")
    for deployment in manifests(installation, "Deployment"):
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            assert container["image"] == f"natss-channel:{version}"


@pytest.mark.parametrize("installation", OURS)
def test_only_settings_that_exist_are_set(installation: str) -> None:
    known = {variable for option in OPTIONS for variable in option.variables}
    assert {variable["name"] for variable in _controller(installation)["env"]} <= known


def _controller(installation: str) -> Manifest:
    deployment = manifest(installation, "Deployment", "natss-controller")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_one_apply_is_enough_without_knative() -> None:
    assert names("default", "CustomResourceDefinition")
    # kubectl refuses an object whose kind it is just about to define.
    assert not manifests("default", "ClusterChannelProvisioner", "Channel", "Subscription")
    assert environment(_controller("default"), "n")["CREATE_PROVISIONER"] == "on"


@pytest.mark.parametrize("installation", ["knative", "kyma"])
def test_what_is_the_core_s_is_left_to_it(installation: str) -> None:
    assert not manifests(installation, "CustomResourceDefinition", "Namespace", "Subscription")
    assert environment(_controller(installation), "n")["SUBSCRIPTION_CONTROLLER"] == "off"
    roles = names(installation, "ClusterRole", "Role")
    assert roles == names(installation, "ClusterRoleBinding", "RoleBinding")
    assert roles == {"natss-controller", "natss-dispatcher"}


def test_the_provisioner_is_knative_s_own_and_left_to_kyma() -> None:
    assert names("knative", "ClusterChannelProvisioner") == {"natss"}
    assert not manifests("kyma", "ClusterChannelProvisioner")


# Selectors cannot be changed, so they are those of the Deployments that are replaced.
@pytest.mark.parametrize(("installation", "more"), [("knative", ()), ("kyma", ("app",))])
@pytest.mark.parametrize("role", ["controller", "dispatcher"])
def test_deployments_of_go_are_updated(installation: str, role: str, more: tuple[str, ...]) -> None:
    deployment = manifest(installation, "Deployment", f"natss-{role}")
    assert deployment["metadata"]["namespace"] == "knative-eventing"
    assert deployment["spec"]["selector"]["matchLabels"] == {
        "clusterChannelProvisioner": "natss",
        "role": role,
        **dict.fromkeys(more, f"natss-{role}"),
    }
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["name"] == role
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == f"natss-{role}"


def test_the_dispatcher_finds_nats_as_kyma_set_it_up() -> None:
    deployment = manifest("kyma", "Deployment", "natss-dispatcher")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each for each in container["env"]}
    keys = [each["name"] for each in container["env"]]
    assert variables["DEFAULT_CLUSTER_ID"]["value"] == "kyma-nats-streaming"
    url = "nats://$(EB_USER):$(EB_PASS)@nats-streaming.natss:4222"
    assert variables["DEFAULT_NATSS_URL"]["value"] == url
    # Only what comes before it is put into a value.
    assert keys.index("EB_USER") < keys.index("DEFAULT_NATSS_URL") > keys.index("EB_PASS")
    for name, key in (("EB_USER", "username"), ("EB_PASS", "password")):
        reference = variables[name]["valueFrom"]["secretKeyRef"]
        assert reference == {"name": "nats-user-eventbus", "key": key}


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_the_api_takes_every_object(kubernetes: KubernetesServer, installation: str) -> None:
    objects = [each for each in manifests(installation) if each["kind"] != "Namespace"]
    for each in objects:
        if "namespace" in each["metadata"]:  # which may be missing, or hold another installation
            each["metadata"]["namespace"] = "default"
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    kubernetes.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", text=text)


def test_pods_are_admitted_under_the_strictest_standard(
    kubernetes: KubernetesServer, unique_name: str, workload: Manifest
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubernetes.create("/api/v1/namespaces", {"metadata": {"name": unique_name, "labels": labels}})
    pod = workload["spec"]["template"]["spec"]
    claims = workload["spec"].get("volumeClaimTemplates", ())
    volumes = [*pod.get("volumes", ()), *map(_claimed, claims)]
    account = pod.get("serviceAccountName", "default")
    kubernetes.create(
        f"/api/v1/namespaces/{unique_name}/serviceaccounts", {"metadata": {"name": account}}
    )
    # The classes are installed with the rest, which only one installation is here.
    spec = {**pod, "volumes": volumes, "priorityClassName": "natss-channel"}
    body = {"metadata": {"name": "one"}, "spec": spec}
    kubernetes.create(f"/api/v1/namespaces/{unique_name}/pods", body)


def _claimed(claim: Manifest) -> dict[str, Any]:
    name = claim["metadata"]["name"]
    return {"name": name, "persistentVolumeClaim": {"claimName": name}}


@pytest.mark.parametrize("namespace", ["knative-eventing", "natss"])
def test_namespaces_of_ours_admit_no_other_pods(namespace: str) -> None:
    installation = "default" if namespace == "knative-eventing" else "nats-streaming"
    labels = manifest(installation, "Namespace", namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


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
