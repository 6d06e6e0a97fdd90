"""Our definitions over Knative's own, with its objects in place: nothing is changed or lost."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CONFIG
from tests.knative_definitions import Release, definitions
from tests.kubernetes import KUBECTL, Document, KubernetesServer, until

API = "eventing.knative.dev/v1alpha1"
GROUP = f"/apis/{API}"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATHS = {
    "ClusterChannelProvisioner": f"{GROUP}/clusterchannelprovisioners",
    "Channel": f"{GROUP}/namespaces/kyma-system/channels",
    "Subscription": f"{GROUP}/namespaces/kyma-system/subscriptions",
}
NEVER: Document = {"type": "Ready", "status": "Unknown", "lastTransitionTime": None}
SINCE: Document = {
    "type": "Addressable",
    "status": "True",
    "severity": "Error",
    "lastTransitionTime": "2019-06-01T10:00:00Z",
    "later": {"deep": [1, {"x": None}]},
}
STATUS: Document = {
    "observedGeneration": 1,
    "conditions": [NEVER, SINCE],
    "address": {
        "hostname": "orders-channel-x7k2p.kyma-system.svc.cluster.local",
        "url": "http://u",
    },
    "internal": {"kept": True},
}


def reference(kind: str, name: str, **more: str) -> Document:
    return {"apiVersion": API, "kind": kind, "name": name, **more}


def objects() -> list[Document]:
    """As Knative's and Kyma's controllers wrote them, with what they alone knew."""
    provisioner = reference("ClusterChannelProvisioner", "natss", fieldPath="f", uid="u-0")
    entry = {
        "uid": "u-1",
        "ref": {**reference("Subscription", "s", namespace="kyma-system", uid="u-1"), "more": "m"},
        "subscriberURI": "http://lambda.shop:8080/in",
        "replyURI": "http://reply.shop/",
        "generation": 4,
        "delivery": {"deadLetterSink": {"uri": "http://d"}},
    }
    arguments = {"NumPartitions": 1, "of": {"others": [1, {"deep": None}]}}
    channel_spec = {
        "generation": 2,
        "provisioner": provisioner,
        "arguments": arguments,
        "subscribable": {"subscribers": [entry], "more": [1]},
        "unknown": {"a": ["b"]},
    }
    subscription_spec = {
        "generation": 7,
        "channel": {**reference("Channel", "orders"), "more": "m"},
        "subscriber": {"dnsName": "http://lambda.shop:8080/in", "more": {"x": 1}},
        "reply": {"channel": reference("Channel", "answers"), "more": 1},
        "delivery": {"retry": 3},
    }
    specs: dict[str, tuple[str, Document]] = {
        "ClusterChannelProvisioner": ("natss", {"generation": 1, "parameters": {"x": "y"}}),
        "Channel": ("orders", channel_spec),
        "Subscription": ("orders-mail", subscription_spec),
    }
    metadata = {"labels": {"kyma-source-id": "ec"}, "annotations": {"a": "é"}}
    return [
        {
            "apiVersion": API,
            "kind": kind,
            "metadata": {"name": name, **metadata, "finalizers": [f"go.dev/{kind.lower()}"]},
            "spec": spec,
        }
        for kind, (name, spec) in specs.items()
    ]


@pytest.fixture(params=["v0.5", "v0.6"])
def knative(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KubernetesServer]:
    """An API with Knative's definitions and objects."""
    release: Release = request.param
    server = KubernetesServer(tmp_path / "kubernetes")
    try:
        server.start()
        for each in definitions(release):
            server.kubectl("create", "-f", "-", text=json.dumps(each))
        server.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd", "--all")
        server.create("/api/v1/namespaces", {"metadata": {"name": "kyma-system"}})
        for each in objects():
            path = PATHS[each["kind"]]
            until(lambda path=path: server.get(path))
            write_status(server, server.create(path, each), STATUS)
        yield server
    finally:
        server.stop()


def write_status(server: KubernetesServer, document: Document, status: Document) -> None:
    """As Go wrote it: the whole object, and null for a time that never was."""
    path = f"{PATHS[document['kind']]}/{document['metadata']['name']}/status"
    server.request("PUT", path, {**document, "status": status})


def stored(server: KubernetesServer) -> list[Document]:
    """All objects, to the last bit that is anybody's but the API's own."""
    return [item for path in PATHS.values() for item in server.get(path)["items"]]


def changed(server: KubernetesServer) -> None:
    """Wait until the API works with our definitions."""

    def is_ours() -> bool:
        columns = server.kubectl("get", "channels", "-n", "kyma-system").splitlines()[0].split()
        return columns == ["NAME", "READY", "REASON", "ADDRESS", "AGE"]

    until(is_ours, 20.0)


def test_nothing_is_changed_or_lost(knative: KubernetesServer) -> None:
    before = stored(knative)
    uids = {each["metadata"]["uid"] for each in knative.get(DEFINITIONS)["items"]}
    assert len(before) == len(uids) == 3
    knative.kubectl("apply", "--server-side", "--force-conflicts", "-k", CONFIG / "crds")
    changed(knative)
    assert stored(knative) == before
    for definition in knative.get(DEFINITIONS)["items"]:
        assert definition["metadata"]["uid"] in uids
        assert definition["metadata"]["labels"]["eventing.knative.dev/release"]  # still Knative's
        conditions = {each["type"]: each["status"] for each in definition["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_objects_lose_nothing_when_they_are_written_again(knative: KubernetesServer) -> None:
    before = stored(knative)
    knative.kubectl("apply", "--server-side", "--force-conflicts", "-k", CONFIG / "crds")
    changed(knative)
    for each in before:
        path = f"{PATHS[each['kind']]}/{each['metadata']['name']}"
        metadata = {**each["metadata"], "annotations": {"touched": "yes"}}
        written = knative.request("PUT", path, {**each, "metadata": metadata})
        status = {**STATUS, "observedGeneration": 2}
        write_status(knative, written, status)
        after = knative.get(path)
        assert after["spec"] == each["spec"]
        assert after["status"] == status
        assert after["metadata"]["finalizers"] == each["metadata"]["finalizers"]
        assert after["metadata"]["uid"] == each["metadata"]["uid"]


def test_without_force_a_conflict_is_told_and_nothing_is_done(knative: KubernetesServer) -> None:
    before = knative.get(f"{DEFINITIONS}/channels.eventing.knative.dev")
    environment = {"KUBECONFIG": str(knative.kubeconfig), "HOME": str(knative.directory)}
    result = subprocess.run(
        [KUBECTL, "apply", "--server-side", "-k", CONFIG / "crds"],
        capture_output=True,
        check=False,
        text=True,
        env=environment,
    )
    assert result.returncode == 1
    assert "--force-conflicts" in result.stderr
    after = knative.get(f"{DEFINITIONS}/channels.eventing.knative.dev")
    assert after["spec"] == before["spec"]
