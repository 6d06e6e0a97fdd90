"""Requests that are admitted, warned about or denied; with a real API in ``test_webhook.py``."""

import copy
from typing import Any

import pytest

from natss.contract.channel_id import ChannelId
from natss.contract.names import channel_service_name
from natss.document import Document
from natss_provisioner.admission import (
    Review,
    channel_defaults,
    review_channel,
    review_subscription,
    told,
)
from tests.support.channel_ids import channel_id

API = "eventing.knative.dev/v1alpha1"
CCP = "ClusterChannelProvisioner"
NATSS: Document = {"name": "natss"}
DOMAIN = "cluster.local"


def channel(name: str = "orders", /, **spec: Any) -> Document:
    return {
        "apiVersion": API,
        "kind": "Channel",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"provisioner": NATSS, **spec},
    }


def with_metadata(document: Document, **metadata: Any) -> Document:
    changed = copy.deepcopy(document)
    changed["metadata"] |= metadata
    return changed


def outcome(review: Review) -> tuple[list[str], list[str]]:
    return [each.path for each in review.denied], [each.path for each in review.warnings]


def created(new: Document, hosts: dict[ChannelId, str] | None = None) -> Review:
    return review_channel(new, None, hosts or {}, DOMAIN)


def updated(old: Document, new: Document) -> Review:
    return review_channel(new, old, {}, DOMAIN)


ADMITTED: tuple[list[str], list[str]] = ([], [])

ENTRY = {"uid": "u1", "subscriberURI": "http://x/"}


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (channel(), ADMITTED),
        (channel(arguments={"retry": 3}, subscribable={"subscribers": [ENTRY]}), ADMITTED),
        (channel(generation=3), ADMITTED),
        (channel(arguments={"rety": 3}), ([], ["spec.arguments.rety"])),
        (channel(argument={"retry": 3}), ([], ["spec.argument"])),
        (channel(arguments={"timeout": "2m"}), ([], ["spec.arguments.timeout"])),
        (
            channel(arguments={"retry": -1, "start": "soon", "x": 1}),
            (["spec.arguments.retry", "spec.arguments.start"], ["spec.arguments.x"]),
        ),
        (channel(arguments=["retry"]), (["spec.arguments"], [])),
        (
            channel(subscribable={"subscribers": [ENTRY, {"uid": "u2"}]}),
            (["spec.subscribable.subscribers[1]"], []),
        ),
        (
            channel(subscribable={"subscribers": [{**ENTRY, "subscriberURI": "ftp://x/"}]}),
            (["spec.subscribable.subscribers[0].subscriberURI"], []),
        ),
        (channel("x" * 250), (["metadata.name"], [])),
        # Of no provisioner, and perhaps of another one.
        (channel(provisioner=None), ([], ["spec.provisioner"])),
        (channel(provisioner={"name": "nats"}), ([], ["spec.provisioner.name"])),
        (channel(provisioner={"name": "in-memory"}, arguments=7, unknown=1), ADMITTED),
        (channel("x" * 250, provisioner={"name": "in-memory"}), ADMITTED),
        (channel(provisioner={"name": "natss", "namespace": "shop"}, arguments=7), ADMITTED),
    ],
)
def test_a_new_channel(new: Document, expected: tuple[list[str], list[str]]) -> None:
    assert outcome(created(new)) == expected


def test_a_name_that_the_api_will_generate() -> None:
    new = with_metadata(channel(arguments={"retry": -1}), name=None, generateName="orders-")
    assert outcome(created(new)) == (["spec.arguments.retry"], [])


def test_a_host_that_another_channel_has() -> None:
    host = f"{channel_service_name('shop', 'orders')}.shop.svc.{DOMAIN}"
    other = channel_id("shop", "other")
    assert outcome(created(channel(), {other: host})) == (["metadata.name"], [])
    assert outcome(created(channel(), {other: "else.shop.svc.cluster.local"})) == ADMITTED
    assert outcome(created(channel(), {channel_id("shop", "orders"): host})) == ADMITTED


@pytest.mark.parametrize(
    ("old", "new", "denied"),
    [
        (NATSS, {"name": "in-memory"}, True),
        (NATSS, {"name": "nats"}, True),
        (NATSS, None, True),
        (NATSS, {"name": "natss", "namespace": "shop"}, True),
        (NATSS, {"name": "natss", "kind": "Other"}, True),
        (NATSS, {"name": "natss", "kind": CCP, "apiVersion": API}, False),
        (NATSS, {"name": "natss", "kind": CCP}, False),
        (NATSS, {"name": "natss", "namespace": ""}, False),
        ({"name": "natss", "kind": CCP, "apiVersion": API}, NATSS, False),
        ({"name": "in-memory"}, NATSS, True),
        ({"name": "in-memory"}, {"name": "kafka"}, False),  # of another provisioner
        (None, NATSS, False),  # it had no provisioner
    ],
)
def test_the_provisioner_cannot_be_changed(old: object, new: object, denied: bool) -> None:
    # With another difference, otherwise nothing would be reviewed.
    before, after = channel(provisioner=old), channel(provisioner=new, arguments={"retry": 1})
    assert outcome(updated(before, after))[0] == (["spec.provisioner"] if denied else [])


def test_also_not_once_the_dispatcher_holds_it() -> None:
    held = with_metadata(channel(), finalizers=["natss-dispatcher"])
    after = with_metadata(
        channel(provisioner={"name": "in-memory"}), finalizers=["natss-dispatcher"]
    )
    assert outcome(updated(held, after)) == (["spec.provisioner"], [])


BROKEN: Document = {"retry": -1, "rety": 1}
BAD = {"uid": "u2"}


def listing(*entries: Document) -> Document:
    """Return a channel with entries, each with a uid of its own."""
    numbered = [{**each, "uid": f"{each['uid']}-{i}"} for i, each in enumerate(entries)]
    return channel(subscribable={"subscribers": numbered})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (channel(), channel(arguments={"retry": -1}), (["spec.arguments.retry"], [])),
        (channel(arguments=BROKEN), channel(arguments=BROKEN, subscribable={}), ADMITTED),
        (channel(arguments=BROKEN), channel(), ADMITTED),
        (
            channel(arguments=BROKEN),
            channel(arguments={**BROKEN, "retry": -2}),
            (["spec.arguments.retry"], []),
        ),
        (
            channel(arguments=BROKEN),
            with_metadata(channel(arguments=BROKEN), finalizers=["natss-dispatcher"]),
            ADMITTED,
        ),
        (channel("x" * 250), channel("x" * 250, arguments={"retry": 1}), ADMITTED),
        (channel(subscribable={"subscribers": [{}]}), channel(), ADMITTED),
        (listing(ENTRY, BAD, BAD), listing(BAD, BAD), ADMITTED),
        (listing(BAD), listing(BAD, ENTRY), ADMITTED),
        (listing(ENTRY), listing(ENTRY, BAD), (["spec.subscribable.subscribers[1]"], [])),
        (listing(BAD), listing(BAD, BAD), (["spec.subscribable.subscribers[1]"], [])),
    ],
)
def test_only_what_a_change_makes_worse_is_told(
    old: Document, new: Document, expected: tuple[list[str], list[str]]
) -> None:
    assert outcome(updated(old, new)) == expected


def subscription(name: str = "mail", /, **spec: Any) -> Document:
    reference = {"apiVersion": API, "kind": "Channel", "name": "orders"}
    return {
        "apiVersion": API,
        "kind": "Subscription",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"channel": reference, "subscriber": {"uri": "http://x/"}, **spec},
    }


def reference(name: str, kind: str = "Channel", api_version: str = API) -> Document:
    return {"apiVersion": api_version, "kind": kind, "name": name}


KAFKA = reference("orders", "KafkaChannel", "messaging/v1")


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (subscription(), ADMITTED),
        (subscription(subscriber={"dnsName": "mail"}, reply={}), ADMITTED),
        (subscription(subscriber=None, reply={"channel": reference("answers")}), ADMITTED),
        (subscription(subscriber={"ref": reference("x", "Service", "v1")}), ADMITTED),
        (subscription(subscriber=None), (["spec"], [])),
        (subscription(subscriber={}, reply={}), (["spec"], [])),
        (subscription(subscriber={"uri": "ftp://x/"}), (["spec.subscriber.uri"], [])),
        (subscription(subscriber={"ref": {"name": "x"}}), (["spec.subscriber.ref.kind"], [])),
        (
            subscription(reply={"channel": reference("x", "Service", "v1")}),
            (["spec.reply.channel"], []),
        ),
        (subscription(replyy={}), ([], ["spec.replyy"])),
        (subscription(subscriber={"uri": "http://x/", "url": "y"}), ([], ["spec.subscriber.url"])),
        (subscription(channel={"apiVersion": API, "kind": "Channel"}), (["spec.channel.name"], [])),
        # Of another kind of channel.
        (
            subscription(channel=reference("x", "KafkaChannel", "messaging/v1"), subscriber=None),
            ADMITTED,
        ),
        (subscription(channel=reference("x", "Channel", "messaging/v1"), subscriber={}), ADMITTED),
    ],
)
def test_a_new_subscription(new: Document, expected: tuple[list[str], list[str]]) -> None:
    assert outcome(review_subscription(new, None, DOMAIN)) == expected


@pytest.mark.parametrize(
    ("old", "new", "denied"),
    [
        (reference("orders"), reference("other"), True),
        (reference("orders"), KAFKA, True),
        (reference("orders"), {}, True),
        (reference("orders"), {**reference("orders"), "namespace": "shop"}, False),
        (KAFKA, {**KAFKA, "name": "other"}, False),
    ],
)
def test_the_channel_of_a_subscription_cannot_be_changed(
    old: Document, new: Document, denied: bool
) -> None:
    before = subscription(channel=old)
    after = subscription(channel=new, subscriber={"uri": "http://y/"})
    review = review_subscription(after, before, DOMAIN)
    assert outcome(review) == (["spec.channel"] if denied else [], [])


def test_a_subscription_that_was_wrong_may_be_changed_and_released() -> None:
    old = subscription(subscriber=None)
    released = with_metadata(old, finalizers=[])
    assert outcome(review_subscription(released, old, DOMAIN)) == ADMITTED
    labelled = subscription(subscriber=None, reply={})
    assert outcome(review_subscription(labelled, old, DOMAIN)) == ADMITTED


def test_what_is_told_in_status() -> None:
    assert told(()) is None
    for spec, reason in (
        ({"arguments": {"x": 1}}, "Ignored"),
        ({"arguments": {"x": 1, "retry": -1}}, "Refused"),
    ):
        review = created(channel(**spec))
        condition = told([*review.warnings, *review.denied])
        assert condition is not None
        assert (condition.type, condition.reason) == ("SpecAccepted", reason)
        assert condition.severity == "Warning"
        assert "spec.arguments.x: unknown, ignored" in condition.message
    moved = updated(channel(), channel(provisioner={"name": "x"}))
    condition = told(moved.denied)
    assert condition is not None
    assert condition.reason == "Immutable"


def test_a_long_list_is_cut_in_status() -> None:
    review = created(channel(arguments={f"unknown{number}": 1 for number in range(100)}))
    condition = told(review.warnings)
    assert condition is not None
    assert 900 < len(condition.message) < 1100


def test_a_password_is_not_told() -> None:
    review = created(channel(arguments={"deadLetterURI": "ftp://me:s3cret@x/"}))
    assert review.denied
    assert "s3cret" not in str(review)


@pytest.mark.parametrize(
    ("spec", "filled"),
    [
        ({"provisioner": None}, True),
        ({"provisioner": {}}, True),
        ({}, False),
        ({"provisioner": {"name": "in-memory"}}, False),
    ],
)
def test_defaults(spec: Document, filled: bool) -> None:
    full = {"spec": {"provisioner": {"apiVersion": API, "kind": CCP, "name": "natss"}}}
    assert channel_defaults(channel(**spec)) == (full if filled else None)


def test_defaults_of_a_channel_without_spec() -> None:
    bare = channel()
    del bare["spec"]
    assert channel_defaults(bare) is not None
