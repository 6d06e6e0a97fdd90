"""Which Subscriptions a change of a Channel concerns."""

from typing import Any

import pytest

from natss.contract.resources import ResourceName
from natss.document import Document
from natss_provisioner.dependents import Dependents
from tests.support.channel_ids import channel_id

API = "eventing.knative.dev/v1alpha1"
ORDERS, ANSWERS = channel_id("shop", "orders"), channel_id("shop", "answers")


def subscription(name: str, reply: str | None = None, **more: Any) -> Document:
    spec: Document = {
        "channel": {"apiVersion": API, "kind": "Channel", "name": "orders"},
        "subscriber": {"uri": "http://x/"},
    }
    if reply:
        spec["reply"] = {"channel": {"apiVersion": API, "kind": "Channel", "name": reply}}
    uris = {"physicalSubscription": {"subscriberURI": "http://x/"}}
    metadata = {"namespace": "shop", "name": name, "uid": f"uid-{name}"}
    return {"metadata": metadata, "spec": spec, "status": uris, **more}


def channel(*names: str, uri: str = "http://x/") -> Document:
    listed = [{"uid": f"uid-{name}", "ref": {"name": name}, "subscriberURI": uri} for name in names]
    return {
        "apiVersion": API,
        "kind": "Channel",
        "metadata": {"namespace": "shop", "name": "orders"},
        "spec": {"subscribable": {"subscribers": listed}},
    }


@pytest.fixture
def seen() -> Dependents:
    dependents = Dependents()
    dependents.put(subscription("a"))
    dependents.put(subscription("b", reply="answers"))
    return dependents


def names(found: Any) -> list[str]:
    return sorted(each.name for each in found)


def test_by_channel(seen: Dependents) -> None:
    assert names(seen.on(ORDERS)) == ["a", "b"]
    assert names(seen.on(ANSWERS)) == ["b"]
    assert seen.channel_of == {"uid-a": ORDERS, "uid-b": ORDERS}


def test_what_changes_and_goes_is_forgotten(seen: Dependents) -> None:
    before = seen.put(subscription("b"))
    assert before is not None
    assert before.channel == ORDERS
    assert seen.on(ANSWERS) == ()
    assert seen.drop(ResourceName("shop", "b")) is not None
    assert seen.drop(ResourceName("shop", "b")) is None
    assert names(seen.on(ORDERS)) == names(seen.names()) == ["a"]
    assert seen.channel_of == {"uid-a": ORDERS}


def test_one_that_is_made_again_has_another_uid(seen: Dependents) -> None:
    again = subscription("a")
    again["metadata"]["uid"] = "later"
    seen.put(again)
    assert set(seen.channel_of) == {"later", "uid-b"}
    assert seen.has_unknown(channel("a"))


def test_entries_that_are_not_as_they_should_be(seen: Dependents) -> None:
    assert names(seen.unlike(channel("a", "b"))) == []
    assert names(seen.unlike(channel("b"))) == ["a"]
    assert names(seen.unlike(channel("a", "b", uri="http://other/"))) == ["a", "b"]


def test_entries_of_nobody(seen: Dependents) -> None:
    assert not seen.has_unknown(channel("a", "b"))
    assert seen.has_unknown(channel("a", "gone"))
    assert not seen.has_unknown({**channel(), "spec": {"subscribable": {"subscribers": [{}]}}})


def test_what_cannot_be_read_concerns_nobody(seen: Dependents) -> None:
    seen.put(subscription("a", spec={"channel": 5}))
    assert names(seen.on(ORDERS)) == ["b"]
    assert names(seen.names()) == ["a", "b"]
