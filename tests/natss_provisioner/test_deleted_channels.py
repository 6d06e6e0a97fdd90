"""A Channel that is deleted and waits for finalizers: what is still done with it, and what not."""

import pytest

from tests.natss_provisioner.conftest import Shop
from tests.support.kubernetes import KubernetesServer, until

pytestmark = pytest.mark.usefixtures("provisioner")


def test_its_list_stays_when_its_subscriptions_go(kubernetes: KubernetesServer, shop: Shop) -> None:
    """The dispatcher, which may be away, reads there which durables are to be removed."""
    finalizers = {"metadata": {"finalizers": ["natss-dispatcher"]}}
    shop.create()
    kubernetes.patch(f"{shop.channels}/orders", finalizers)
    shop.subscribe("mail")
    entries = until(shop.entries)
    kubernetes.delete(f"{shop.channels}/orders")
    kubernetes.delete(f"{shop.subscriptions}/mail")
    until(lambda: not kubernetes.get(shop.subscriptions)["items"])
    assert shop.entries() == entries
    kubernetes.patch(f"{shop.channels}/orders", {"metadata": {"finalizers": None}})
