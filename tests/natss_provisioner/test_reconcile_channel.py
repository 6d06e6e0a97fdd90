"""Channels of natss on the real API: their Service, their address, their conditions."""

import json

import pytest

from natss.contract.names import channel_service_name
from natss.document import Document
from tests.natss_provisioner.conftest import DISPATCHER, PROVISIONER, Shop, writes
from tests.support.kubernetes import KubernetesServer, until

pytestmark = pytest.mark.usefixtures("provisioner")


def test_a_new_channel_is_ready_with_an_address(shop: Shop) -> None:
    created = shop.create()
    channel = shop.ready()
    service = shop.service()
    name = service["metadata"]["name"]
    assert channel["status"]["address"] == {
        "hostname": f"{name}.{shop.namespace}.svc.cluster.local"
    }
    assert channel["status"]["observedGeneration"] == channel["metadata"]["generation"]
    assert service["spec"]["type"] == "ExternalName"
    assert service["spec"]["externalName"] == (
        "natss-dispatcher.knative-eventing.svc.cluster.local"
    )
    (owner,) = service["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (created["metadata"]["uid"], True)
    conditions = channel["status"]["conditions"]
    assert {each["type"]: each["status"] for each in conditions} == {
        "Addressable": "True",
        "Provisioned": "True",
        "ProvisionerInstalled": "True",
        "Ready": "True",
    }


def test_nothing_is_written_on_the_object_but_status(shop: Shop) -> None:
    created = shop.create()
    channel = shop.ready()
    for changing in ("managedFields", "resourceVersion"):
        del created["metadata"][changing], channel["metadata"][changing]
    assert channel["metadata"] == created["metadata"]
    assert channel["spec"] == created["spec"]


def test_the_dispatcher_has_its_service_and_the_provisioner_is_ready(
    kubernetes: KubernetesServer,
) -> None:
    provisioner = until(lambda: _ready_provisioner(kubernetes))
    service = kubernetes.get(DISPATCHER)
    labels = {"clusterChannelProvisioner": "natss", "role": "dispatcher"}
    assert labels.items() <= service["metadata"]["labels"].items()
    assert service["spec"]["selector"] == labels
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"], port.get("name")) == (80, 8080, None)
    (owner,) = service["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (provisioner["metadata"]["uid"], True)


def _ready_provisioner(kubernetes: KubernetesServer) -> Document | None:
    provisioner = kubernetes.get(PROVISIONER)
    conditions = {each["type"]: each["status"] for each in provisioner["status"]["conditions"]}
    conditions.pop("Connected", None)  # as dispatchers of other tests have reported it
    return provisioner if conditions == {"Ready": "True"} else None


def test_a_change_of_arguments_moves_the_generation_and_no_time(shop: Shop) -> None:
    shop.create()
    before = shop.ready()["status"]
    changed = shop.kubernetes.patch(
        f"{shop.channels}/orders", {"spec": {"arguments": {"retry": 1}}}
    )
    generation = changed["metadata"]["generation"]
    until(lambda: shop.channel()["status"]["observedGeneration"] == generation)
    after = shop.channel()["status"]
    assert after == {**before, "observedGeneration": generation}


def test_a_deleted_service_is_made_again_under_its_name(shop: Shop) -> None:
    shop.create()
    before = shop.ready()
    service = shop.service()
    shop.kubernetes.delete(shop.path_of(service))
    again = until(shop.service, 5.0)
    assert again["metadata"]["name"] == service["metadata"]["name"]
    assert again["metadata"]["uid"] != service["metadata"]["uid"]
    assert shop.channel()["status"] == before["status"]


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"externalName": "elsewhere.example"}},
        {"spec": {"type": "ClusterIP", "externalName": None}},
        {"spec": {"ports": [{"name": "http", "port": 8080}]}},
        {"spec": {"selector": {"a": "b"}}},
        {"metadata": {"labels": {"eventing.knative.dev/channel": None}}},
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}},
        {"metadata": {"labels": {"channel": "another"}}},
        {"metadata": {"ownerReferences": None}},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_a_changed_service_is_put_right_at_once(shop: Shop, change: Document) -> None:
    shop.create()
    status = shop.ready()["status"]
    right = shop.service()
    shop.kubernetes.patch(shop.path_of(right), change)

    def is_right() -> bool:
        now = shop.kubernetes.get(shop.path_of(right))
        return bool(
            now["spec"]["externalName"] == right["spec"]["externalName"]
            and now["spec"]["type"] == right["spec"]["type"]
            and now["spec"]["ports"] == right["spec"]["ports"]
            and "selector" not in now["spec"]
            and now["metadata"]["labels"] == right["metadata"]["labels"]
            and now["metadata"]["ownerReferences"] == right["metadata"]["ownerReferences"]
        )

    until(is_right, 5.0)
    assert len(shop.its_services()) == 1
    assert shop.channel()["status"] == status


def test_labels_and_annotations_of_others_stay(shop: Shop) -> None:
    shop.create()
    shop.ready()
    service = shop.service()
    theirs = {"labels": {"team": "x"}, "annotations": {"note": "Grüße ✓"}}
    shop.kubernetes.patch(
        shop.path_of(service), {"metadata": theirs, "spec": {"externalName": "elsewhere"}}
    )
    until(lambda: shop.service()["spec"]["externalName"] == service["spec"]["externalName"])
    metadata = shop.service()["metadata"]
    assert metadata["labels"]["team"] == "x"
    assert metadata["annotations"] == theirs["annotations"]


def test_a_service_of_that_name_made_by_somebody_else_is_left_alone(shop: Shop) -> None:
    name = channel_service_name(shop.namespace, "orders")
    body: Document = {
        "metadata": {"name": name},
        "spec": {"type": "ExternalName", "externalName": "theirs.example"},
    }
    theirs = shop.kubernetes.create(shop.services, body)
    shop.create()
    addressable = until(lambda: shop.condition("Addressable"))
    assert (addressable["status"], addressable["reason"]) == ("False", "ServiceNameTaken")
    assert name in addressable["message"]
    assert shop.condition("Ready")["reason"] == "ServiceNameTaken"
    assert "address" not in shop.channel()["status"]
    assert shop.kubernetes.get(shop.path_of(theirs)) == theirs
    assert until(lambda: shop.events("ServiceNameTaken"))


def test_names_alike_get_different_addresses(shop: Shop) -> None:
    names = ["orders.v1", "orders-v1", "1st", "x" * 63]
    for name in names:
        shop.create(name)
    hosts = {shop.ready(name)["status"]["address"]["hostname"] for name in names}
    assert len(hosts) == len(names)
    assert len(shop.kubernetes.get(shop.services)["items"]) == len(names)


def test_a_name_that_nats_streaming_cannot_take_is_refused_with_a_reason(shop: Shop) -> None:
    name = "y" * 253
    shop.create(name)
    provisioned = until(lambda: shop.condition("Provisioned", name))
    assert (provisioned["status"], provisioned["reason"]) == ("False", "Refused")
    assert "metadata.name" in provisioned["message"]


def test_an_argument_that_is_ignored_is_told(shop: Shop) -> None:
    shop.create(provisioner={"name": "natss"}, arguments={"maxInflght": 3, "retry": -1})
    shop.ready()
    until(lambda: shop.events("Ignored"))
    (told,) = shop.events("Ignored")
    assert 'did you mean "maxInflight"?' in told
    assert "spec.arguments.retry" in shop.condition("SpecAccepted")["message"]


def test_a_whole_object_as_the_api_gives_it_has_nothing_to_complain_about(shop: Shop) -> None:
    subscriber = {"uid": "u1", "ref": {"name": "s"}, "subscriberURI": "http://a.b/"}
    shop.create(
        provisioner={"name": "natss"},
        arguments={"ackWait": "PT30S"},
        subscribable={"subscribers": [subscriber]},
        generation=2,
    )
    shop.ready()
    until(lambda: shop.events("Ready"))
    assert shop.events("Ignored") == []


def test_a_deleted_channel_gets_no_new_service(shop: Shop, kubernetes: KubernetesServer) -> None:
    shop.create()
    shop.ready()
    service = shop.service()
    kubernetes.delete(f"{shop.channels}/orders")
    kubernetes.delete(shop.path_of(service))
    shop.create("another")
    shop.ready("another")
    assert shop.its_services("orders") == []


def test_a_channel_that_waits_for_a_finalizer_gets_no_new_service(shop: Shop) -> None:
    shop.create()
    shop.ready()
    shop.kubernetes.patch(
        f"{shop.channels}/orders", {"metadata": {"finalizers": ["natss-dispatcher"]}}
    )
    shop.kubernetes.delete(f"{shop.channels}/orders")
    shop.kubernetes.delete(shop.path_of(shop.service()))
    shop.create("another")
    shop.ready("another")
    assert shop.its_services("orders") == []
    shop.kubernetes.patch(f"{shop.channels}/orders", {"metadata": {"finalizers": None}})


def test_a_channel_made_and_deleted_in_a_loop(shop: Shop, kubernetes: KubernetesServer) -> None:
    for _ in range(20):
        shop.create()
        kubernetes.delete(f"{shop.channels}/orders")
    shop.create()
    channel = shop.ready()
    (owner,) = until(lambda: _owners_if_of(shop, channel["metadata"]["uid"]))
    assert owner["controller"] is True
    assert len(shop.its_services()) == 1


def _owners_if_of(shop: Shop, uid: str) -> list[Document] | None:
    owners: list[Document] = shop.service()["metadata"]["ownerReferences"]
    return owners if owners[0]["uid"] == uid else None


def test_at_rest_nothing_is_written(shop: Shop, kubernetes: KubernetesServer) -> None:
    shop.create()
    shop.ready()
    until(lambda: shop.events("Ready"))
    # What belongs to the first channel is done when one that came after it is.
    shop.create("later")
    shop.ready("later")
    until(lambda: len(shop.events("Ready")) == 2)
    mine = writes(kubernetes, f"/namespaces/{shop.namespace}/")
    verbs = sorted(each.split("?")[0].rpartition("/")[0] for each in mine)
    expected = [
        *[f"create /api/v1/namespaces/{shop.namespace}"] * 6,
        # Its address, and then, when the dispatcher serves that, that it is ready.
        *[f"patch {shop.channels}/{name}" for name in ("later", "later", "orders", "orders")],
    ]
    assert verbs == sorted(expected), mine
