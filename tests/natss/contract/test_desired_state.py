"""Documents for kubectl, read into the desired state."""

import pytest
import yaml

from natss.contract.channel_id import ChannelId
from natss.contract.documents import Defaults, desired_state
from natss.contract.eventing import API_VERSION
from natss.contract.resources import (
    Channel,
    DeliveryPolicy,
    DesiredState,
    ResourceName,
    Subscriber,
)
from tests.support.channel_ids import channel_id

ORDERS = channel_id("shop", "orders")

CHANNEL = """\
apiVersion: eventing.knative.dev/v1alpha1
kind: Channel
metadata: {name: orders, namespace: shop}
spec:
  provisioner: {name: natss}
"""

SUBSCRIPTION = """\
apiVersion: eventing.knative.dev/v1alpha1
kind: Subscription
metadata: {name: mail, namespace: shop}
spec:
  channel: {apiVersion: eventing.knative.dev/v1alpha1, kind: Channel, name: orders}
  subscriber: {dnsName: "http://mail.shop:8080/in"}
  reply: {}
"""


def read(*texts: str, previous: DesiredState | None = None) -> DesiredState:
    documents = [
        (f"document {number}", document)
        for number, document in enumerate(yaml.safe_load_all("\n---\n".join(texts)), start=1)
    ]
    return desired_state(documents, Defaults(), previous or DesiredState({}))


def good(*texts: str) -> dict[ChannelId, Channel]:
    """Return the channels of documents, which must be without problems."""
    state = read(*texts)
    assert state.problems == ()
    return dict(state.channels)


def subscribed(*texts: str) -> tuple[Subscriber, ...]:
    """Return the subscribers of the only channel."""
    (channel,) = good(*texts).values()
    return channel.subscribers


def listing(*entries: str) -> str:
    """Return the channel with a list of subscribers as a controller writes it."""
    lines = [f"    - {entry}" for entry in entries]
    return "\n".join([CHANNEL.rstrip(), "  subscribable:", "    subscribers:", *lines]) + "\n"


class TestChannels:
    def test_nothing_asks_for_nothing(self) -> None:
        assert desired_state([]) == DesiredState({})

    def test_a_channel(self) -> None:
        assert good(CHANNEL) == {
            ORDERS: Channel(ORDERS, ("orders.shop.channels.cluster.local",), (), DeliveryPolicy())
        }

    @pytest.mark.parametrize(
        "provisioner",
        [
            "{name: natss}",
            "{name: natss, kind: ClusterChannelProvisioner}",
            f"{{name: natss, kind: ClusterChannelProvisioner, apiVersion: {API_VERSION}}}",
            "{name: natss, namespace: ''}",
        ],
    )
    def test_ours_by_its_provisioner(self, provisioner: str) -> None:
        assert ORDERS in good(CHANNEL.replace("{name: natss}", provisioner))

    @pytest.mark.parametrize(
        "provisioner",
        [
            "{name: in-memory-channel}",
            "{name: kafka, kind: ClusterChannelProvisioner}",
            "{name: natss, namespace: shop}",
            "{name: natss, kind: ChannelProvisioner}",
        ],
    )
    def test_of_another_provisioner_is_passed_over(self, provisioner: str) -> None:
        assert good(CHANNEL.replace("{name: natss}", provisioner), SUBSCRIPTION) == {}

    @pytest.mark.parametrize(
        "provisioner",
        [
            "  provisioner: {name: in-memory-channel}",
            "  provisioner: {name: natss, namespace: shop}",
            "  provisioner: {name: nats}",
            "  provisioner: {}",
            "  provisioner: natss",
            "  arguments: {}",
        ],
    )
    def test_what_the_dispatcher_has_its_finalizer_on_stays_ours(self, provisioner: str) -> None:
        held = CHANNEL.replace(
            "namespace: shop}", "namespace: shop, finalizers: [natss-dispatcher]}"
        )
        changed = held.replace("  provisioner: {name: natss}", provisioner)
        assert ORDERS not in read(changed.replace("[natss-dispatcher]", "[others]")).channels
        state = read(changed)
        assert set(state.channels) == {ORDERS}
        (problem,) = state.problems
        assert problem.path == "spec.provisioner"
        assert "write name: natss again" in problem.message
        assert problem.refused
        assert good(held)[ORDERS] == state.channels[ORDERS]

    def test_other_resources_are_passed_over(self) -> None:
        others = [
            "{apiVersion: v1, kind: Service, metadata: {name: mail}}",
            "{apiVersion: apps/v1, kind: Deployment, spec: 5}",
            "{apiVersion: eventing.knative.dev/v1alpha1, kind: ClusterChannelProvisioner}",
            "{apiVersion: eventing.knative.dev/v1alpha1, kind: Broker}",
            "{apiVersion: operators.coreos.com/v1alpha1, kind: Subscription}",
            "",
        ]
        assert set(good(*others, CHANNEL, *others)) == {ORDERS}

    def test_without_namespace_it_is_in_default_as_for_kubectl(self) -> None:
        assert set(good(CHANNEL.replace(", namespace: shop", ""))) == {
            channel_id("default", "orders")
        }

    def test_hosts_are_its_address_and_its_own_name(self) -> None:
        status = "status: {address: {hostname: Orders-Channel-x7k.shop.svc.cluster.local}}\n"
        assert good(CHANNEL + status)[ORDERS].hosts == (
            "orders-channel-x7k.shop.svc.cluster.local",
            "orders.shop.channels.cluster.local",
        )

    @pytest.mark.parametrize(
        "hostname",
        [
            "bills-channel-x7k.bank.svc.cluster.local",
            "bills-channel-x7k.bank.svc",
            "Bills.Bank.Channels.cluster.local",
            "pod.orders.bank.svc.cluster.local",
            "orders.shop.bank.channels.cluster.local",
        ],
    )
    def test_a_host_of_another_namespace_is_not_its_own(self, hostname: str) -> None:
        """Otherwise writers of a status could get the events of others, or have them refused."""
        state = read(CHANNEL + f"status: {{address: {{hostname: {hostname}}}}}\n")
        assert state.channels[ORDERS].hosts == ("orders.shop.channels.cluster.local",)
        (problem,) = state.problems
        assert "is a name of another namespace; ignored" in str(problem)

    @pytest.mark.parametrize("hostname", ["orders.example", "svc", "channels", "a.shop.svc"])
    def test_any_other_host_may_be_its_own(self, hostname: str) -> None:
        status = f"status: {{address: {{hostname: {hostname}}}}}\n"
        assert hostname in good(CHANNEL + status)[ORDERS].hosts

    def test_an_address_that_is_its_own_name_counts_once(self) -> None:
        status = "status: {address: {hostname: orders.shop.channels.cluster.local}}\n"
        assert good(CHANNEL + status)[ORDERS].hosts == ("orders.shop.channels.cluster.local",)

    def test_arguments_make_the_policy(self) -> None:
        channel = good(CHANNEL + "  arguments: {retry: 7, timeout: PT5S}\n")[ORDERS]
        assert channel.policy == DeliveryPolicy(retry=7, timeout=5)

    def test_for_a_wrong_argument_holds_what_held_before(self) -> None:
        before = read(CHANNEL + "  arguments: {start: 1h ago, retry: 7}\n")
        wrong = CHANNEL + "  arguments: {start: 2h, retry: 7}\n"
        policy = read(wrong, previous=before).channels[ORDERS].policy
        assert policy == before.channels[ORDERS].policy
        again = read(wrong, previous=read(wrong, previous=before))
        assert again.channels[ORDERS].policy == policy

    def test_what_the_api_server_adds_is_no_mistake(self) -> None:
        written = CHANNEL.replace(
            "{name: orders, namespace: shop}",
            "{name: orders, namespace: shop, uid: u1, resourceVersion: '5', generation: 2,"
            " creationTimestamp: '2024-05-01T12:00:00Z', labels: {a: b}, annotations: {c: d},"
            " selfLink: /x, finalizers: [natss-dispatcher], managedFields: []}",
        )
        status = "status: {conditions: [], anything: 5, address: null}\n"
        assert set(good(written + "  generation: 3\n" + status)) == {ORDERS}

    def test_one_that_is_being_deleted_is_gone(self) -> None:
        deleted = CHANNEL.replace("{name: orders,", "{name: orders, deletionTimestamp: 'now',")
        assert read(deleted, previous=read(CHANNEL)) == DesiredState({})

    def test_a_null_counts_as_absent(self) -> None:
        nulls = "  arguments: null\n  subscribable: {subscribers: null}\nstatus: null\n"
        assert set(good(CHANNEL + nulls)) == {ORDERS}

    @pytest.mark.parametrize("kind", ["kind: List\napiVersion: v1", "kind: List"])
    def test_a_list_as_kubectl_prints_it(self, kind: str) -> None:
        items = [yaml.safe_load(CHANNEL), yaml.safe_load(SUBSCRIPTION)]
        (channel,) = good(f"{kind}\n{yaml.safe_dump({'items': items})}").values()
        assert len(channel.subscribers) == 1

    def test_a_list_of_channels_as_the_api_server_gives_it(self) -> None:
        item = yaml.safe_load(CHANNEL)
        del item["apiVersion"], item["kind"]
        head = "apiVersion: eventing.knative.dev/v1alpha1\nkind: ChannelList\nmetadata: {}\n"
        assert set(good(head + yaml.safe_dump({"items": [item]}))) == {ORDERS}


class TestListedSubscribers:
    def test_as_v06_writes_them(self) -> None:
        entry = (
            "{uid: 9c1f, ref: {name: mail, namespace: shop},"
            " subscriberURI: 'http://mail.shop/', replyURI: 'http://done.shop/'}"
        )
        (subscriber,) = subscribed(listing(entry))
        assert subscriber == Subscriber(
            ResourceName("shop", "mail"), "9c1f", "http://mail.shop/", "http://done.shop/"
        )
        assert subscriber.durable == "9c1f"

    def test_as_v05_writes_them_without_uid(self) -> None:
        (subscriber,) = subscribed(
            listing("{ref: {name: mail, namespace: shop}, subscriberURI: 'http://mail.shop/'}")
        )
        assert subscriber.durable == "mail.shop"

    def test_a_ref_without_namespace_is_in_that_of_the_channel(self) -> None:
        (subscriber,) = subscribed(listing("{ref: {name: mail}, subscriberURI: 'http://m.s/'}"))
        assert subscriber.durable == "mail.shop"

    def test_without_ref_but_with_uid(self) -> None:
        (subscriber,) = subscribed(listing("{uid: 9c1f, replyURI: done}"))
        assert subscriber == Subscriber(
            ResourceName("shop", "9c1f"), "9c1f", None, "http://done.shop.svc.cluster.local/"
        )

    def test_uris_are_completed(self) -> None:
        first, second = subscribed(
            listing("{uid: a, subscriberURI: 'mail:8080/in'}", "{uid: b, subscriberURI: m.other}")
        )
        assert first.subscriber_uri == "http://mail.shop.svc.cluster.local:8080/in"
        assert second.subscriber_uri == "http://m.other/"

    def test_two_with_one_uri_are_two(self) -> None:
        entries = [
            "{uid: a, subscriberURI: 'http://m.s/'}",
            "{uid: b, subscriberURI: 'http://m.s/'}",
        ]
        assert len(subscribed(listing(*entries))) == 2


def with_subscriber(subscriber: str) -> str:
    return SUBSCRIPTION.replace('{dnsName: "http://mail.shop:8080/in"}', subscriber)


class TestSubscriptions:
    def test_as_kyma_writes_them(self) -> None:
        assert subscribed(CHANNEL, SUBSCRIPTION) == (
            Subscriber(ResourceName("shop", "mail"), None, "http://mail.shop:8080/in", None),
        )

    def test_before_the_channel(self) -> None:
        assert len(subscribed(SUBSCRIPTION, CHANNEL)) == 1

    def test_its_uid_names_the_durable(self) -> None:
        (subscriber,) = subscribed(
            CHANNEL, SUBSCRIPTION.replace("{name: mail", "{uid: 9c1f, name: mail")
        )
        assert subscriber.durable == "9c1f"

    @pytest.mark.parametrize(
        ("subscriber", "uri"),
        [
            ("{uri: 'https://mail.example.com/in?x=1'}", "https://mail.example.com/in?x=1"),
            ("{dnsName: mail.other}", "http://mail.other/"),
            ("{dnsName: mail}", "http://mail.shop.svc.cluster.local/"),
            (
                "{ref: {apiVersion: v1, kind: Service, name: mail}}",
                "http://mail.shop.svc.cluster.local/",
            ),
            (
                "{ref: {apiVersion: eventing.knative.dev/v1alpha1, kind: Channel, name: orders}}",
                "http://orders.shop.channels.cluster.local/",
            ),
        ],
    )
    def test_subscriber(self, subscriber: str, uri: str) -> None:
        (read_subscriber,) = subscribed(CHANNEL, with_subscriber(subscriber))
        assert read_subscriber.subscriber_uri == uri

    def test_reply_goes_to_the_address_of_the_channel(self) -> None:
        done = CHANNEL.replace("orders", "done") + "status: {address: {hostname: d.shop.svc.x}}\n"
        reply = SUBSCRIPTION.replace(
            "reply: {}",
            f"reply: {{channel: {{apiVersion: {API_VERSION}, kind: Channel, name: done}}}}",
        )
        assert good(CHANNEL, done, reply)[ORDERS].subscribers[0].reply_uri == "http://d.shop.svc.x/"

    def test_reply_to_a_channel_of_another_provisioner_with_an_address(self) -> None:
        done = CHANNEL.replace("orders", "done").replace("natss", "kafka")
        done += "status: {address: {hostname: d.shop.svc.x}}\n"
        reply = SUBSCRIPTION.replace("reply: {}", "reply: {channel: {name: done}}")
        assert good(CHANNEL, done, reply)[ORDERS].subscribers[0].reply_uri == "http://d.shop.svc.x/"

    def test_without_subscriber_the_event_itself_goes_to_the_reply(self) -> None:
        text = with_subscriber("{}").replace("reply: {}", "reply: {channel: {name: orders}}")
        (subscriber,) = subscribed(CHANNEL, text)
        assert subscriber.subscriber_uri is None
        assert subscriber.reply_uri == "http://orders.shop.channels.cluster.local/"

    def test_for_another_kind_of_channel_it_is_passed_over(self) -> None:
        kafka = SUBSCRIPTION.replace(
            "channel: {apiVersion: eventing.knative.dev/v1alpha1, kind: Channel, name: orders}",
            "channel: {apiVersion: messaging.knative.dev/v1alpha1, kind: KafkaChannel, name: x}",
        )
        assert subscribed(CHANNEL, kafka) == ()

    def test_one_that_is_being_deleted_is_gone(self) -> None:
        deleted = SUBSCRIPTION.replace("{name: mail,", "{name: mail, deletionTimestamp: 'now',")
        assert subscribed(CHANNEL, deleted) == ()


class TestSubscriberInBothPlaces:
    ENTRY = (
        "{uid: 9c1f, ref: {name: mail, namespace: shop}, subscriberURI: 'http://mail.shop:8080/in'}"
    )
    MAIL = ResourceName("shop", "mail")

    def test_counts_once_and_keeps_its_durable(self) -> None:
        assert subscribed(listing(self.ENTRY), SUBSCRIPTION) == (
            Subscriber(self.MAIL, "9c1f", "http://mail.shop:8080/in"),
        )

    def test_with_the_same_uid(self) -> None:
        text = SUBSCRIPTION.replace("{name: mail,", "{uid: 9c1f, name: mail,")
        assert len(subscribed(listing(self.ENTRY), text)) == 1

    def test_a_list_of_v05_names_the_durable_without_uid(self) -> None:
        entry = self.ENTRY.replace("uid: 9c1f, ", "")
        text = SUBSCRIPTION.replace("{name: mail,", "{uid: 9c1f, name: mail,")
        (subscriber,) = subscribed(listing(entry), text)
        assert subscriber.durable == "mail.shop"

    def test_a_list_without_ref_is_matched_by_uid(self) -> None:
        entry = self.ENTRY.replace("ref: {name: mail, namespace: shop}, ", "")
        text = SUBSCRIPTION.replace("{name: mail,", "{uid: 9c1f, name: mail,")
        assert [s.ref for s in subscribed(listing(entry), text)] == [self.MAIL]

    def test_another_uid_in_the_list_is_stale(self) -> None:
        text = SUBSCRIPTION.replace("{name: mail,", "{uid: new1, name: mail,")
        state = read(listing(self.ENTRY), text)
        assert [s.durable for s in state.channels[ORDERS].subscribers] == ["new1"]
        assert "replaces the text '9c1f'" in str(state.problems[0])

    def test_the_subscription_says_where_events_go(self) -> None:
        state = read(listing(self.ENTRY.replace("8080", "9090")), SUBSCRIPTION)
        (subscriber,) = state.channels[ORDERS].subscribers
        assert (subscriber.uid, subscriber.subscriber_uri) == ("9c1f", "http://mail.shop:8080/in")
        assert "differs from the channel's list" in str(state.problems[0])


class TestWhatCannotBeReadStaysAsItWas:
    BEFORE = listing(
        "{uid: a, ref: {name: first}, subscriberURI: 'http://a.b/'}",
        "{uid: b, ref: {name: second}, subscriberURI: 'http://b.b/'}",
    )

    def test_a_channel_with_a_mistake(self) -> None:
        before = read(self.BEFORE)
        after = read(CHANNEL + "  subscribable: 5\n", previous=before)
        assert after.channels == before.channels
        assert "stays as it was" in str(after.problems[-1])

    def test_a_channel_whose_kind_is_mistyped(self) -> None:
        before = read(CHANNEL)
        assert (
            read(CHANNEL.replace("Channel", "Chanel"), previous=before).channels == before.channels
        )

    def test_a_channel_without_provisioner(self) -> None:
        before = read(CHANNEL)
        after = read(CHANNEL.replace("provisioner:", "provisoner:"), previous=before)
        assert after.channels == before.channels

    def test_everything_while_a_channel_has_lost_its_name(self) -> None:
        before = read(CHANNEL)
        after = read(CHANNEL.replace("{name: orders", "{nmae: orders"), previous=before)
        assert after.channels == before.channels

    def test_subscribers_beside_one_that_cannot_be_read(self) -> None:
        after = read(
            listing("{uid: b, ref: {name: second}, subscriberURI: 'http://new.b/'}", "{uid: 5}"),
            previous=read(self.BEFORE),
        )
        uris = {s.durable: s.subscriber_uri for s in after.channels[ORDERS].subscribers}
        assert uris == {"a": "http://a.b/", "b": "http://new.b/"}

    def test_but_not_what_is_there_again_under_another_uid(self) -> None:
        after = read(
            listing("{uid: c, ref: {name: first}, subscriberURI: 'http://a.b/'}", "{uid: 5}"),
            previous=read(self.BEFORE),
        )
        assert {s.durable for s in after.channels[ORDERS].subscribers} == {"c", "b"}

    def test_a_subscription_with_a_mistake(self) -> None:
        before = read(CHANNEL, SUBSCRIPTION)
        after = read(CHANNEL, with_subscriber("{uri: 5}"), previous=before)
        assert after.channels == before.channels

    @pytest.mark.parametrize(
        "documents",
        [
            (CHANNEL + "  subscribable: 5\n",),
            (CHANNEL.replace("provisioner:", "provisoner:"),),
            (CHANNEL.replace("Channel", "Chanel"),),
            (CHANNEL.replace("{name: orders", "{nmae: orders"),),
            (listing("{uid: 5}"),),
            (CHANNEL, with_subscriber("{uri: 5}")),
            (CHANNEL, SUBSCRIPTION.replace("Subscription", "Subscripton")),
        ],
    )
    def test_who_may_be_meant_is_told_if_nothing_was_there_before(
        self, documents: tuple[str, ...]
    ) -> None:
        state = read(*documents)
        assert state.may_want(ORDERS, ResourceName("shop", "mail"))
        other = channel_id("shop", "other")
        ref = ResourceName("shop", "other")
        assert state.may_want(other, ref) == state.unread.anything

    def test_a_subscription_to_a_channel_that_is_gone_wants_nothing(self) -> None:
        assert not read(SUBSCRIPTION).may_want(ORDERS, ResourceName("shop", "mail"))

    def test_what_is_gone_is_gone(self) -> None:
        assert read(CHANNEL, previous=read(CHANNEL, SUBSCRIPTION)).channels == good(CHANNEL)
        assert read(previous=read(CHANNEL)) == DesiredState({})


def test_the_cluster_domain_is_a_setting() -> None:
    defaults = Defaults(cluster_domain="example.org")
    documents = [
        ("", yaml.safe_load(CHANNEL)),
        ("", yaml.safe_load(with_subscriber("{uri: mail}"))),
    ]
    channel = desired_state(documents, defaults).channels[ORDERS]
    assert channel.hosts == ("orders.shop.channels.example.org",)
    assert channel.subscribers[0].subscriber_uri == "http://mail.shop.svc.example.org/"
