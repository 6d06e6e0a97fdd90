"""Who may connect to what, as the NetworkPolicies of ``config/`` say it."""

import pytest

from tests.support.manifests import Manifest, manifest

OURS = ("default", "knative", "kyma")
NAME = "kubernetes.io/metadata.name"
SAME_NAMESPACE: Manifest = {"podSelector": {}}


def of_namespace(name: str) -> Manifest:
    return {"namespaceSelector": {"matchLabels": {NAME: name}}}


def callers(installation: str, policy: str) -> dict[int, list[Manifest]]:
    """Return who may connect, by port; an empty list means everybody."""
    spec = manifest(installation, "NetworkPolicy", policy)["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    return {
        port["port"]: rule.get("from", []) for rule in spec["ingress"] for port in rule["ports"]
    }


@pytest.mark.parametrize("installation", OURS)
def test_events_come_from_everywhere_and_status_is_for_operators(installation: str) -> None:
    operators = [SAME_NAMESPACE, of_namespace("monitoring")]
    if installation == "kyma":
        operators.append(of_namespace("kyma-system"))
    assert callers(installation, "natss-dispatcher") == {8080: [], 8081: operators}


@pytest.mark.parametrize("installation", OURS)
def test_nobody_calls_the_controller(installation: str) -> None:
    assert callers(installation, "natss-controller") == {}


@pytest.mark.parametrize("installation", ["nats-streaming", "nats-streaming-clustered"])
def test_the_dispatcher_alone_speaks_to_nats(installation: str) -> None:
    found = callers(installation, "nats-streaming")
    labels = {"clusterChannelProvisioner": "natss", "role": "dispatcher"}
    dispatcher = {**of_namespace("knative-eventing"), "podSelector": {"matchLabels": labels}}
    assert found.pop(4222) == [dispatcher]
    assert found.pop(8222) == [SAME_NAMESPACE, of_namespace("monitoring")]
    servers = {"podSelector": {"matchLabels": {"app": "nats-streaming"}}}
    assert found in ({}, {6222: [servers]})
    pods = manifest("default", "Deployment", "natss-dispatcher")["spec"]
    assert labels.items() <= pods["template"]["metadata"]["labels"].items()
