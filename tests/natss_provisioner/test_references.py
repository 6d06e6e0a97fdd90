"""The objects that Subscriptions name are followed, as the service account of the manifests."""

from functools import partial

import pytest

from natss.contract.resources import ResourceName
from natss.document import Document
from natss_provisioner.dependents import DependentKind, Dependents, ObjectName
from tests.natss_provisioner.conftest import Shop
from tests.support.kubernetes import ApiAnswer, KubernetesServer, until
from tests.support.provisioner_process import ProvisionerProcess

CLUSTER_ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
ROLE = f"{CLUSTER_ROLES}/natss-addressable-resolver"
API = "eventing.knative.dev/v1alpha1"
FAIRY, ELF = DependentKind("tales/v1", "Fairy"), DependentKind("tales/v1", "Elf")


def subscription(name: str, subscriber: Document) -> Document:
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": f"uid-{name}"},
        "spec": {
            "channel": {"apiVersion": API, "kind": "Channel", "name": "orders"},
            "subscriber": subscriber,
        },
    }


def naming(name: str, kind: DependentKind, target: str = "sink") -> Document:
    ref = {"apiVersion": kind.api_version, "kind": kind.kind, "name": target}
    return subscription(name, {"ref": ref})


def test_which_objects_are_named() -> None:
    seen = Dependents()
    seen.put(naming("a", FAIRY))
    seen.put(naming("b", FAIRY))
    seen.put(naming("c", ELF))
    seen.put(naming("d", DependentKind("v1", "Service")))
    seen.put(naming("e", DependentKind(API, "Channel")))
    seen.put(subscription("f", {"uri": "http://x/"}))
    seen.put(subscription("g", {"ref": {"kind": "Fairy"}}))
    sink = ObjectName(FAIRY, ResourceName("shop", "sink"))
    assert sorted(each.name for each in seen.naming(sink)) == ["a", "b"]
    assert seen.naming(ObjectName(FAIRY, ResourceName("other", "sink"))) == ()
    assert seen.kinds() == [FAIRY, ELF]
    seen.put(naming("c", ELF, "another"))
    seen.put(naming("h", ELF))
    assert seen.kinds() == [ELF, FAIRY], "what more objects of are named goes first"
    seen.drop(ResourceName("shop", "h"))
    seen.put(naming("c", FAIRY, "another"))
    assert seen.kinds() == [FAIRY]
    for name in "abc":
        seen.drop(ResourceName("shop", name))
    assert seen.kinds() == []


@pytest.fixture
def group(kubernetes: KubernetesServer, unique_name: str) -> str:
    """Define a kind of objects with an address that the provisioner may read; return its group."""
    group = f"{unique_name}.example.org"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    kubernetes.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "metadata": {"name": f"fairies.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": "Fairy", "plural": "fairies"},
                "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
            },
        },
    )
    # What kube-controller-manager makes of a ClusterRole with the label for Addressables.
    rules = [{"apiGroups": [group], "resources": ["fairies"], "verbs": ["get", "list", "watch"]}]
    kubernetes.patch(ROLE, {"rules": rules})
    return group


def test_a_new_address_is_taken_at_once(
    kubernetes: KubernetesServer, shop: Shop, group: str, provisioner: ProvisionerProcess
) -> None:
    sinks = f"/apis/{group}/v1/namespaces/{shop.namespace}/fairies"
    shop.create()
    body: Document = {
        "apiVersion": f"{group}/v1",
        "kind": "Fairy",
        "metadata": {"name": "sink"},
        "status": {"address": {"hostname": "first.example"}},
    }
    until(partial(_created, kubernetes, sinks, body), 20.0)
    shop.subscribe(subscriber={"ref": {**body, "name": "sink"}})
    until(lambda: _goes_to(shop, "http://first.example/"), 20.0)
    for host in ("second.example", "third.example"):
        # Nothing else reports it so soon: resolved Subscriptions are reconciled after ten minutes.
        kubernetes.patch(f"{sinks}/sink", {"status": {"address": {"hostname": host}}})
        until(partial(_goes_to, shop, f"http://{host}/"), 20.0)
    kubernetes.delete(f"{sinks}/sink")
    until(lambda: shop.told()["Resolved"] == "SubscriberResolveFailed", 20.0)
    assert shop.entries()[0]["subscriberURI"] == "http://third.example/", "nobody is unsubscribed"


def _goes_to(shop: Shop, uri: str) -> bool:
    return bool(shop.entries()[0]["subscriberURI"] == uri)


def _created(kubernetes: KubernetesServer, path: str, body: Document) -> bool:
    """Return whether it was created; the API serves a new kind a moment later."""
    try:
        kubernetes.create(path, body)
    except ApiAnswer as answer:
        return answer.code == 409
    return True


def is_told_of_secrets(log: str) -> bool:
    lines = [line for line in log.splitlines() if "Secret of v1" in line]
    return any("not followed" in line and "403" in line for line in lines)


def test_a_kind_that_may_not_be_followed_harms_nothing(
    shop: Shop, provisioner: ProvisionerProcess
) -> None:
    shop.create()
    for name, kind in (("secret", "Secret"), ("node", "Node"), ("nothing", "Nothing")):
        ref = {"apiVersion": "v1", "kind": kind, "name": "x"}
        shop.subscribe(name, subscriber={"ref": ref})
    for name in ("secret", "node", "nothing"):
        until(lambda name=name: shop.told(name)["Resolved"] == "SubscriberResolveFailed", 20.0)  # type: ignore[misc]  # binds the name of this round
    until(lambda: is_told_of_secrets(provisioner.end_of_log(200)), 20.0)
    shop.subscribe("good")
    shop.subscribed("good")
