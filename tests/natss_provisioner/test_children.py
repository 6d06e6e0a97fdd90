import copy
import re
from typing import Any

import pytest

from natss.contract.names import channel_label_value, channel_service_name
from natss.document import Document
from natss_provisioner.children import (
    MANAGED_BY,
    MANAGER,
    DispatcherPlace,
    belongs_to,
    channel_selector,
    channel_service,
    dispatcher_service,
    find,
    known_service,
    may_be_owned,
    repair,
)

PLACE = DispatcherPlace("knative-eventing", "cluster.local")
API = "eventing.knative.dev/v1alpha1"


def channel(name: str = "orders", namespace: str = "shop", **status: Any) -> Document:
    return {
        "apiVersion": API,
        "kind": "Channel",
        "metadata": {"name": name, "namespace": namespace, "uid": "channel-uid"},
        "status": status,
    }


PROVISIONER: Document = {
    "apiVersion": API,
    "kind": "ClusterChannelProvisioner",
    "metadata": {"name": "natss", "uid": "ccp-uid"},
}


def stored(service: Document, **metadata: Any) -> Document:
    """Return a Service as the API does, with its defaults."""
    service = copy.deepcopy(service)
    service["metadata"] |= {"uid": "u", "resourceVersion": "7", **metadata}
    service["spec"] |= {"sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}
    for port in service["spec"]["ports"]:
        port.setdefault("targetPort", port["port"])
    return service


def as_go_left_it() -> Document:
    """Return the Service of a channel as Knative eventing v0.6 created it."""
    return {
        "metadata": {
            "name": "orders-channel-x7k2p",
            "namespace": "shop",
            "uid": "go",
            "resourceVersion": "1",
            "creationTimestamp": "2019-06-01T00:00:00Z",
            "labels": {
                "channel": "orders",
                "provisioner": "natss",
                "eventing.knative.dev/channel": "orders",
                "eventing.knative.dev/provisioner": "natss",
            },
            "ownerReferences": [
                {
                    "apiVersion": API,
                    "kind": "Channel",
                    "name": "orders",
                    "uid": "channel-uid",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "type": "ExternalName",
            "externalName": "natss-dispatcher.knative-eventing.svc.cluster.local",
            "ports": [{"name": "http", "port": 80, "targetPort": 80, "protocol": "TCP"}],
            "sessionAffinity": "None",
        },
    }


def test_the_service_of_a_channel() -> None:
    service = channel_service(channel(), PLACE)
    assert service["metadata"]["name"].startswith("orders-channel-")
    assert service["metadata"]["namespace"] == "shop"
    assert service["metadata"]["labels"] == {
        "eventing.knative.dev/channel": "orders",
        "eventing.knative.dev/provisioner": "natss",
        "channel": "orders",
        "provisioner": "natss",
        MANAGED_BY: MANAGER,
    }
    assert service["metadata"]["ownerReferences"] == [
        {
            "apiVersion": API,
            "kind": "Channel",
            "name": "orders",
            "uid": "channel-uid",
            "controller": True,
        }
    ]
    assert service["spec"] == {
        "type": "ExternalName",
        "externalName": "natss-dispatcher.knative-eventing.svc.cluster.local",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }


def test_the_service_of_the_dispatcher() -> None:
    service = dispatcher_service(PROVISIONER, PLACE)
    metadata, spec = service["metadata"], service["spec"]
    assert (metadata["name"], metadata["namespace"]) == ("natss-dispatcher", "knative-eventing")
    labels = {"clusterChannelProvisioner": "natss", "role": "dispatcher"}
    assert metadata["labels"] == {**labels, MANAGED_BY: MANAGER}
    assert metadata["ownerReferences"][0]["uid"] == "ccp-uid"
    assert spec["selector"] == labels
    assert spec["ports"] == [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]


NAMES = [
    ("a", "orders"),
    ("a", "orders.v1"),
    ("a", "orders-v1"),
    ("a", "1st"),
    ("a", "x" * 253),
    ("a", ("y" * 60 + ".") * 4 + "z"),
    ("b", "orders"),
    ("n" * 63, "kf5wxkg4bobejchlt6ekbpuwiixddqenw"),
    ("a", "-".join("ab" * 20)),
    ("a", "a" * 45 + "-" + "b"),
]


def test_names_of_services_are_valid_and_all_different() -> None:
    names = [channel_service_name(*name) for name in NAMES]
    assert len(set(names)) == len(NAMES)
    for name in names:
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name), name
    assert channel_service_name("a", "orders") == names[0]


def test_labels_are_valid_and_different_for_different_channels() -> None:
    long = ["x" * 63, "x" * 64, "x" * 253, ("y" * 45 + ".") * 3 + "z"]
    values = [channel_label_value(name) for name in ["orders", *long]]
    assert values[:2] == ["orders", "x" * 63]
    assert len(set(values)) == len(values)
    for value in values:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", value), value


def test_what_is_right_is_left_alone() -> None:
    for wanted in (channel_service(channel(), PLACE), dispatcher_service(PROVISIONER, PLACE)):
        assert repair(stored(wanted), wanted) is None


def test_what_go_left_needs_but_our_label() -> None:
    wanted = channel_service(channel(), PLACE)
    assert belongs_to(as_go_left_it(), channel(), wanted)
    found = find(channel(), [as_go_left_it()])
    assert found.service == as_go_left_it()
    repaired = repair(as_go_left_it(), wanted)
    assert repaired is not None
    assert not repaired.adopts
    assert repaired.patch == {"metadata": {"labels": {MANAGED_BY: MANAGER}, "resourceVersion": "1"}}


@pytest.mark.parametrize(
    ("change", "told", "patch"),
    [
        ({"externalName": "evil"}, "spec.externalName", None),
        ({"type": "ClusterIP", "externalName": None}, "spec.type", None),
        ({"selector": {"a": "b"}}, "spec.selector", {"selector": None}),
        ({"ports": None}, "spec.ports", None),
        ({"ports": [{"name": "http", "port": 81}]}, "spec.ports", None),
        ({"ports": [{"port": 80}]}, "spec.ports", None),
        ({"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}, "spec.ports", None),
        (
            {"ports": [{"name": "http", "port": 80}, {"name": "more", "port": 81}]},
            "spec.ports",
            {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
        ),
    ],
)
def test_a_changed_spec_is_put_right(change: Document, told: str, patch: Document | None) -> None:
    wanted = channel_service(channel(), PLACE)
    existing = stored(wanted)
    existing["spec"] |= change
    repaired = repair(existing, wanted)
    assert repaired is not None
    assert told in repaired.changes
    assert not repaired.adopts
    if patch is not None:
        assert repaired.patch["spec"] == patch


def test_a_selector_has_nothing_more_than_it_should() -> None:
    wanted = dispatcher_service(PROVISIONER, PLACE)
    existing = stored(wanted)
    existing["spec"]["selector"] = {"role": "other", "surplus": "x"}
    repaired = repair(existing, wanted)
    assert repaired is not None
    assert repaired.patch["spec"]["selector"] == {**wanted["spec"]["selector"], "surplus": None}


def test_labels_are_put_back_and_those_of_others_stay() -> None:
    wanted = channel_service(channel(), PLACE)
    existing = stored(wanted)
    existing["metadata"]["labels"] = {"mine": "x", "channel": "orders", "provisioner": "natss"}
    repaired = repair(existing, wanted)
    assert repaired is not None
    assert set(repaired.patch["metadata"]["labels"]) == {
        "eventing.knative.dev/channel",
        "eventing.knative.dev/provisioner",
        MANAGED_BY,
    }


def reference(**fields: Any) -> Document:
    return {"apiVersion": API, "kind": "Channel", "name": "orders", "uid": "channel-uid", **fields}


OTHER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "other"}
OURS = reference(controller=True)


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ([], [OURS]),
        (None, [OURS]),
        ([OTHER], [OTHER, OURS]),
        ([reference(uid="before", controller=True)], [OURS]),
        ([reference(uid="before", controller=True), OTHER], [OTHER, OURS]),
        ([reference()], [OURS]),
        (
            [reference(blockOwnerDeletion=True, controller=False)],
            [reference(blockOwnerDeletion=True, controller=True)],
        ),
        ([reference(apiVersion="eventing.knative.dev/v1", uid="before", controller=True)], [OURS]),
    ],
)
def test_a_service_without_its_owner_is_adopted(
    references: list[Document] | None, expected: list[Document]
) -> None:
    wanted = channel_service(channel(), PLACE)
    existing = stored(wanted, ownerReferences=references)
    assert may_be_owned(existing, channel())
    repaired = repair(existing, wanted)
    assert repaired is not None
    assert repaired.adopts
    assert repaired.patch["metadata"]["ownerReferences"] == expected


@pytest.mark.parametrize(
    "references",
    [
        [{**OTHER, "controller": True}],
        [reference(name="another", uid="x", controller=True)],
        [reference(kind="Broker", uid="x", controller=True)],
        [reference(apiVersion="messaging.knative.dev/v1", uid="x", controller=True)],
    ],
)
def test_what_something_else_controls_is_not_adopted(references: list[Document]) -> None:
    service = stored(channel_service(channel(), PLACE), ownerReferences=references)
    assert not may_be_owned(service, channel())
    assert find(channel(), [service]).service is None


def service(name: str, created: str, *, owned: bool = True) -> Document:
    references = [OURS] if owned else []
    made = stored(channel_service(channel(), PLACE), ownerReferences=references)
    made["metadata"] |= {"name": name, "creationTimestamp": f"2024-01-{created}T00:00:00Z"}
    return made


def test_of_several_the_known_one_stays_then_an_owned_one_then_the_oldest() -> None:
    services = [
        service("new", "03"),
        service("old", "02"),
        service("orphan", "01", owned=False),
    ]
    found = find(channel(), services)
    assert found.service is services[1]
    assert [each["metadata"]["name"] for each in found.duplicates] == ["new", "orphan"]
    known = channel(address={"hostname": "orphan.shop.svc.cluster.local"})
    assert find(known, services).service is services[2]
    elsewhere = channel(address={"hostname": "orphans.shop.svc.cluster.local"})
    assert find(elsewhere, services).service is services[1]


def test_services_are_found_by_labels_that_all_releases_set() -> None:
    assert channel_selector(channel()) == {"channel": "orders", "provisioner": "natss"}


@pytest.mark.parametrize("key", ["channel", "provisioner", "eventing.knative.dev/channel"])
def test_without_labels_and_owner_it_is_somebody_else_s(key: str) -> None:
    wanted = channel_service(channel(), PLACE)
    existing = stored(wanted)
    del existing["metadata"]["labels"][key]
    assert belongs_to(existing, channel(), wanted)
    del existing["metadata"]["ownerReferences"]
    assert not belongs_to(existing, channel(), wanted)


def test_with_labels_but_another_controller_it_is_somebody_else_s() -> None:
    wanted = channel_service(channel(), PLACE)
    existing = stored(wanted, ownerReferences=[{**OTHER, "controller": True}])
    assert not belongs_to(existing, channel(), wanted)


@pytest.mark.parametrize(
    ("hostname", "name"),
    [
        ("a-channel-b.shop.svc.cluster.local", "a-channel-b"),
        ("a.other.svc.cluster.local", None),
        ("a.shopping.svc", None),
        ("a", None),
        ("", None),
        (None, None),
    ],
)
def test_the_service_that_publishers_know(hostname: str | None, name: str | None) -> None:
    assert known_service(channel(address={"hostname": hostname})) == name
    assert known_service(channel(address=None)) is None


@pytest.mark.parametrize("status", [5, "x", [], {"address": 5}, {"address": {"hostname": ["x"]}}])
def test_what_somebody_wrote_into_a_status_is_no_service(status: object) -> None:
    assert known_service({**channel(), "status": status}) is None
    assert known_service({**channel(), "status": None}) is None
