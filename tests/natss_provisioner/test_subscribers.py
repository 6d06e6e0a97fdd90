"""Subscriptions and entries as values, without an API."""

import json
from typing import Any

import pytest

from natss.contract.fields import Refused
from natss.contract.resources import ResourceName
from natss.contract.subscription_documents import SubscriberTarget, Wish
from natss.document import Document
from natss_provisioner.handlers.targets import address_of, resource_of
from natss_provisioner.subscribers import (
    Physical,
    channels_named,
    claimant,
    entries,
    held_by,
    read_channel_name,
    read_wish,
    with_entry,
    without_entry,
)
from tests.support.channel_ids import channel_id

API = "eventing.knative.dev/v1alpha1"
CHANNEL = {"apiVersion": API, "kind": "Channel", "name": "orders"}
SERVICE = {"apiVersion": "v1", "kind": "Service", "name": "inbox"}
URIS = Physical("http://x/", None)
OWN: Document = {
    "uid": "u1",
    "ref": {
        "apiVersion": API, "kind": "Subscription", "name": "mail", "namespace": "shop", "uid": "u1",
    },
    "subscriberURI": "http://x/",
}  # fmt: skip


def subscription(uid: str = "u1", **spec: Any) -> Document:
    return {
        "metadata": {"namespace": "shop", "name": "mail", "uid": uid},
        "spec": {"channel": CHANNEL, **spec},
    }


def channel(*listed: object) -> Document:
    return {
        "metadata": {"namespace": "shop", "name": "orders"},
        "spec": {"subscribable": {"subscribers": list(listed)}},
    }


def ref(**fields: object) -> Document:
    return {"ref": {"name": "mail", "namespace": "shop", **fields}}


@pytest.mark.parametrize(
    ("spec", "wish"),
    [
        ({"subscriber": {"uri": "http://x/"}}, Wish("http://x/", None)),
        ({"subscriber": {"uri": "", "dnsName": "x:80/in"}}, Wish("x:80/in", None)),
        (
            {"subscriber": {"ref": SERVICE}, "reply": {}},
            Wish(SubscriberTarget("spec.subscriber.ref", "v1", "Service", "inbox"), None),
        ),
        (
            {"subscriber": None, "reply": {"channel": CHANNEL}},
            Wish(None, SubscriberTarget("spec.reply.channel", API, "Channel", "orders")),
        ),
    ],
)
def test_wishes(spec: Document, wish: Wish) -> None:
    assert read_wish(subscription(**spec), "cluster.local") == wish


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, "spec"),
        ({"subscriber": [], "reply": None}, "spec.subscriber"),
        ({"subscriber": {"uri": "http://a b"}}, "spec.subscriber.uri"),
        ({"subscriber": {"dnsName": 5}}, "spec.subscriber.dnsName"),
        ({"subscriber": {"ref": {**SERVICE, "name": "a/b"}}}, "spec.subscriber.ref.name"),
        ({"subscriber": {"ref": {**SERVICE, "kind": "../x"}}}, "spec.subscriber.ref"),
        ({"subscriber": {"ref": {**SERVICE, "apiVersion": "a/../b"}}}, "spec.subscriber.ref"),
        ({"subscriber": {"ref": {"name": "x"}}}, "spec.subscriber.ref.kind"),
        ({"subscriber": {"ref": {"kind": "Mail", "name": "x"}}}, "spec.subscriber.ref.apiVersion"),
        (
            {"subscriber": {"ref": {**SERVICE, "namespace": "other"}}},
            "spec.subscriber.ref.namespace",
        ),
        ({"reply": {"channel": SERVICE}}, "spec.reply.channel"),
    ],
)
def test_what_cannot_be_read_says_where(spec: Document, path: str) -> None:
    with pytest.raises(Refused) as error:
        read_wish(subscription(**spec), "cluster.local")
    assert error.value.path == path


def test_only_channels_of_our_kind_are_looked_at() -> None:
    assert read_channel_name(subscription()) == channel_id("shop", "orders")
    other = {**CHANNEL, "apiVersion": "messaging.knative.dev/v1"}
    assert read_channel_name(subscription(channel=other)) is None
    with pytest.raises(Refused):
        read_channel_name(subscription(channel=5))


def test_channels_that_concern_a_subscription() -> None:
    spec: Document = {
        "subscriber": {"ref": {**CHANNEL, "name": "archive"}},
        "reply": {"channel": {**CHANNEL, "name": "answers"}},
    }
    names = {name.name for name in channels_named(subscription(**spec))}
    assert names == {"orders", "archive", "answers"}
    assert channels_named(subscription()) == {channel_id("shop", "orders")}
    assert channels_named(subscription(channel=5)) == frozenset()


OTHER = {"uid": "u0", "ref": {"name": "other"}, "subscriberURI": "http://y/"}
BY_HAND = {"subscriberURI": "http://z/"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [OWN]),
        ([OWN], None),
        ([OTHER, OWN, BY_HAND], None),
        ([OTHER, BY_HAND], [OTHER, BY_HAND, OWN]),
        ([{**OWN, "subscriberURI": "http://old/"}, OTHER], [OWN, OTHER]),
        ([{**OWN, "replyURI": "http://old/"}], [OWN]),
        ([{**OWN, "extra": 1}], None),
        # Without reference, as the specification allows.
        ([{"uid": "u1", "subscriberURI": "http://x/"}], [OWN]),
        # One of an earlier uid is replaced in its place.
        ([{**OWN, "uid": "u0", "ref": {**OWN["ref"], "uid": "u0"}}, OTHER], [OWN, OTHER]),
        ([ref(uid="u0"), OTHER, OWN], [OWN, OTHER]),
        # Of v0.5: the durable is named by the reference, and stays.
        (
            [{**ref(uid="u1"), "subscriberURI": "http://x/"}],
            [{"ref": OWN["ref"], "subscriberURI": "http://x/"}],
        ),
        ([ref()], [{"ref": OWN["ref"], "subscriberURI": "http://x/"}]),
        # Not of that name.
        ([ref(namespace="elsewhere")], [ref(namespace="elsewhere"), OWN]),
        ([ref(kind="Trigger")], [ref(kind="Trigger"), OWN]),
    ],
)
def test_the_entry_is_there_once(before: list[Document], after: list[Document] | None) -> None:
    document = channel(*before)
    unchanged = json.loads(json.dumps(document))
    result = with_entry(document, subscription(), URIS)
    assert result == after
    assert document == unchanged
    if result is not None:
        assert with_entry(channel(*result), subscription(), URIS) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], None),
        ([OTHER, BY_HAND], None),
        ([OTHER, OWN], [OTHER]),
        ([OWN, OWN], []),
        ([ref()], []),
        ([ref(uid="u1"), {"uid": "u1"}], []),
        ([{**OWN, "uid": "u2"}], None),  # of a later uid
    ],
)
def test_all_that_belongs_to_it_is_removed_and_nothing_else(
    before: list[Document], after: list[Document] | None
) -> None:
    assert without_entry(channel(*before), subscription()) == after


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (OWN, ResourceName("shop", "mail")),
        ({"uid": "u1", "ref": {"name": "mail"}}, ResourceName("shop", "mail")),
        (ref(uid="u1", namespace="shop"), ResourceName("shop", "mail")),
        (ref(uid="u1", namespace="other"), None),
        (ref(uid="u1", namespace="../other"), None),
        (ref(uid="u1", name="../mail"), None),
        (ref(uid="u1", name="?watch=true"), None),
        (ref(), None),
        ({"uid": "u1"}, None),
        ({"uid": "u1", **ref(kind="Trigger")}, None),
        ({"uid": "u1", **ref(apiVersion="messaging.knative.dev/v1")}, None),
    ],
)
def test_who_claims_an_entry(entry: Document, name: ResourceName | None) -> None:
    assert claimant(entry, channel()) == name


ANYTHING: list[object] = [
    None,
    5,
    "x",
    [],
    ["x"],
    {},
    {"uid": {}},
    {"name": [], "namespace": 5, "kind": {}},
]


@pytest.mark.parametrize("value", ANYTHING)
def test_what_somebody_wrote_into_a_list_is_left_alone(value: object) -> None:
    """By Knative's own definitions ``ref``, ``uid`` and the whole of ``status`` may be anything."""
    for entry in ({"ref": value}, {"uid": value, "ref": value}, {"uid": "u1", "ref": value}):
        assert claimant(entry, channel(entry)) is None
        added = with_entry(channel({"uid": "u2", "ref": value}), subscription(), URIS)
        assert added == [{"uid": "u2", "ref": value}, OWN]
    assert without_entry(channel({"uid": value, "ref": value}), subscription()) is None


@pytest.mark.parametrize("value", ANYTHING)
def test_what_somebody_wrote_into_a_status_is_no_channel(value: object) -> None:
    for status in (value, {"channelName": [value]}):
        assert held_by({**subscription(), "status": status}) is None


@pytest.mark.parametrize(
    "spec", [None, {}, {"subscribable": None}, {"subscribable": []}, {"subscribable": {"x": 1}},
             {"subscribable": {"subscribers": "x"}}, {"subscribable": {"subscribers": [None, 5]}}],
)  # fmt: skip
def test_a_list_that_is_none_is_empty(spec: object) -> None:
    assert entries({"spec": spec}) == []


@pytest.mark.parametrize(
    ("api_version", "kind", "path"),
    [
        ("v1", "Service", "/api/v1/services"),
        ("serving.knative.dev/v1alpha1", "Route", "/apis/serving.knative.dev/v1alpha1/routes"),
        ("a.b/v1", "Policy", "/apis/a.b/v1/policies"),
        ("a.b/v1", "Bus", "/apis/a.b/v1/buses"),
    ],
)
def test_where_a_kind_is_served(api_version: str, kind: str, path: str) -> None:
    assert resource_of(api_version, kind).path() == path


@pytest.mark.parametrize(
    ("status", "address"),
    [
        ({"address": {"hostname": "a.b"}, "domainInternal": "c"}, "a.b"),
        ({"address": {}, "domainInternal": "c.d"}, "c.d"),
        ({"address": {"hostname": "a b"}}, None),
        ({"address": {"hostname": 5}}, None),
        ({"address": "a.b"}, None),
        (["x"], None),
        (None, None),
    ],
)
def test_addresses(status: object, address: str | None) -> None:
    assert address_of({"status": status}) == address
