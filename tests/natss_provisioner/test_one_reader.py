"""A Subscription means the same and has the same mistakes, in a file and in a cluster."""

from typing import Any

import pytest

from natss.contract.documents import desired_state
from natss.contract.eventing import API_VERSION, CHANNEL
from natss.document import Document
from natss_provisioner.admission import review_subscription, told
from natss_provisioner.subscribers import problems_of, read_wish
from tests.support.channel_ids import channel_id

ORDERS = channel_id("shop", "orders")
DOMAIN = "cluster.local"


def channel(name: str) -> Document:
    return {
        "apiVersion": API_VERSION,
        "kind": CHANNEL.kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"provisioner": {"name": "natss"}},
    }


def subscription(**spec: Any) -> Document:
    return {
        "apiVersion": API_VERSION,
        "kind": "Subscription",
        "metadata": {"name": "mail", "namespace": "shop", "uid": "u1"},
        "spec": {"channel": {"name": "orders"}, "subscriber": {"uri": "http://x/"}, **spec},
    }


def in_a_file(document: Document) -> tuple[set[str], str | None, str | None]:
    """Return the mistakes and, if there is one, the subscriber."""
    documents = (channel("orders"), channel("answers"), document)
    state = desired_state([("", each) for each in documents])
    uris = [(s.subscriber_uri, s.reply_uri) for s in state.channels[ORDERS].subscribers]
    return {each.text for each in state.problems}, *(uris[0] if uris else (None, None))


@pytest.mark.parametrize(
    ("spec", "mistakes"),
    [
        ({}, 0),
        ({"subscriber": {"uri": "http://x/", "dnsName": "y"}}, 1),
        ({"subscriber": {"dnsName": "y", "ref": {"kind": "Service", "name": "z"}}}, 1),
        ({"subscriber": {"url": "http://x/", "uri": "y"}}, 1),
        ({"subscriber": {"uri": "ftp://x/"}}, 1),
        ({"subscriber": {"uri": 5}}, 1),
        ({"subscriber": 5}, 1),
        ({"subscriber": None}, 1),
        ({"subscriber": {"ref": {"kind": "Service", "name": "z"}}}, 0),
        ({"subscriber": {"ref": {"kind": "Channel", "name": "answers"}}}, 0),
        ({"subscriber": {"ref": {"kind": "Service", "name": "A"}}}, 1),
        ({"subscriber": {"ref": {"kind": "Service", "name": "z", "namespace": "n"}}}, 1),
        ({"subscriber": {"ref": {"kind": "Service", "name": "z", "nmae": "y"}}}, 1),
        ({"subscriber": {"ref": {"name": "z"}}}, 1),
        ({"subscriber": {"ref": {"kind": "Mail", "name": "z"}}}, 1),
        ({"subscriber": {"ref": {"apiVersion": "a/b/c", "kind": "Mail", "name": "z"}}}, 1),
        ({"reply": {"channel": {"name": "answers"}}}, 0),
        ({"reply": {"channel": {"kind": "KafkaChannel", "name": "x"}}}, 1),
        ({"reply": {"channel": {"name": "answers", "namespace": "n"}}}, 1),
        ({"reply": {"chanel": {}}}, 1),
        ({"replyy": {}}, 1),
    ],
)
def test_mistakes_are_the_same(spec: dict[str, Any], mistakes: int) -> None:
    document = subscription(**spec)
    in_the_cluster = problems_of(document, DOMAIN)
    assert {each.text for each in in_the_cluster} == in_a_file(document)[0]
    assert len(in_the_cluster) == mistakes
    review = review_subscription(document, None, DOMAIN)
    assert (*review.denied, *review.warnings) == in_the_cluster


def test_of_two_addresses_the_one_that_is_used_is_told() -> None:
    document = subscription(subscriber={"uri": "http://x/", "dnsName": "y"})
    condition = told(problems_of(document, DOMAIN))
    assert condition is not None
    assert condition.message == (
        "spec.subscriber: has uri and dnsName, of which one is enough; uri is used"
    )
    assert read_wish(document, DOMAIN).subscriber == "http://x/"
    assert in_a_file(document)[1] == "http://x/"
