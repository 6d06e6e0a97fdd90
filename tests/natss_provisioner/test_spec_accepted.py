"""The status reports what a Channel asks for and cannot have, and nothing stops for it."""

import pytest

from natss.contract.names import channel_service_name
from natss.document import Document
from tests.natss_provisioner.conftest import Shop, writes
from tests.support.kubernetes import until
from tests.support.provisioner_process import ProvisionerProcess

pytestmark = pytest.mark.usefixtures("provisioner")

NATSS = {"name": "natss"}


def accepted(shop: Shop) -> Document | None:
    """Return the advice, if there is any."""
    conditions = shop.channel()["status"]["conditions"]
    return next((each for each in conditions if each["type"] == "SpecAccepted"), None)


def change(shop: Shop, body: Document) -> None:
    """Change the channel, and wait until that was reconciled."""
    changed = shop.kubernetes.patch(f"{shop.channels}/orders", body)
    generation = changed["metadata"]["generation"]
    until(lambda: shop.channel()["status"]["observedGeneration"] == generation, 20.0)


@pytest.mark.parametrize(
    ("arguments", "reason", "words"),
    [
        (
            {"maxInflght": 3},
            "Ignored",
            'spec.arguments.maxInflght: unknown, ignored (did you mean "',
        ),
        (
            {"retry": -1},
            "Refused",
            "spec.arguments.retry: the number -1; must be a whole number fr",
        ),
        ({"start": "frist", "x": 1}, "Refused", "spec.arguments.start: the text 'frist'; must be"),
        ({"order": "Channel"}, "Refused", "spec.arguments.order: the text 'Channel'; must be none"),
        ({"timeout": "2m"}, "Ignored", "spec.arguments.timeout: 2m; must be shorter than ackWait"),
    ],
)
def test_arguments(shop: Shop, arguments: Document, reason: str, words: str) -> None:
    shop.create(provisioner=NATSS, arguments=arguments)
    shop.ready()
    told = accepted(shop)
    assert told is not None
    assert (told["status"], told["severity"], told["reason"]) == ("False", "Warning", reason)
    assert words in told["message"]
    if "unknown" in words:
        assert until(lambda: shop.events(reason))
    else:  # told by an Event of the dispatcher, which knows by what
        assert "is used instead" in told["message"]
        assert not shop.events(reason)
    change(shop, {"spec": {"arguments": None}})
    assert accepted(shop) is None
    assert shop.condition("Ready")["status"] == "True"


def test_a_subscriber_without_uri(shop: Shop) -> None:
    shop.create(provisioner=NATSS, subscribable={"subscribers": [{"uid": "u"}]})
    shop.ready()
    told = accepted(shop)
    assert told is not None
    assert told["reason"] == "Refused"
    assert "subscribers[0]: has neither subscriberURI nor replyURI" in told["message"]


@pytest.mark.parametrize(
    "provisioner",
    [None, {"name": "in-memory"}, {"name": "nats"}, {"name": "natss", "namespace": "x"}],
)
def test_another_provisioner(shop: Shop, provisioner: Document | None) -> None:
    shop.create()
    before = shop.ready()["status"]
    held = {"metadata": {"finalizers": ["natss-dispatcher"]}}
    shop.kubernetes.patch(f"{shop.channels}/orders", held)
    change(shop, {"spec": {"provisioner": None}})
    if provisioner is not None:
        change(shop, {"spec": {"provisioner": provisioner}})
    told = accepted(shop)
    assert told is not None
    assert told["reason"] == "Immutable"
    assert "write name: natss again" in told["message"]
    others = [each for each in shop.channel()["status"]["conditions"] if each != told]
    assert others == before["conditions"]
    shop.kubernetes.delete(shop.path_of(shop.service()))
    until(shop.service, 20.0)
    change(shop, {"spec": {"provisioner": {"name": "natss", "namespace": None}}})
    assert accepted(shop) is None
    shop.kubernetes.patch(f"{shop.channels}/orders", {"metadata": {"finalizers": None}})


def test_without_the_finalizer_it_is_somebody_else_s_from_then_on(shop: Shop) -> None:
    shop.create()
    shop.ready()
    shop.kubernetes.patch(f"{shop.channels}/orders", {"spec": {"provisioner": {"name": "other"}}})
    before = writes(shop.kubernetes, f"{shop.namespace}/channels/orders")
    shop.create("later")
    shop.ready("later")
    assert writes(shop.kubernetes, f"{shop.namespace}/channels/orders") == before


def test_the_address_of_another_channel_is_left_to_that_one(
    shop: Shop, provisioner: ProvisionerProcess
) -> None:
    """For example, a backup of Services with mixed-up labels was restored."""
    name = channel_service_name(shop.namespace, "new")
    shop.create("old")
    shop.ready("old")
    host = f"{name}.{shop.namespace}.svc.cluster.local"
    wrong: Document = {
        "metadata": {"name": name, "labels": {"channel": "new", "provisioner": "natss"}},
        "spec": {
            "type": "ExternalName",
            "externalName": "natss-dispatcher.knative-eventing.svc.cluster.local",
        },
    }
    provisioner.stop()  # else it may put right the one thing before the other is done
    for old in shop.its_services("old"):  # so that the one by name is not simply known better
        shop.kubernetes.patch(f"{shop.channels}/old/status", _address(host))
        shop.kubernetes.create(shop.services, wrong)
        shop.kubernetes.delete(shop.path_of(old))
    shop.create("new")
    provisioner.start()
    until(lambda: shop.its_services("old"), 20.0)
    assert shop.channel("old")["status"]["address"]["hostname"] == host
    addressable = until(lambda: shop.condition("Addressable", "new"), 20.0)
    assert addressable["reason"] in {"HostTaken", "ServiceNameTaken"}
    assert shop.service("old")["metadata"]["labels"]["channel"] == "old"
    shop.kubernetes.delete(f"{shop.channels}/old")
    shop.kubernetes.delete(f"{shop.services}/{name}")
    shop.ready("new")


def _address(host: str) -> Document:
    return {"status": {"address": {"hostname": host}}}
