"""What ``config/`` installs of the dispatcher."""

import subprocess
from typing import Any

import pytest
import yaml

from dispatcher.settings.settings import DispatcherSettings
from dispatcher.settings.table import SECTIONS
from natss_provisioner.children import DispatcherPlace, dispatcher_service
from tests.conftest import CONFIG
from tests.support.kubernetes import KUBECTL, KubernetesServer

ACCOUNT = "system:serviceaccount:knative-eventing:natss-dispatcher"


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    command = [str(KUBECTL), "kustomize", str(CONFIG / "deployments")]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    (found,) = (
        each for each in yaml.safe_load_all(text) if each["metadata"]["name"] == "natss-dispatcher"
    )
    assert isinstance(found, dict)
    return found


@pytest.fixture
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    assert isinstance(only, dict)
    return only


@pytest.fixture
def settings(container: dict[str, Any]) -> DispatcherSettings:
    """Return the settings as the process of the pod reads them."""
    environ = {each["name"]: each.get("value", "knative-eventing") for each in container["env"]}
    return DispatcherSettings.load([], environ)


def test_only_settings_that_exist_are_set(container: dict[str, Any]) -> None:
    known = {
        variable
        for section in SECTIONS
        for option in section.options
        for variable in option.variables
    }
    assert {variable["name"] for variable in container["env"]} <= known


def test_the_ports_are_those_that_are_listened_on(
    container: dict[str, Any], settings: DispatcherSettings
) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"events": settings.listen.port, "admin": settings.admin_listen.port}
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    assert {container[probe]["httpGet"]["port"] for probe in probes} == {"admin"}


def test_the_state_is_kept_on_the_only_place_that_can_be_written_to(
    pod: dict[str, Any], container: dict[str, Any], settings: DispatcherSettings
) -> None:
    (mount,) = container["volumeMounts"]
    (volume,) = pod["spec"]["volumes"]
    assert str(settings.source.state_dir) == mount["mountPath"]
    assert mount["name"] == volume["name"]
    assert "emptyDir" in volume


def test_there_is_time_for_all_that_stopping_takes(
    pod: dict[str, Any], container: dict[str, Any], settings: DispatcherSettings
) -> None:
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    needed = int(seconds) + settings.ingress.drain_timeout
    assert pod["spec"]["terminationGracePeriodSeconds"] > needed


def test_a_rolling_update_takes_no_replica_away(deployment: dict[str, Any]) -> None:
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


def test_the_service_that_the_provisioner_makes_leads_to_its_pods(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    owner = {"apiVersion": "v1", "kind": "K", "metadata": {"name": "natss", "uid": "u"}}
    service = dispatcher_service(owner, DispatcherPlace("knative-eventing", "cluster.local"))
    assert pod["metadata"]["labels"].items() >= service["spec"]["selector"].items()
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in {each["containerPort"] for each in container["ports"]}


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("list", "channels", True),
        ("watch", "channels", True),
        ("patch", "channels", True),
        ("delete", "channels", False),
        ("patch", "channels/status", True),
        ("update", "channels/status", False),
        ("list", "subscriptions", False),
        ("list", "clusterchannelprovisioners", False),
        ("get", "services.", False),
        ("get", "secrets.", False),
        ("create", "events.", True),
        ("get", "events.", True),
        ("patch", "events.", True),
        ("delete", "events.", False),
    ],
)
def test_the_dispatcher_may_do_its_work_and_no_more(
    kubernetes: KubernetesServer, verb: str, resource: str, allowed: bool
) -> None:
    plural, _, subresource = resource.rstrip(".").partition("/")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": ACCOUNT,
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {
                "verb": verb,
                "group": "" if resource.endswith(".") else "eventing.knative.dev",
                "resource": plural,
                "subresource": subresource,
                "namespace": "default",
            },
        },
    }
    answer = kubernetes.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer["status"]["allowed"] is allowed
