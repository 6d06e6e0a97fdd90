"""Documents with mistakes: each is told with its place, and none harms another one."""

import copy
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natss.contract.documents import desired_state
from natss.contract.eventing import API_VERSION
from natss.contract.reports import MOST_HINTS, MOST_REFUSALS
from natss.contract.resources import DesiredState, Problem
from tests.support.channel_ids import channel_id

drawn = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The same values each time, however busy the machine."""

GOOD = channel_id("shop", "good")
ORDERS = channel_id("shop", "orders")


def channel(name: str = "orders", **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Channel",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"provisioner": {"name": "natss"}, **spec},
    }


def subscription(name: str = "mail", **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Subscription",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "channel": {"apiVersion": API_VERSION, "kind": "Channel", "name": "orders"},
            "subscriber": {"dnsName": "mail"},
            **spec,
        },
    }


def read(*documents: object) -> DesiredState:
    """Return the state of documents between two good ones, which always come through."""
    good = [channel("good"), subscription("fine", channel={"name": "good"})]
    all_documents = [good[0], *documents, good[1]]
    state = desired_state((f"f.yaml, line {i}", d) for i, d in enumerate(all_documents))
    assert len(state.channels[GOOD].subscribers) == 1, "the good ones are unharmed"
    return state


def only_problem(*documents: object) -> Problem:
    state = read(*documents)
    assert len(state.problems) == 1, state.problems
    return state.problems[0]


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    document = copy.deepcopy(document)
    del document[key]
    return document


def named(document: dict[str, Any], **metadata: object) -> dict[str, Any]:
    return {**document, "metadata": {**document["metadata"], **metadata}}


def listed(*entries: object) -> dict[str, Any]:
    return channel(subscribable={"subscribers": list(entries)})


@pytest.mark.parametrize(
    ("document", "told"),
    [
        # what it is
        (5, "document (f.yaml, line 1): the number 5; must be an object"),
        ("text", "document (f.yaml, line 1): the text 'text'; must be an object"),
        ([channel()], "document (f.yaml, line 1): a list; must be an object"),
        (
            without(channel(), "apiVersion"),
            "Channel shop/orders (f.yaml, line 1): apiVersion: empty; every document needs",
        ),
        (
            without(channel(), "kind"),
            "document shop/orders (f.yaml, line 1): kind: empty; every document needs apiVersion",
        ),
        (
            {**channel(), "kind": "Chanel"},
            "kind: the text 'Chanel'; must be Channel or Subscription (did you mean \"Channel\"?)",
        ),
        (
            {**channel(), "apiVersion": "messaging.knative.dev/v1"},
            "'messaging.knative.dev/v1'; only eventing.knative.dev/v1alpha1 is supported",
        ),
        (
            {**channel(), "apiVersion": "eventing.knative.dev/v1alpha2"},
            "'eventing.knative.dev/v1alpha2'; only eventing.knative.dev/v1alpha1 is supported",
        ),
        (
            {**channel(), "apiVersion": "eventing.knativ.dev/v1alpha1"},
            "only eventing.knative.dev/v1",
        ),
        ({"apiVersion": "v1", "kind": "List", "items": 5}, "items: must be a list of documents"),
        (
            {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "List"}]},
            "line 1, item 1): items: must be a list of documents, without lists among them",
        ),
        # its name
        (without(channel(), "metadata"), "Channel (f.yaml, line 1): metadata.name: is missing"),
        ({**channel(), "metadata": 5}, "metadata: the number 5; must be an object"),
        (named(channel(), name=5), "metadata.name: the number 5; must be a text"),
        (named(channel(), name=None, generateName="x-"), "generateName is not enough here"),
        (
            named(channel(), name="Orders"),
            "metadata.name: the text 'Orders'; must be small letters",
        ),
        (named(channel(), name="orders/v1"), "must be small letters, digits, '-' and '.'"),
        (named(channel(), name="orders..v1"), "must be small letters"),
        (named(channel(), name="orders.*"), "must be small letters"),
        (named(channel(), name=">"), "must be small letters"),
        (
            named(channel(), name=f"orders.{'a' * 64}"),
            "aaa...' has 64 characters; at most 63 between two dots",
        ),
        (named(channel(), name="a." * 127), "has 254 characters; at most 253"),
        (
            named(channel(), namespace="a" * 64),
            f"metadata.namespace: the text '{'a' * 60}...' has 64 characters; at most 63",
        ),
        (named(channel(), namespace="My.Shop"), "metadata.namespace: the text 'My.Shop'; must be"),
        (
            named(channel(), name="a." * 125 + "a", namespace="shop"),
            "metadata.name: with the namespace it must not pass 254 characters",
        ),
        # the channel
        (without(channel(), "spec"), "spec.provisioner: is missing, so the channel is ignored"),
        ({**channel(), "spec": 5}, "spec: the number 5; must be an object"),
        (channel(provisioner=None), "write provisioner: {name: natss}"),
        (channel(provisioner="natss"), "spec.provisioner: the text 'natss'; must be an object"),
        (channel(provisioner={"kind": "x"}), "spec.provisioner.name: is missing"),
        (channel(provisioner={"name": 5}), "spec.provisioner.name: the number 5; must be a text"),
        (channel(provisioner={"name": "nats"}), 'another provisioner (did you mean "natss"?)'),
        (channel(argument={}), 'spec.argument: unknown, ignored (did you mean "arguments"?)'),
        (channel(arguments={"retry": "x"}), "(f.yaml, line 1): spec.arguments.retry: the text 'x'"),
        ({**channel(), "sepc": {}}, 'sepc: unknown, ignored (did you mean "spec"?)'),
        (named(channel(), nmae="x"), 'metadata.nmae: unknown, ignored (did you mean "name"?)'),
        (channel(subscribable=[]), "spec.subscribable: a list; must be an object"),
        (channel(subscribable={"subscribers": {}}), "subscribers: an object; must be a list"),
        (channel(subscribable={"subscriber": []}), '(did you mean "subscribers"?)'),
        (
            {**channel(), "status": {"address": {"hostname": 5}}},
            "status.address.hostname: the number 5; must be a text; ignored",
        ),
        (
            {**channel(), "status": {"address": {"hostname": "a b"}}},
            "status.address.hostname: the text 'a b'; must be a DNS name; ignored",
        ),
        ({**channel(), "status": []}, "status: a list; must be an object; ignored"),
        # its list of subscribers
        (listed(5), "spec.subscribable.subscribers[0]: the number 5; must be an object"),
        (listed(None), "subscribers[0].ref: is missing, and uid too"),
        (listed({"subscriberURI": "http://a.b/"}), "subscribers[0].ref: is missing, and uid too"),
        (listed({"uid": "a"}), "subscribers[0]: has neither subscriberURI nor replyURI"),
        (
            listed({"uid": 5, "subscriberURI": "m"}),
            "subscribers[0].uid: the number 5; must be a te",
        ),
        (listed({"uid": "a b", "subscriberURI": "m"}), "uid: the text 'a b'; must be a UID"),
        (listed({"uid": "a\n", "ref": 5}), "subscribers[0].ref: the number 5; must be an object"),
        (listed({"ref": {"name": "A B"}, "subscriberURI": "m"}), "must be the name of a Subscrip"),
        (listed({"ref": {"name": "a", "namespace": "B.b"}}), "'B.b'; must be a namespace"),
        (listed({"uid": "a", "subscriberURI": 5}), "subscriberURI: the number 5; must be a text"),
        (
            listed({"uid": "a", "subscriberURI": "ftp://user:secret@a.b/"}),
            "'ftp://***@a.b/'; must begin with http:// or https://, not ftp://",
        ),
        (
            listed({"uid": "a", "replyURI": "http://"}),
            "[0].replyURI: the text 'http://'; must have",
        ),
        (
            listed({"uid": "a", "subscriberURI": "m"}, {"uid": "a", "subscriberURI": "n"}),
            "subscribers[1]: the text 'a' is there already; ignored",
        ),
        (
            listed({"uid": "a", "subscriberUri": "m", "replyURI": "r"}),
            'subscriberUri: unknown, ignored (did you mean "subscriberURI"?)',
        ),
    ],
)
def test_a_mistake_in_a_channel(document: object, told: str) -> None:
    problem = only_problem(document)
    assert told in str(problem)
    assert "f.yaml, line 1" in problem.origin


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (subscription(channel=None), "spec.channel.name: is missing"),
        (subscription(channel="orders"), "spec.channel: the text 'orders'; must be an object"),
        (
            subscription(channel={"name": "ordres"}),
            'no channel shop/ordres (did you mean "shop/ord',
        ),
        (subscription(channel={"name": "x"}), "spec.channel.name: there is no channel shop/x"),
        (
            subscription(channel={"name": "*"}),
            "spec.channel.name: the text '*'; must be a DNS name",
        ),
        (
            subscription(channel={"name": "orders", "namespace": "other"}),
            "spec.channel.namespace: the text 'other'; must be the Subscription's own namespace",
        ),
        (
            subscription(channel={"apiVersion": API_VERSION, "kind": "Chanel", "name": "orders"}),
            "spec.channel: the text 'eventing.knative.dev/v1alpha1 Chanel'; must be a Channel of",
        ),
        (subscription(subscriber=None), "spec: has neither a subscriber nor a reply"),
        (subscription(subscriber="mail"), "spec.subscriber: the text 'mail'; must be an object"),
        (subscription(subscriber={"uri": ""}), "spec: has neither a subscriber nor a reply"),
        (subscription(subscriber={"uri": 5}), "spec.subscriber.uri: the number 5; must be a text"),
        (
            subscription(subscriber={"uri": "http://"}),
            "spec.subscriber.uri: the text 'http://'; mu",
        ),
        (
            subscription(subscriber={"ref": {"kind": "Service", "name": "A"}}),
            "spec.subscriber.ref.name: the text 'A'; must be a DNS name",
        ),
        (
            subscription(subscriber={"ref": {"name": "mail"}}),
            "spec.subscriber.ref.kind: is missing",
        ),
        (
            subscription(
                subscriber={
                    "ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "m"}
                }
            ),
            "'serving.knative.dev/v1 Service' can only be resolved by a cluster; write its URL as",
        ),
        (
            subscription(subscriber={"ref": {"kind": "Service", "name": "m", "namespace": "n"}}),
            "spec.subscriber.ref.namespace: the text 'n'; must be the Subscription's own namespace",
        ),
        (
            subscription(subscriber={"dnsName": "mail", "uri": "http://a.b/"}),
            "spec.subscriber: has uri and dnsName, of which one is enough; uri is used",
        ),
        (
            subscription(reply={"channel": {"name": "gone"}}),
            "spec.reply.channel: there is no channel shop/gone with an address",
        ),
        (
            subscription(reply={"channel": {"name": "x", "kind": "KafkaChannel"}}),
            "spec.reply.channel: the text 'None KafkaChannel'; must be a Channel of",
        ),
        (
            subscription(reply={"chanel": {}}),
            'spec.reply.chanel: unknown, ignored (did you mean "ch',
        ),
        (
            subscription(subscribers={}),
            'spec.subscribers: unknown, ignored (did you mean "subscribe',
        ),
        (named(subscription(), uid=5), "metadata.uid: the number 5; must be a text"),
        (
            named(subscription(), name="Mail"),
            "metadata.name: the text 'Mail'; must be small letters",
        ),
    ],
)
def test_a_mistake_in_a_subscription(document: object, told: str) -> None:
    problem = only_problem(channel(), document)
    assert problem.resource.startswith("Subscription")
    assert problem.origin == "f.yaml, line 2"
    assert told in str(problem)


@pytest.mark.parametrize("length", [64, 70, 253])
class TestNamesThatKubernetesAllows:
    """Up to 253 characters without a dot; such a channel could have no host."""

    def test_a_channel_is_told_by_its_name(self, length: int) -> None:
        problem = only_problem(channel("a" * length))
        assert problem.resource == f"Channel shop/{'a' * length}"
        assert f"has {length} characters; at most 63 between two dots" in problem.message

    def test_one_of_another_provisioner_is_passed_over(self, length: int) -> None:
        before = read(channel())
        theirs = channel("a" * length, provisioner={"name": "kafka"})
        subscribed = subscription(channel={"name": "a" * length})
        state = desired_state([("", theirs), ("", subscribed)], previous=before)
        assert state == DesiredState({}), "nor does it keep what has gone"

    def test_a_subscriber_in_the_list_may_have_one(self, length: int) -> None:
        entry = {"uid": "u1", "ref": {"name": "a" * length}, "subscriberURI": "http://mail/"}
        state = read(listed(entry))
        assert state.problems == ()
        assert state.channels[ORDERS].subscribers[0].ref.name == "a" * length


def test_two_channels_of_one_name_the_first_is_used() -> None:
    state = read(channel(arguments={"retry": 1}), channel(arguments={"retry": 2}))
    assert state.channels[ORDERS].policy.retry == 1
    (problem,) = state.problems
    assert str(problem) == (
        "Channel shop/orders (f.yaml, line 2): metadata.name:"
        " is there already (f.yaml, line 1); this one is ignored"
    )


def test_two_subscriptions_of_one_name_the_first_is_used() -> None:
    problem = only_problem(channel(), subscription(), subscription(subscriber={"uri": "other"}))
    assert "is there already (f.yaml, line 2)" in problem.message


def test_two_subscriptions_of_one_uid_the_first_is_used() -> None:
    first, second = named(subscription(), uid="u1"), named(subscription("mail2"), uid="u1")
    state = read(channel(), first, second)
    assert [str(s.ref) for s in state.channels[ORDERS].subscribers] == ["shop/mail"]
    assert "metadata.uid: the text 'u1' is that of shop/mail already" in str(state.problems[0])


def test_a_subscription_to_a_channel_that_is_refused() -> None:
    state = read(channel(subscribable=5), subscription())
    assert "the document of channel shop/orders is refused" in str(state.problems[1])


def test_a_wrong_subscriber_leaves_its_neighbours() -> None:
    state = read(
        listed({"uid": "a", "subscriberURI": "m"}, {"uid": 5}, {"uid": "b", "replyURI": "n"})
    )
    assert [s.uid for s in state.channels[ORDERS].subscribers] == ["a", "b"]
    assert len(state.problems) == 1


def test_a_wrong_address_leaves_the_channel() -> None:
    state = read({**channel(), "status": {"address": {"hostname": "a b"}}})
    assert state.channels[ORDERS].hosts == ("orders.shop.channels.cluster.local",)


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        ({**channel()["spec"], "arguments": {f"ret{n}": n for n in range(50_000)}}, 0),
        ({**channel()["spec"], **{f"subs{n}": n for n in range(50_000)}}, 0),
        (listed(*[{"uri": "http://a.b/"}] * 30_000, {"uid": "u1", "replyURI": "mail"})["spec"], 1),
    ],
    ids=["arguments", "fields", "subscribers"],
)
def test_mistakes_without_end_hold_nobody_up(spec: dict[str, Any], kept: int) -> None:
    """The API takes 1.5 MiB; to look through it must not cost a session with NATS Streaming."""
    began = time.process_time()
    state = read({**channel(), "spec": spec})
    seconds = time.process_time() - began
    assert len(state.channels[ORDERS].subscribers) == kept
    assert len(state.problems) <= MOST_HINTS + MOST_REFUSALS + 2
    assert "more mistakes than are told" in str(state.problems[-1])
    assert seconds < 0.5, "of CPU; on a machine that is far slower than those that run clusters"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["natss", "orders", "shop", "mail", "http://a.b/", API_VERSION, "Channel"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(), inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "namespace", "uid", "ref", "kind", "uri", "subscribers"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)

WHOLE = [
    {**channel(), "status": {"address": {"hostname": "orders-x7k.shop.svc.cluster.local"}}},
    listed({"uid": "u1", "ref": {"name": "mail", "namespace": "shop"}, "subscriberURI": "mail"}),
    subscription(reply={"channel": {"name": "orders"}}),
    subscription(subscriber={"ref": {"kind": "Service", "apiVersion": "v1", "name": "mail"}}),
    {"apiVersion": "v1", "kind": "List", "items": [channel(), subscription()]},
]


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything in a document."""
    inner: Iterable[tuple[Any, object]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


PLACES = [(document, place) for document in WHOLE for place in places(document)]


@drawn
@given(st.sampled_from(PLACES), JSON)
def test_anything_anywhere_is_told_or_ignored(
    place: tuple[dict[str, Any], tuple[Any, ...]], value: object
) -> None:
    document, path = copy.deepcopy(place[0]), place[1]
    if not path:
        state = read(value)
    else:
        parent: Any = document
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
        state = read(document)
    for problem in state.problems:
        assert len(str(problem)) < 1000
        str(problem).encode()
