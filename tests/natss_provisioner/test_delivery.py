"""What a dispatcher reports in the status of a Channel, as a condition of a Subscription."""

from typing import Any

import pytest

from natss.document import Document
from natss.knative import name_of
from natss_provisioner.conditions import Condition, Status, with_ready
from natss_provisioner.delivery import condition, delivering
from natss_provisioner.dependents import Dependents

STUCK = {"ready": "False", "reason": "SubscriberStuck", "message": "no event since noon"}


def subscription(name: str = "mail", uid: str = "u1", **status: Any) -> Document:
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": uid},
        "spec": {
            "channel": {
                "apiVersion": "eventing.knative.dev/v1alpha1",
                "kind": "Channel",
                "name": "orders",
            },
            "subscriber": {"uri": "http://mail/"},
        },
        "status": {"physicalSubscription": {"subscriberURI": "http://mail/"}, **status},
    }


def channel(*told: Any, uid: str | None = "u1") -> Document:
    entry = {
        "ref": {"kind": "Subscription", "name": "mail", "namespace": "shop"},
        "subscriberURI": "http://mail/",
    }
    if uid is not None:
        entry["uid"] = uid
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {"namespace": "shop", "name": "orders", "uid": "c1"},
        "spec": {"subscribable": {"subscribers": [entry]}},
        "status": {"subscribableStatus": {"subscribers": list(told)}},
    }


@pytest.mark.parametrize(
    ("entry", "status", "reason", "message"),
    [
        ({"ready": "True"}, "True", "", ""),
        ({"ready": "True", "reason": "x", "message": "y"}, "True", "", ""),
        (STUCK, "False", "SubscriberStuck", "no event since noon"),
        ({"ready": "False"}, "False", "NotDelivered", ""),
        ({"ready": "False", "message": "of Go"}, "False", "NotDelivered", "of Go"),
        ({"ready": "Unknown", "reason": "NotKnownYet"}, "Unknown", "NotKnownYet", ""),
        ({**STUCK, "reason": "not one word"}, "False", "NotDelivered", "no event since noon"),
        ({**STUCK, "reason": ["x"], "message": 7}, "False", "NotDelivered", ""),
        ({**STUCK, "message": "x" * 9999}, "False", "SubscriberStuck", "x" * 1000 + "..."),
    ],
)
def test_what_is_told(entry: dict[str, Any], status: str, reason: str, message: str) -> None:
    wanted = Condition("Delivering", Status(status), reason, message, severity="Warning")
    assert condition(entry) == wanted
    assert with_ready([wanted])[-1].is_true, "it does not count for Ready"


@pytest.mark.parametrize("entry", [{}, {"ready": "true"}, {"ready": True}, {"ready": ["True"]}])
def test_what_says_nothing_that_can_be_read(entry: dict[str, Any]) -> None:
    assert condition(entry) is None


@pytest.mark.parametrize("told", [(), ("text", 7, None), ({"ready": "True"},), ({"uid": "u2"},)])
def test_nothing_is_told_of_who_is_not_there(told: tuple[Any, ...]) -> None:
    assert delivering(channel(*told), subscription()) is None


def test_an_entry_without_uid_is_known_by_its_durable() -> None:
    """Go's controller of v0.5 wrote such entries."""
    found = delivering(channel({**STUCK, "uid": "mail.shop"}, uid=None), subscription())
    assert found is not None
    assert found.reason == "SubscriberStuck"


def test_only_whose_delivery_has_changed_is_looked_at() -> None:
    dependents = Dependents()
    told = {"type": "Delivering", "status": "False", "severity": "Warning"}
    said = {**told, "reason": "SubscriberStuck", "message": "no event since noon"}
    orders = channel({**STUCK, "uid": "u1"})
    dependents.put(subscription(conditions=[said]))
    assert list(dependents.unlike(orders)) == []
    for other in ([], [told], [{**said, "message": "another"}], [{**said, "status": "True"}]):
        dependents.put(subscription(conditions=other))
        assert list(dependents.unlike(orders)) == [name_of(subscription())]
