"""Which Channels are reconciled, and that others are not touched."""

import pytest

from natss.document import Document
from tests.natss_provisioner.conftest import Shop
from tests.support.provisioner_process import ProvisionerProcess

API = "eventing.knative.dev/v1alpha1"


@pytest.mark.parametrize(
    "reference",
    [
        {"name": "natss"},
        {"name": "natss", "kind": "ClusterChannelProvisioner"},
        {"name": "natss", "kind": "ClusterChannelProvisioner", "apiVersion": API},
        {"name": "natss", "namespace": ""},
    ],
)
def test_natss_is_taken_with_or_without_kind(
    provisioner: ProvisionerProcess, shop: Shop, reference: Document
) -> None:
    shop.create(provisioner=reference)
    assert shop.ready()["status"]["address"]["hostname"]


@pytest.mark.parametrize(
    "spec",
    [
        {"provisioner": None},
        {"arguments": {}},
        {"provisioner": {"name": "in-memory"}},
        {"provisioner": {"name": "natss", "namespace": "mine"}},
        {"provisioner": {"name": "natss", "kind": "OtherProvisioner"}},
        {"provisioner": {"name": "Natss"}},
        {"provisioner": {}},
    ],
)
def test_others_are_not_touched(
    provisioner: ProvisionerProcess, shop: Shop, spec: Document
) -> None:
    created = shop.create("theirs", **spec)
    shop.create("ours")
    shop.ready("ours")
    assert shop.channel("theirs") == created
    assert shop.its_services("theirs") == []
