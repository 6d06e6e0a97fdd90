"""The definitions of the resources, on the real API server."""

import re
from typing import Any

import pytest
import yaml

from natss.contract.arguments import ARGUMENTS, ChannelPlace
from natss.contract.resources import DeliveryPolicy
from natss.document import Document
from tests.conftest import CONFIG
from tests.support.kubernetes import ApiAnswer, KubernetesServer, until

GROUP = "/apis/eventing.knative.dev/v1alpha1"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PLURALS = ["channels", "clusterchannelprovisioners", "subscriptions"]


def channel(name: str, spec: Document, **more: Any) -> Document:
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {"name": name},
        "spec": spec,
        **more,
    }


@pytest.mark.parametrize("plural", PLURALS)
def test_definitions_are_established_and_structural(
    kubernetes: KubernetesServer, plural: str
) -> None:
    definition = kubernetes.get(f"{DEFINITIONS}/{plural}.eventing.knative.dev")
    conditions = {each["type"]: each["status"] for each in definition["status"]["conditions"]}
    assert conditions.pop("Established") == "True"
    assert conditions.pop("NamesAccepted") == "True"
    assert conditions == {}  # such as NonStructuralSchema


def test_the_names_of_knative_are_understood(kubernetes: KubernetesServer) -> None:
    text = kubernetes.kubectl("api-resources", "--api-group=eventing.knative.dev")
    short_names = {line.split()[0]: line.split()[1] for line in text.splitlines()[1:]}
    assert short_names == {
        "channels": "chan",
        "clusterchannelprovisioners": "ccp",
        "subscriptions": "sub",
    }


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("channel.spec.arguments", "maxRedeliveries"),
        ("channel.spec.subscribable.subscribers.uid", "durable"),
        ("channel.status.dispatcher.host", "stays so while the dispatcher"),
        ("channel.status.subscribableStatus.subscribers.ready", "events are delivered"),
        ("subscription.spec.subscriber.dnsName", "older name of uri"),
        ("subscription.status.channelName", "named first"),
        ("clusterchannelprovisioner.status.conditions.reason", "why"),
    ],
)
def test_kubectl_explain_teaches(kubernetes: KubernetesServer, field: str, words: str) -> None:
    version = "--api-version=eventing.knative.dev/v1alpha1"

    def explained() -> bool:  # a moment after the definition is established
        try:
            return words in kubernetes.kubectl("explain", field, version)
        except AssertionError:
            return False

    until(explained)


def test_arguments_stay_free_form(kubernetes: KubernetesServer, namespace: str) -> None:
    arguments = {"ackWait": "PT1M", "of": {"others": [1, {"deep": None}, "x"]}, "number": 1.5}
    spec = {"provisioner": {"name": "other"}, "arguments": arguments}
    path = f"{GROUP}/namespaces/{namespace}/channels"
    kubernetes.create(path, channel("one", spec))
    stored = kubernetes.get(f"{path}/one")["spec"]["arguments"]
    assert stored == arguments


def test_what_knative_or_others_wrote_is_not_lost(
    kubernetes: KubernetesServer, namespace: str
) -> None:
    spec = {
        "generation": 3,
        "provisioner": {"name": "other", "uid": "u", "fieldPath": "f"},
        "subscribable": {"subscribers": [{"uid": "1", "ref": {"name": "s"}, "later": {"x": 1}}]},
        "unknown": {"a": ["b"]},
    }
    status = {
        "address": {"hostname": "h", "url": "http://h"},
        "conditions": [{"type": "Ready", "status": "True", "severity": "", "extra": 1}],
        "internal": {"x": 1},
    }
    path = f"{GROUP}/namespaces/{namespace}/channels"
    kubernetes.create(path, channel("one", spec))
    kubernetes.patch(f"{path}/one/status", {"status": status})
    stored = kubernetes.get(f"{path}/one")
    assert (stored["spec"], stored["status"]) == (spec, status)


@pytest.mark.parametrize("spec", [{}, {"provisioner": None}])
def test_a_channel_without_provisioner_is_possible(
    kubernetes: KubernetesServer, namespace: str, spec: Document
) -> None:
    kubernetes.create(f"{GROUP}/namespaces/{namespace}/channels", channel("one", spec))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"provisioner": "natss"}, "spec.provisioner"),
        ({"provisioner": {"name": 7}}, "spec.provisioner.name"),
        ({"arguments": []}, "spec.arguments"),
        ({"subscribable": {"subscribers": {}}}, "spec.subscribable.subscribers"),
    ],
)
def test_what_no_program_could_read_is_refused(
    kubernetes: KubernetesServer, namespace: str, spec: Document, field: str
) -> None:
    with pytest.raises(ApiAnswer, match=field) as refused:
        kubernetes.create(f"{GROUP}/namespaces/{namespace}/channels", channel("one", spec))
    assert refused.value.code == 422


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"channel": None}, "spec.channel"),
        ({"channel": {"apiVersion": "v", "kind": "Topic", "name": "c"}}, "spec.channel.kind"),
        ({"subscriber": {"dnsName": ""}}, "spec.subscriber.dnsName"),
        ({"subscriber": {"ref": {"kind": "Service", "name": "s"}}}, "spec.subscriber.ref"),
    ],
)
def test_subscriptions_keep_the_rules_of_knative(
    kubernetes: KubernetesServer, namespace: str, change: Document, field: str
) -> None:
    reference = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "Channel", "name": "c"}
    body: Document = {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Subscription",
        "metadata": {"name": "one"},
        "spec": {"channel": reference, "subscriber": {"dnsName": "http://a.b:8080/x"}},
    }
    path = f"{GROUP}/namespaces/{namespace}/subscriptions"
    kubernetes.create(path, body)
    body["metadata"]["name"] = "two"
    body["spec"] |= change
    with pytest.raises(ApiAnswer, match=field.replace(".", r"\.")):
        kubernetes.create(path, body)


def test_status_is_a_subresource_and_printed(kubernetes: KubernetesServer, namespace: str) -> None:
    path = f"{GROUP}/namespaces/{namespace}/channels"
    status = {
        "address": {"hostname": "the.host"},
        "conditions": [{"type": "Ready", "status": "False", "reason": "Because"}],
    }
    kubernetes.create(path, channel("one", {"provisioner": {"name": "other"}}, status=status))
    assert "status" not in kubernetes.get(f"{path}/one")
    kubernetes.patch(f"{path}/one/status", {"status": status})
    head, row = kubernetes.kubectl("get", "chan", "-n", namespace).splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "ADDRESS", "PROVISIONER", "AGE"]
    assert row.split()[:4] == ["one", "False", "Because", "the.host"]


def test_applying_everything_again_changes_nothing(kubernetes: KubernetesServer) -> None:
    before = kubernetes.get(DEFINITIONS)["items"]
    kubernetes.kubectl("apply", "--server-side", "-k", CONFIG / "default")
    after = kubernetes.get(DEFINITIONS)["items"]
    assert [each["metadata"]["resourceVersion"] for each in after] == [
        each["metadata"]["resourceVersion"] for each in before
    ]


def described_arguments() -> Document:
    """Return what the definition says about each argument of a Channel."""
    definition = yaml.safe_load((CONFIG / "crds" / "channel.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    arguments: Document = schema["properties"]["spec"]["properties"]["arguments"]
    return arguments


def test_the_described_arguments_are_those_that_there_are() -> None:
    arguments = described_arguments()
    assert arguments["x-kubernetes-preserve-unknown-fields"] is True
    assert arguments["properties"].keys() == ARGUMENTS.keys()
    policy = DeliveryPolicy()
    for key, of in arguments["properties"].items():
        assert of.keys() == {"description", "x-kubernetes-preserve-unknown-fields"}, (
            "no value is refused by its form: what is wrong is told, and harms nobody"
        )
        argument = ARGUMENTS[key]
        default = argument.show(getattr(policy, argument.field))
        assert f"({default} unless set)" in of["description"], key


def test_the_bounds_in_the_descriptions_are_true() -> None:
    place = ChannelPlace("shop", "cluster.local")
    for key, of in described_arguments()["properties"].items():
        bounds = re.match(r"(\d+) to (\d+) ", of["description"])
        if bounds is None:
            continue
        for bound, outside in ((int(bounds[1]), -1), (int(bounds[2]), 1)):
            assert ARGUMENTS[key].read(bound, place) == bound
            with pytest.raises(ValueError, match="must be"):
                ARGUMENTS[key].read(bound + outside, place)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_kubectl_explains_each_argument(kubernetes: KubernetesServer, name: str) -> None:
    version = "--api-version=eventing.knative.dev/v1alpha1"
    text = kubernetes.kubectl("explain", f"channel.spec.arguments.{name}", version)
    assert "unless set" in " ".join(text.split())


@pytest.mark.parametrize("value", ["8", -1, 8.5, True, ["x"], {"a": 1}, "PT5S"])
def test_a_wrong_argument_is_stored_as_it_was_written(
    kubernetes: KubernetesServer, namespace: str, value: object
) -> None:
    path = f"{GROUP}/namespaces/{namespace}/channels"
    arguments = {"retry": value, "ackWait": value, "unheardOf": value}
    kubernetes.create(path, channel("one", {"provisioner": {"name": "x"}, "arguments": arguments}))
    assert kubernetes.get(f"{path}/one")["spec"]["arguments"] == arguments


def test_a_mistyped_provisioner_is_seen(kubernetes: KubernetesServer, namespace: str) -> None:
    """Nobody writes a status then, and all other columns are empty."""
    path = f"{GROUP}/namespaces/{namespace}/channels"
    kubernetes.create(path, channel("one", {"provisioner": {"name": "nats"}}))
    _, row = kubernetes.kubectl("get", "chan", "-n", namespace).splitlines()
    assert row.split()[:2] == ["one", "nats"]
