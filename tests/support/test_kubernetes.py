"""The real Kubernetes API of the tests does what tests rely on."""

from typing import Any

import pytest

from natss.document import Document
from tests.support.kubernetes import ApiAnswer, KubernetesServer, until

NAMESPACES = "/api/v1/namespaces"
CHANNELS = "/apis/eventing.knative.dev/v1alpha1/namespaces/{}/channels"


@pytest.fixture
def shop(kubernetes_with_controllers: KubernetesServer, unique_name: str) -> str:
    kubernetes_with_controllers.create(NAMESPACES, named(unique_name))
    return unique_name


def named(name: str, **metadata: Any) -> Document:
    return {"metadata": {"name": name, **metadata}}


def is_gone(server: KubernetesServer, path: str) -> bool:
    try:
        server.get(path)
    except ApiAnswer as answer:
        return answer.code == 404
    return False


def test_what_has_lost_its_owner_is_deleted(
    kubernetes_with_controllers: KubernetesServer, shop: str
) -> None:
    server = kubernetes_with_controllers
    kind = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "Channel"}
    owner = server.create(CHANNELS.format(shop), {**kind, **named("owner"), "spec": {}})
    reference = {**kind, "name": "owner", "uid": owner["metadata"]["uid"]}
    config_maps = f"{NAMESPACES}/{shop}/configmaps"
    server.create(config_maps, named("owned", ownerReferences=[reference]))
    server.create(config_maps, named("free"))
    server.delete(f"{CHANNELS.format(shop)}/owner")
    until(lambda: is_gone(server, f"{config_maps}/owned"), 30.0)
    assert server.get(f"{config_maps}/free")


def test_a_namespace_is_emptied_when_it_is_deleted(
    kubernetes_with_controllers: KubernetesServer, shop: str
) -> None:
    server = kubernetes_with_controllers
    server.create(f"{NAMESPACES}/{shop}/configmaps", named("one"))
    server.delete(f"{NAMESPACES}/{shop}")
    until(lambda: is_gone(server, f"{NAMESPACES}/{shop}"), 30.0)


def test_a_namespace_gets_its_service_account(
    kubernetes_with_controllers: KubernetesServer, shop: str
) -> None:
    path = f"{NAMESPACES}/{shop}/serviceaccounts/default"
    until(lambda: kubernetes_with_controllers.get(path), 30.0)
