"""Our definitions over Knative's own, with its objects in place: nothing is changed or lost."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from natss.document import Document
from tests.conftest import CONFIG
from tests.support.knative_definitions import Release, definitions
from tests.support.kubernetes import KubernetesServer, running_kubernetes, until

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
    """Return objects as Knative's and Kyma's controllers wrote them, with fields of their own."""
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
    """Yield an API with Knative's definitions and objects."""
    release: Release = request.param
    with running_kubernetes(tmp_path / "kubernetes") as server:
        for each in definitions(release):
            server.kubectl("create", "-f", "-", text=json.dumps(each))
        server.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd", "--all")
        server.create("/api/v1/namespaces", {"metadata": {"name": "kyma-system"}})
        for each in objects():
            path = PATHS[each["kind"]]
            until(partial(server.get, path))
            write_status(server, server.create(path, each), STATUS)
        yield server


def write_status(server: KubernetesServer, document: Document, status: Document) -> None:
    """Write a status as Go did: the whole object, and null for a time that is not set."""
    path = f"{PATHS[document['kind']]}/{document['metadata']['name']}/status"
    server.request("PUT", path, {**document, "status": status})


def stored(server: KubernetesServer) -> list[Document]:
    """Return all objects, without the fields that the API itself writes."""
    return [item for path in PATHS.values() for item in server.get(path)["items"]]


def changed(server: KubernetesServer) -> None:
    """Wait until the API uses the definitions of this project."""

    def is_ours() -> bool:
        columns = server.kubectl("get", "channels", "-n", "kyma-system").splitlines()[0].split()
        return columns == ["NAME", "READY", "REASON", "ADDRESS", "PROVISIONER", "AGE"]

    until(is_ours, 20.0)


def test_nothing_is_changed_or_lost(knative: KubernetesServer) -> None:
    before = stored(knative)
    assert len(before) == 3
    uids = {each["metadata"]["uid"] for each in knative.get(DEFINITIONS)["items"]}
    conflicts_are_told_and_nothing_is_done(knative)
    knative.kubectl("apply", "--server-side", "--force-conflicts", "-k", CONFIG / "crds")
    changed(knative)
    assert stored(knative) == before
    for definition in knative.get(DEFINITIONS)["items"]:
        assert definition["metadata"]["uid"] in uids
        assert definition["metadata"]["labels"]["eventing.knative.dev/release"]  # still Knative's
        conditions = {each["type"]: each["status"] for each in definition["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}
    for each in before:
        loses_nothing_when_it_is_written_again(knative, each)


def conflicts_are_told_and_nothing_is_done(server: KubernetesServer) -> None:
    before = server.get(DEFINITIONS)["items"]
    with pytest.raises(AssertionError, match="--force-conflicts"):
        server.kubectl("apply", "--server-side", "-k", CONFIG / "crds")
    after = server.get(DEFINITIONS)["items"]
    assert [each["spec"] for each in after] == [each["spec"] for each in before]


def loses_nothing_when_it_is_written_again(server: KubernetesServer, before: Document) -> None:
    path = f"{PATHS[before['kind']]}/{before['metadata']['name']}"
    metadata = {**before["metadata"], "annotations": {"touched": "yes"}}
    written = server.request("PUT", path, {**before, "metadata": metadata})
    status = {**STATUS, "observedGeneration": 2}
    write_status(server, written, status)
    after = server.get(path)
    assert after["spec"] == before["spec"]
    assert after["status"] == status
    assert after["metadata"]["finalizers"] == before["metadata"]["finalizers"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
