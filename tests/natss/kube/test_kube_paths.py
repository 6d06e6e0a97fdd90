"""No text that somebody wrote leads a request elsewhere."""

import pytest

from natss.kube import SERVICES, InvalidName, Resource
from natss.kube.resources import label_selector

CHANNELS = Resource("eventing.knative.dev", "v1alpha1", "channels", "Channel")

NO_NAMES = [
    "",
    ".",
    "..",
    "../../victim/channels/orders",
    "a/../b",
    "%2e%2e%2fvictim",
    "orders%2Fstatus",
    "?watch=true",
    "orders?watch=true",
    "orders#",
    "orders;v=1",
    "orders&x=y",
    "..\\victim",
    "or ders",
    "orders\n",
    "\x00",
    "Orders",
    "órders",
    "\u2025",  # two dots in one character
    "orders.",
    ".orders",
    "a..b",
    "-orders",
    "orders_1",
    "a" * 254,
    "a." * 5000,
]


@pytest.mark.parametrize("text", NO_NAMES, ids=ascii)
def test_what_is_no_name_has_no_path(text: str) -> None:
    for arguments in (("shop", text), (text, "orders"), ("shop", "orders", text), (text,)):
        with pytest.raises(InvalidName) as error:
            CHANNELS.path(*arguments)
        assert len(str(error.value)) < 600
    for resource in (
        Resource("a.b", text, "channels", "Channel"),
        Resource("a.b", "v1", text, "Channel"),
        *([Resource(text, "v1", "channels", "Channel")] if text else []),
    ):
        with pytest.raises(InvalidName):
            resource.path()


def test_a_namespace_has_no_dots() -> None:
    with pytest.raises(InvalidName):
        CHANNELS.path("shop.orders")
    with pytest.raises(InvalidName):
        CHANNELS.path("a" * 64)


@pytest.mark.parametrize("name", ["orders", "0", "orders.v1", "a--b", "a" * 253, "1.2-3.x"])
def test_names_of_kubernetes_have_a_path(name: str) -> None:
    base = "/apis/eventing.knative.dev/v1alpha1/namespaces/shop/channels"
    assert CHANNELS.path("shop", name) == f"{base}/{name}"
    assert CHANNELS.path("shop", name, "status") == f"{base}/{name}/status"
    assert SERVICES.path("shop", name) == f"/api/v1/namespaces/shop/services/{name}"


@pytest.mark.parametrize(
    "labels",
    [
        {"channel": "a,b=c"},
        {"channel": "a&watch=true"},
        {"channel": "a b"},
        {"channel": "a" * 64},
        {"channel": "-a"},
        {"channel!": "a"},
        {"": "a"},
        {"a/": "b"},
        {"A_b/c": "d"},
        {"a/b/c": "d"},
    ],
    ids=str,
)
def test_what_is_no_label_selects_nothing(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidName):
        label_selector(labels)


def test_labels_select_together() -> None:
    labels = {"eventing.knative.dev/channel": "orders.V_1", "old": ""}
    assert label_selector(labels) == "eventing.knative.dev/channel=orders.V_1,old="
