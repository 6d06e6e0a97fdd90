"""Subscriptions on the real API: what they resolve to, their entry in the Channel, deletion."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from natss.document import Document
from tests.natss_provisioner.conftest import READY, Shop, reference, writes
from tests.support.kubernetes import ApiAnswer, KubernetesServer, until

pytestmark = pytest.mark.usefixtures("provisioner")

FINALIZERS = ["subscription-controller"]


def service(shop: Shop, name: str) -> None:
    shop.kubernetes.create(
        shop.services, {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
    )


def host(shop: Shop, channel: str) -> str:
    return str(shop.ready(channel)["status"]["address"]["hostname"])


def test_a_subscriber_gets_its_entry_and_the_subscription_is_ready(shop: Shop) -> None:
    shop.create()
    created = shop.subscribe(subscriber={"dnsName": "http://host.ns:8080/path?q=1"}, reply={})
    subscription = shop.subscribed()
    uid = created["metadata"]["uid"]
    assert shop.entries() == [
        {
            "uid": uid,
            "ref": {
                **reference("Subscription", "mail"),
                "namespace": shop.namespace,
                "uid": uid,
            },
            "subscriberURI": "http://host.ns:8080/path?q=1",
        }
    ]
    assert subscription["metadata"]["finalizers"] == FINALIZERS
    assert subscription["spec"] == created["spec"]
    status = subscription["status"]
    assert status["physicalSubscription"] == {"subscriberURI": "http://host.ns:8080/path?q=1"}
    assert status["observedGeneration"] == subscription["metadata"]["generation"]
    until(lambda: shop.events("Ready") and shop.events("SubscriberAdded"))


def test_what_may_be_named(shop: Shop) -> None:
    service(shop, "inbox")
    for name in ("orders", "answers", "archive"):
        shop.create(name)
    hosts = {name: host(shop, name) for name in ("answers", "archive")}
    ref = reference("Channel", "archive")
    everything: Document = {"uri": "http://first/", "dnsName": "second", "ref": ref}
    reply = {"channel": reference("Channel", "answers")}
    service_uri = f"http://inbox.{shop.namespace}.svc.cluster.local/"
    archive, answers = f"http://{hosts['archive']}/", f"http://{hosts['answers']}/"
    cases: dict[str, tuple[Document, Document]] = {
        "a": ({"subscriber": everything}, {"subscriberURI": "http://first/"}),
        "b": ({"subscriber": {**everything, "uri": None}}, {"subscriberURI": "second"}),
        "c": ({"subscriber": {"ref": ref}}, {"subscriberURI": archive}),
        "d": (
            {"subscriber": {"ref": reference("Service", "inbox")}, "reply": reply},
            {"subscriberURI": service_uri, "replyURI": answers},
        ),
        "e": ({"reply": reply}, {"replyURI": answers}),
    }
    for name, (spec, _) in cases.items():
        shop.subscribe(name, **spec)
    more_than_one = {"SpecAccepted": "Ignored"}
    for name, (_, uris) in cases.items():
        found = shop.subscribed(name, advice=more_than_one if name in {"a", "b"} else None)
        assert found["status"]["physicalSubscription"] == uris
    (told,) = [
        each
        for each in shop.subscription("a")["status"]["conditions"]
        if each["type"] == "SpecAccepted"
    ]
    assert told["message"] == (
        "spec.subscriber: has uri and dnsName and ref, of which one is enough; uri is used"
    )
    listed = {entry["ref"]["name"]: entry for entry in shop.entries()}
    for name, (_, uris) in cases.items():
        assert {key: listed[name][key] for key in listed[name] if key.endswith("URI")} == uris


def test_anything_that_tells_its_address_can_be_a_subscriber(
    kubernetes: KubernetesServer, shop: Shop, unique_name: str
) -> None:
    group = f"{unique_name}.example.org"
    sinks = f"/apis/{group}/v1/namespaces/{shop.namespace}/fairies"
    _define(kubernetes, group)
    shop.create()
    ref = {"apiVersion": f"{group}/v1", "kind": "Fairy", "name": "sink"}
    shop.subscribe(subscriber={"ref": ref})
    until(lambda: shop.told()["Resolved"] == "SubscriberResolveFailed")
    resolved = next(
        each for each in shop.subscription()["status"]["conditions"] if each["type"] == "Resolved"
    )
    assert "cannot be read" in resolved["message"]
    _allow(kubernetes, group)
    for status, uri in (
        ({"domainInternal": "old.example"}, "http://old.example/"),
        ({"address": {"hostname": "new.example"}}, "http://new.example/"),
    ):
        body = {
            "apiVersion": f"{group}/v1",
            "kind": "Fairy",
            "metadata": {"name": "sink"},
            "status": status,
        }
        until(partial(_put, kubernetes, sinks, body))
        kubernetes.patch(f"{shop.subscriptions}/mail", {"metadata": {"labels": {"look": "now"}}})
        until(partial(_goes_to, shop, uri))
        kubernetes.patch(f"{shop.subscriptions}/mail", {"metadata": {"labels": None}})
    shop.subscribed()


def _goes_to(shop: Shop, uri: str) -> bool:
    return bool(shop.entries()[0]["subscriberURI"] == uri)


def _define(kubernetes: KubernetesServer, group: str) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    kubernetes.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "metadata": {"name": f"fairies.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": "Fairy", "plural": "fairies"},
                "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
            },
        },
    )


def _allow(kubernetes: KubernetesServer, group: str) -> None:
    """Allow what kube-controller-manager derives from a ClusterRole for Addressables."""
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/natss-addressable-resolver"
    rules = [{"apiGroups": [group], "resources": ["fairies"], "verbs": ["get", "list", "watch"]}]
    kubernetes.patch(path, {"rules": rules})


def _put(kubernetes: KubernetesServer, path: str, body: Document) -> bool:
    try:
        kubernetes.create(path, body)
    except ApiAnswer as answer:
        if answer.code != 409:  # not there yet: the API serves a new kind a moment later
            return False
        kubernetes.patch(f"{path}/{body['metadata']['name']}", {"status": None})
        kubernetes.patch(f"{path}/{body['metadata']['name']}", {"status": body["status"]})
    return True


def test_a_change_moves_the_entry_and_takes_away_what_is_no_longer_asked_for(shop: Shop) -> None:
    shop.create()
    shop.create("answers")
    shop.ready("answers")
    shop.subscribe(
        subscriber={"uri": "http://one/"}, reply={"channel": reference("Channel", "answers")}
    )
    shop.subscribed()
    (before,) = shop.entries()
    change = {"spec": {"subscriber": {"uri": "http://two/"}, "reply": None}}
    generation = shop.kubernetes.patch(f"{shop.subscriptions}/mail", change)["metadata"][
        "generation"
    ]
    until(lambda: shop.subscription()["status"]["observedGeneration"] == generation)
    (entry,) = shop.entries()
    assert entry == {"uid": before["uid"], "ref": before["ref"], "subscriberURI": "http://two/"}
    status = shop.subscribed()["status"]
    assert status["physicalSubscription"] == {"subscriberURI": "http://two/"}


@pytest.mark.parametrize("ready", [True, False])
def test_a_deleted_subscription_leaves_no_entry(shop: Shop, ready: bool) -> None:
    shop.create()
    shop.subscribe("other")
    shop.subscribe()
    shop.subscribed("other")
    shop.subscribed()
    if not ready:  # when Go left the entry
        shop.kubernetes.patch(f"{shop.subscriptions}/mail", {"spec": {"subscriber": None}})
        until(lambda: shop.told()["Ready"] == "Malformed")
        assert len(shop.entries()) == 2
    shop.kubernetes.delete(f"{shop.subscriptions}/mail")
    until(lambda: _is_gone(shop, "mail"))
    assert [entry["ref"]["name"] for entry in shop.entries()] == ["other"]
    assert shop.told("other") == READY
    until(lambda: shop.events("SubscriberRemoved"))


def _is_gone(shop: Shop, name: str) -> bool:
    try:
        shop.subscription(name)
    except ApiAnswer as answer:
        return answer.code == 404
    return False


def test_an_endpoint_changes_as_kyma_does_it(shop: Shop) -> None:
    shop.create()
    shop.subscribe("other")
    shop.subscribe(subscriber={"dnsName": "http://old.ns:80/"}, reply={})
    first = shop.subscribed()["metadata"]["uid"]
    for number in range(3):
        shop.kubernetes.delete(f"{shop.subscriptions}/mail")
        uri = f"http://new{number}.ns:80/"
        until(partial(_subscribe_again, shop, uri), 1.0)
    second = shop.subscribed()["metadata"]["uid"]
    assert second != first
    shop.subscribed("other")
    by_name = {entry["ref"]["name"]: entry for entry in shop.entries()}
    assert len(shop.entries()) == len(by_name) == 2
    assert (by_name["mail"]["uid"], by_name["mail"]["subscriberURI"]) == (
        second,
        "http://new2.ns:80/",
    )


def _subscribe_again(shop: Shop, uri: str) -> bool:
    try:
        shop.subscribe(subscriber={"dnsName": uri}, reply={})
    except ApiAnswer as answer:
        if answer.code != 409:  # the earlier one is not gone yet
            raise
        return False
    return True


def test_many_at_once_on_one_channel_lose_no_entry(shop: Shop) -> None:
    shop.create()
    names = [f"s{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(shop.subscribe, names))
        for name in names:
            shop.subscribed(name)
        assert sorted(entry["ref"]["name"] for entry in shop.entries()) == sorted(names)
        list(pool.map(lambda n: shop.kubernetes.delete(f"{shop.subscriptions}/{n}"), names[:8]))
        until(lambda: len(shop.kubernetes.get(shop.subscriptions)["items"]) == 8)
    assert sorted(entry["ref"]["name"] for entry in shop.entries()) == sorted(names[8:])


def test_nobody_s_entry_is_lost_in_a_race_with_another_writer(shop: Shop) -> None:
    shop.create()
    names = [f"s{number}" for number in range(16)]
    with ThreadPoolExecutor(4) as pool:
        created = [pool.submit(shop.subscribe, name) for name in names]
        for number in range(30):
            until(
                partial(_append, shop, {"uid": f"by-hand-{number}", "subscriberURI": "http://x/"})
            )
        for each in created:
            each.result()
    for name in names:
        shop.subscribed(name)
    found = {entry.get("ref", {}).get("name", entry["uid"]) for entry in shop.entries()}
    assert found == {*names, *(f"by-hand-{number}" for number in range(30))}


def _append(shop: Shop, entry: Document) -> bool:
    channel = shop.channel()
    listed = (channel["spec"].get("subscribable") or {}).get("subscribers") or []
    change = {
        "metadata": {"resourceVersion": channel["metadata"]["resourceVersion"]},
        "spec": {"subscribable": {"subscribers": [*listed, entry]}},
    }
    try:
        shop.kubernetes.patch(f"{shop.channels}/orders", change)
    except ApiAnswer as answer:
        if answer.code != 409:
            raise
        return False
    return True


def test_what_others_write_into_the_list_stays(shop: Shop) -> None:
    by_hand = {"uid": "by-hand", "subscriberURI": "http://x/", "more": {"a": 1}}
    shop.create(provisioner={"name": "natss"}, subscribable={"subscribers": [by_hand]})
    shop.subscribe()
    shop.subscribed()
    assert shop.entries()[0] == by_hand
    shop.kubernetes.delete(f"{shop.subscriptions}/mail")
    until(lambda: _is_gone(shop, "mail"))
    assert shop.entries() == [by_hand]


def test_an_entry_that_is_taken_away_comes_back(shop: Shop) -> None:
    shop.create()
    shop.subscribe()
    shop.subscribed()
    entries = shop.entries()
    nothing: Document = {"spec": {"subscribable": {"subscribers": []}}}
    shop.kubernetes.patch(f"{shop.channels}/orders", nothing)
    until(lambda: shop.entries() == entries)
    other = {"spec": {"subscribable": {"subscribers": [{**entries[0], "subscriberURI": "x"}]}}}
    shop.kubernetes.patch(f"{shop.channels}/orders", other)
    until(lambda: shop.entries() == entries)


def test_what_is_missing_may_come_later(shop: Shop) -> None:
    shop.subscribe(
        subscriber={"ref": reference("Service", "late")},
        reply={"channel": reference("Channel", "answers")},
    )
    until(lambda: shop.told() == _unready("SubscriberResolveFailed", "ChannelNotFound"))
    shop.create()
    shop.ready()
    until(lambda: shop.told() == _unready("SubscriberResolveFailed", "NotResolved"))
    service(shop, "late")
    until(lambda: shop.told() == _unready("ReplyResolveFailed", "NotResolved"))
    assert shop.entries() == []
    shop.create("answers")
    shop.subscribed()
    assert len(shop.entries()) == 1
    assert len(shop.events("SubscriberResolveFailed")) == 1


def _unready(resolved: str, channel_ready: str) -> dict[str, str]:
    return {"Resolved": resolved, "ChannelReady": channel_ready, "Ready": resolved}


def test_a_subscription_follows_its_channel_through_deletion(shop: Shop) -> None:
    shop.create()
    shop.subscribe()
    shop.subscribed()
    shop.kubernetes.delete(f"{shop.channels}/orders")
    until(lambda: shop.told()["Ready"] == "ChannelNotFound")
    shop.create()
    shop.subscribed()
    assert len(shop.entries()) == 1
    shop.kubernetes.delete(f"{shop.channels}/orders")
    until(lambda: shop.told()["Ready"] == "ChannelNotFound")
    shop.kubernetes.delete(f"{shop.subscriptions}/mail")
    until(lambda: _is_gone(shop, "mail"))


def test_a_subscription_stays_with_its_channel(shop: Shop) -> None:
    for name in ("orders", "other"):
        shop.create(name)
    shop.subscribe()
    shop.subscribed()
    move = {"spec": {"channel": reference("Channel", "other")}}
    shop.kubernetes.patch(f"{shop.subscriptions}/mail", move)
    until(lambda: shop.told()["Ready"] == "Immutable", 20.0)
    assert shop.told()["Resolved"] == "True"
    (message,) = until(lambda: shop.events("Immutable"), 20.0)
    assert "spec.channel: cannot be changed: it is orders" in message
    retarget = {"spec": {"subscriber": {"uri": "http://later/"}}}
    shop.kubernetes.patch(f"{shop.subscriptions}/mail", retarget)
    until(lambda: _goes_to(shop, "http://later/"), 20.0)
    assert shop.entries("other") == []
    back = {"spec": {"channel": reference("Channel", "orders")}}
    shop.kubernetes.patch(f"{shop.subscriptions}/mail", back)
    shop.subscribed()
    assert len(shop.entries()) == 1


def test_a_subscription_whose_channel_was_changed_leaves_no_entry(shop: Shop) -> None:
    for name in ("orders", "other"):
        shop.create(name)
    shop.subscribe()
    shop.subscribed()
    move = {"spec": {"channel": reference("Channel", "other")}}
    shop.kubernetes.patch(f"{shop.subscriptions}/mail", move)
    until(lambda: shop.told()["Ready"] == "Immutable", 20.0)
    shop.kubernetes.delete(f"{shop.subscriptions}/mail")
    until(lambda: _is_gone(shop, "mail"), 20.0)
    assert shop.entries() == shop.entries("other") == []


def test_a_subscription_goes_to_another_channel_when_its_own_has_gone(shop: Shop) -> None:
    for name in ("orders", "other"):
        shop.create(name)
    shop.subscribe()
    shop.subscribed()
    shop.kubernetes.delete(f"{shop.channels}/orders")
    until(lambda: shop.told()["Ready"] == "ChannelNotFound", 20.0)
    move = {"spec": {"channel": reference("Channel", "other")}}
    shop.kubernetes.patch(f"{shop.subscriptions}/mail", move)
    assert shop.subscribed()["status"]["channelName"] == "other"
    assert len(shop.entries("other")) == 1


def test_what_is_ignored_of_a_subscription_is_told(shop: Shop) -> None:
    shop.create()
    shop.subscribe(subscriber={"uri": "http://x/"}, replyy={})
    until(lambda: shop.told() == {**READY, "SpecAccepted": "Ignored"}, 20.0)
    shop.kubernetes.patch(f"{shop.subscriptions}/mail", {"spec": {"replyy": None}})
    until(lambda: shop.told() == READY, 20.0)


def test_channels_of_others_and_their_subscriptions_are_left_alone(
    kubernetes: KubernetesServer, shop: Shop
) -> None:
    ref = {**reference("Subscription", "gone"), "namespace": shop.namespace, "uid": "gone"}
    listed = {"subscribers": [{"uid": "gone", "ref": ref, "subscriberURI": "http://x/"}]}
    shop.create("memory", provisioner={"name": "in-memory"}, subscribable=listed)
    shop.create("nobodys", arguments={})
    shop.create()
    shop.subscribe("one", "memory")
    shop.subscribe("two", "nobodys")
    shop.subscribe("ours")
    shop.subscribed("ours")  # after the others were seen
    for name in ("one", "two"):
        assert "status" not in shop.subscription(name)
        assert "finalizers" not in shop.subscription(name)
        assert writes(kubernetes, f"{shop.namespace}/subscriptions/{name}") == []
    assert shop.entries("memory") == listed["subscribers"]
    assert writes(kubernetes, f"{shop.namespace}/channels/memory") == []


def test_what_was_said_of_a_missing_channel_is_taken_back_if_it_is_not_ours(shop: Shop) -> None:
    shop.subscribe("mail", "memory")
    until(lambda: shop.told()["Ready"] == "ChannelNotFound")
    shop.create("memory", provisioner={"name": "in-memory"})
    until(lambda: not shop.subscription().get("status"))


MALFORMED: list[Document] = [
    {"subscriber": {}},
    {"subscriber": {"uri": "ftp://x/"}},
    {"subscriber": {"uri": "http://a b/"}},
    {"subscriber": {"dnsName": "http:///path"}},
    {"subscriber": {"ref": {**reference("Service", "x"), "namespace": "other"}}},
    {"subscriber": {"ref": reference("Service", "../secrets/x")}},
    {"subscriber": {"ref": {"apiVersion": "../v1", "kind": "Service", "name": "x"}}},
    {"subscriber": {"ref": {"apiVersion": "g/v1/namespaces/b", "kind": "Mail", "name": "x"}}},
    {"reply": {"channel": {**reference("Channel", "x"), "apiVersion": "apps/v1"}}},
    {"subscriber": {"uri": ["http://x/"]}},
]


@pytest.mark.parametrize("spec", MALFORMED, ids=lambda spec: json.dumps(spec)[:50])
def test_what_cannot_be_read_is_told_and_harms_nobody(shop: Shop, spec: Document) -> None:
    shop.create()
    shop.subscribe("good")
    try:
        shop.subscribe(**spec)
    except ApiAnswer as answer:
        if answer.code != 422:  # the definition of the resource forbids it
            raise
    else:
        until(lambda: shop.told()["Ready"] == "Malformed")
        assert until(lambda: shop.events("Malformed"))
    shop.subscribed("good")
    assert [entry["ref"]["name"] for entry in shop.entries()] == ["good"]


def test_a_password_in_a_malformed_uri_is_not_told(shop: Shop) -> None:
    shop.create()
    shop.subscribe(subscriber={"uri": "ftp://me:s3cret@x/"})
    until(lambda: shop.told()["Ready"] == "Malformed")
    conditions = shop.subscription()["status"]["conditions"]
    assert "s3cret" not in json.dumps(conditions)
    assert until(lambda: shop.events("Malformed"))
    assert all("s3cret" not in text for text in shop.events("Malformed"))
