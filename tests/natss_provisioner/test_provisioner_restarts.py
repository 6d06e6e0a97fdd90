"""The provisioner and the API stop and return: nothing is created twice, nothing is forgotten.

On an API of its own, because these tests remove what others need.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from natss.document import Document
from tests.conftest import CONFIG, install
from tests.natss_provisioner.conftest import DISPATCHER, PROVISIONER, Shop, writes
from tests.natss_provisioner.serving import ServingStandIn
from tests.support.kubernetes import ApiAnswer, KubernetesServer, running_kubernetes, until
from tests.support.provisioner_process import ACCOUNT, NAMESPACE, ProvisionerProcess

OWN_KUBERNETES = True

API = "eventing.knative.dev/v1alpha1"
LONG_AGO = "2019-06-01T10:00:00Z"
GO_LABELS = {
    "channel": "orders",
    "provisioner": "natss",
    "eventing.knative.dev/channel": "orders",
    "eventing.knative.dev/provisioner": "natss",
}


@pytest.fixture
def provisioner(kubernetes: KubernetesServer, tmp_path: Path) -> Iterator[ProvisionerProcess]:
    """Return a provisioner for the test to start, once it has created what exists before."""
    process = ProvisionerProcess(kubernetes, tmp_path / "log")
    yield process
    process.kill()


def conditions(*types: str) -> list[Document]:
    return [{"type": kind, "status": "True", "lastTransitionTime": LONG_AGO} for kind in types]


def go_service(channel: Document, **metadata: object) -> Document:
    """Return the Service of a channel as Knative eventing v0.6 created it."""
    owner = {
        "apiVersion": API,
        "kind": "Channel",
        "name": channel["metadata"]["name"],
        "uid": channel["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "metadata": {
            "name": "orders-channel-x7k2p",
            "labels": GO_LABELS,
            "ownerReferences": [owner],
            **metadata,
        },
        "spec": {
            "type": "ExternalName",
            "externalName": "natss-dispatcher.knative-eventing.svc.cluster.local",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


def test_what_go_left_is_taken_over_and_nothing_is_made_anew(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    channel = shop.create()
    service = kubernetes.create(shop.services, go_service(channel))
    host = f"orders-channel-x7k2p.{shop.namespace}.svc.cluster.local"
    status = {
        "address": {"hostname": host},
        "conditions": conditions("Addressable", "Provisioned", "ProvisionerInstalled", "Ready"),
        "observedGeneration": 1,
    }
    finalizer = {"metadata": {"finalizers": ["natss-dispatcher"]}}
    kubernetes.patch(f"{shop.channels}/orders", finalizer)
    kubernetes.patch(f"{shop.channels}/orders/status", {"status": status})
    provisioner.start()
    label = "app.kubernetes.io/managed-by"
    until(lambda: shop.service()["metadata"]["labels"][label])
    after = shop.service()
    assert after["metadata"]["uid"] == service["metadata"]["uid"]
    assert after["metadata"]["ownerReferences"] == service["metadata"]["ownerReferences"]
    now = shop.channel()["status"]
    now.pop("dispatcher", None)  # it is at work here as well
    assert now == status
    assert shop.channel()["metadata"]["finalizers"] == ["natss-dispatcher"]
    # That it was never unready in between either: its status was not written at all.
    assert writes(kubernetes, f"/namespaces/{shop.namespace}/channels/") == []
    kubernetes.patch(f"{shop.channels}/orders", {"metadata": {"finalizers": None}})


@pytest.mark.parametrize("keeps_reference", [True, False])
def test_a_service_restored_from_a_backup_is_adopted(
    kubernetes: KubernetesServer,
    shop: Shop,
    provisioner: ProvisionerProcess,
    keeps_reference: bool,
) -> None:
    channel = shop.create()
    service = go_service(channel)
    if keeps_reference:
        service["metadata"]["ownerReferences"][0]["uid"] = "of-an-earlier-life"
    else:
        del service["metadata"]["ownerReferences"]
    kubernetes.create(shop.services, service)
    provisioner.start()
    channel = shop.ready()
    restored = shop.service()
    assert channel["status"]["address"]["hostname"].startswith("orders-channel-x7k2p.")
    (owner,) = restored["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (channel["metadata"]["uid"], True)
    assert until(lambda: shop.events("ServiceAdopted"))


def test_of_two_services_the_known_one_stays(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    channel = shop.create()
    kubernetes.create(shop.services, go_service(channel))
    kubernetes.create(shop.services, go_service(channel, name="orders-channel-known"))
    host = f"orders-channel-known.{shop.namespace}.svc.cluster.local"
    kubernetes.patch(f"{shop.channels}/orders/status", {"status": {"address": {"hostname": host}}})
    provisioner.start()
    shop.ready()
    assert until(shop.service)["metadata"]["name"] == "orders-channel-known"
    assert shop.channel()["status"]["address"]["hostname"] == host


def test_a_restart_writes_nothing_and_finds_what_has_changed(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    names = [f"c{number}" for number in range(20)]
    for name in names:
        shop.create(name)
    provisioner.start()
    for name in names:
        shop.ready(name)
    until(lambda: len(shop.events("Ready")) == len(names))
    assert provisioner.stop() == 0
    kubernetes.delete(shop.path_of(shop.service("c7")))
    before = writes(kubernetes)
    provisioner.start()
    service = until(lambda: shop.service("c7"))
    shop.create("later")
    shop.ready("later")
    until(lambda: any("later" in each for each in shop.events("ServiceCreated")))
    mine = [each for each in writes(kubernetes)[len(before) :] if "/events" not in each]
    # The Service of c7, and what belongs to the new channel: its Service, and its status twice.
    assert sorted(each.split()[0] for each in mine) == ["create", "create", "patch", "patch"], mine
    assert service["metadata"]["name"] in {
        shop.channel(name)["status"]["address"]["hostname"].partition(".")[0] for name in names
    }


def test_killed_in_the_middle_it_goes_on_where_it_was(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    provisioner.start()
    names = [f"c{number}" for number in range(8)]
    for name in names:
        shop.create(name)
        if name in {"c2", "c5"}:
            provisioner.kill()
            provisioner.start()
    for name in names:
        shop.ready(name)
        assert shop.service(name)


def test_two_at_once_never_make_two_services(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess, tmp_path: Path
) -> None:
    other = ProvisionerProcess(kubernetes, tmp_path / "other-log")
    try:
        provisioner.start()
        other.start()
        names = [f"c{number}" for number in range(15)]
        for name in names:
            shop.create(name)
        for name in names:
            shop.ready(name)
        assert len(kubernetes.get(shop.services)["items"]) == len(names)
        other.stop()
        provisioner.stop()
        assert len(kubernetes.get(shop.services)["items"]) == len(names)
    finally:
        other.kill()


def test_while_the_api_is_away_it_waits(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    provisioner.start()
    shop.create()
    status = shop.ready()["status"]
    pid = provisioner.pid
    kubernetes.kill_apiserver()
    kubernetes.start_apiserver()
    kubernetes.delete(shop.path_of(shop.service()))
    until(shop.service, 20.0)
    shop.create("later")
    shop.ready("later", 20.0)
    assert provisioner.pid == pid
    assert shop.channel()["status"] == status


def give_all_roles(kubernetes: KubernetesServer, account: str) -> None:
    """Bind an account to every role of the provisioner's."""
    api = "/apis/rbac.authorization.k8s.io/v1"
    subject = {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
    for path in (f"{api}/clusterrolebindings", f"{api}/namespaces/{NAMESPACE}/rolebindings"):
        for binding in kubernetes.get(path)["items"]:
            if ACCOUNT in {each["name"] for each in binding.get("subjects", ())}:
                name = f"{binding['metadata']['name']}-{account}"
                body = {"roleRef": binding["roleRef"], "subjects": [subject]}
                kubernetes.create(path, {"metadata": {"name": name}, **body})


def test_a_new_token_is_read_when_the_old_one_ends(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    kubernetes.create(accounts, {"metadata": {"name": "passing"}})
    give_all_roles(kubernetes, "passing")
    lasting = kubernetes.token_of(NAMESPACE, ACCOUNT)
    passing = kubernetes.token_of(NAMESPACE, "passing")
    provisioner.kubeconfig.write_text(kubernetes.kubeconfig_with(passing))
    provisioner.start()
    shop.create()
    shop.ready()
    provisioner.kubeconfig.write_text(kubernetes.kubeconfig_with(lasting))
    kubernetes.delete(f"{accounts}/passing")
    kubernetes.kill_apiserver()  # so that the watches have to start anew as well
    kubernetes.start_apiserver()
    shop.create("later")
    shop.ready("later", 20.0)
    assert provisioner.stop() == 0


def test_channels_follow_their_provisioner(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    provisioner.start()
    shop.create()
    address = shop.ready()["status"]["address"]
    kubernetes.delete(PROVISIONER)
    until(lambda: shop.condition("ProvisionerInstalled")["reason"] == "ProvisionerNotFound")
    assert shop.condition("Ready")["status"] == "False"
    assert shop.channel()["status"]["address"] == address
    kubernetes.kubectl("apply", "--server-side", "-k", CONFIG / "provisioners")
    assert shop.ready()["status"]["address"] == address
    uid = kubernetes.get(PROVISIONER)["metadata"]["uid"]
    until(lambda: kubernetes.get(DISPATCHER)["metadata"]["ownerReferences"][0]["uid"] == uid)


def test_a_missing_provisioner_is_created_if_that_is_wanted(
    kubernetes: KubernetesServer, shop: Shop, tmp_path: Path
) -> None:
    process = ProvisionerProcess(kubernetes, tmp_path / "log", ["--create-provisioner=on"])
    before = kubernetes.get(PROVISIONER)["metadata"]["uid"]
    kubernetes.delete(PROVISIONER)
    try:
        process.start()
        shop.create()
        shop.ready()
        created = kubernetes.get(PROVISIONER)["metadata"]["uid"]
        kubernetes.delete(PROVISIONER)
        again = until(lambda: kubernetes.get(PROVISIONER)["metadata"]["uid"])
        shop.ready()
        assert len({before, created, again}) == 3
        assert process.stop() == 0
    finally:
        process.kill()
        kubernetes.kubectl("apply", "--server-side", "-k", CONFIG / "provisioners")


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"ports": [{"port": 80, "targetPort": 9}]}},
        {"spec": {"selector": {"role": "other", "more": "x"}}},
        {"metadata": {"labels": {"role": None}}},
        {"metadata": {"ownerReferences": None}},
        None,
    ],
)
def test_the_service_of_the_dispatcher_is_put_right(
    kubernetes: KubernetesServer, provisioner: ProvisionerProcess, change: Document | None
) -> None:
    provisioner.start()
    owner = kubernetes.get(PROVISIONER)["metadata"]["uid"]

    def of_its_owner() -> Document | None:
        now = kubernetes.get(DISPATCHER)
        return now if now["metadata"]["ownerReferences"][0]["uid"] == owner else None

    right = until(of_its_owner)
    if change is None:
        kubernetes.delete(DISPATCHER)
    else:
        kubernetes.patch(DISPATCHER, change)

    def is_right() -> bool:
        now = kubernetes.get(DISPATCHER)
        return bool(
            now["spec"]["ports"] == right["spec"]["ports"]
            and now["spec"]["selector"] == right["spec"]["selector"]
            and now["metadata"]["labels"] == right["metadata"]["labels"]
            and now["metadata"]["ownerReferences"] == right["metadata"]["ownerReferences"]
        )

    until(is_right)
    (ready,) = kubernetes.get(PROVISIONER)["status"]["conditions"]
    assert ready["status"] == "True"


def test_somebody_else_s_dispatcher_service_is_left_alone_until_it_is_gone(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    kubernetes.delete(DISPATCHER)
    body: Document = {"metadata": {"name": "natss-dispatcher"}, "spec": {"ports": [{"port": 1}]}}
    theirs = kubernetes.create(DISPATCHER.rpartition("/")[0], body)
    provisioner.start()
    shop.create()
    until(lambda: shop.condition("Provisioned")["reason"] == "NotProvisioned")
    (ready,) = kubernetes.get(PROVISIONER)["status"]["conditions"]
    assert (ready["status"], ready["reason"]) == ("False", "ServiceNameTaken")
    assert kubernetes.get(DISPATCHER) == theirs
    kubernetes.delete(DISPATCHER)
    shop.ready()


def test_what_the_account_may_not_do_is_told_and_takes_no_address_away(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    provisioner.start()
    shop.create()
    before = shop.ready()["status"]
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/natss-controller"
    rules = kubernetes.get(role)["rules"]
    fewer = [rule for rule in rules if "services" not in rule["resources"]]
    kubernetes.patch(role, {"rules": fewer})
    try:
        shop.create("new")
        addressable = until(lambda: shop.condition("Addressable", "new"))
        assert (addressable["status"], addressable["reason"]) == ("False", "ServiceFailed")
        assert "cannot create" in addressable["message"]
        kubernetes.delete(shop.path_of(shop.service()))
        until(lambda: is_refused(provisioner, shop.namespace, "orders"))
        assert shop.channel()["status"] == before
    finally:
        kubernetes.patch(role, {"rules": rules})
    for name in ("orders", "new"):  # or in half a minute
        touch: Document = {"metadata": {"annotations": {"touched": "yes"}}}
        kubernetes.patch(f"{shop.channels}/{name}", touch)
    shop.ready("new")
    until(shop.service)


def is_refused(provisioner: ProvisionerProcess, namespace: str, channel: str) -> bool:
    """Return whether the log reports a 403 for this Channel."""
    told = [json.loads(line) for line in provisioner.end_of_log(200).splitlines()]
    return any(
        (each.get("namespace"), each.get("channel")) == (namespace, channel)
        and each.get("reason", "").startswith("403")
        for each in told
    )


@pytest.fixture
def bare_kubernetes(tmp_path: Path) -> Iterator[KubernetesServer]:
    """Run an API that has the service account of the manifests and does not know channels."""
    with running_kubernetes(tmp_path / "kubernetes") as server:
        for folder in ("namespaces", "serviceaccounts", "roles"):
            server.kubectl("apply", "--server-side", "-k", CONFIG / folder)
        yield server


def test_definitions_may_be_installed_after_it_was_started(
    bare_kubernetes: KubernetesServer, tmp_path: Path, unique_name: str
) -> None:
    provisioner = ProvisionerProcess(bare_kubernetes, tmp_path / "log")
    dispatcher = ServingStandIn(bare_kubernetes)
    try:
        provisioner.start()
        install(bare_kubernetes)
        dispatcher.start()
        bare_kubernetes.create("/api/v1/namespaces", {"metadata": {"name": unique_name}})
        shop = Shop(bare_kubernetes, unique_name)
        until(lambda: _created(shop))
        shop.ready(seconds=40.0)
    finally:
        dispatcher.stop()
        provisioner.kill()


def _created(shop: Shop) -> bool:
    """Return whether the API serves channels, which it does a moment after it says so."""
    try:
        shop.create()
    except ApiAnswer as answer:
        if answer.code in {404, 409}:
            return answer.code == 409
        raise
    return True
