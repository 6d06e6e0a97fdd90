"""Channels of one name and of different kinds are told apart everywhere."""

import pytest

from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import (
    APIS,
    channel_of_subject,
    kind_called,
    kind_marked,
    kind_of,
    kinds,
)
from natss.contract.documents import desired_state
from natss.contract.eventing import CHANNEL
from natss.contract.labels import channel_labels, object_labels, subject_labels
from tests.support.channel_ids import channel_id
from tests.support.other_kind import OTHER, document, known, other_id

ONE, TWO = channel_id("shop", "orders"), other_id("shop", "orders")


def test_a_kind_is_part_of_what_identifies_a_channel() -> None:
    assert ONE != TWO
    assert len({ONE, TWO, channel_id("shop", "orders")}) == 2
    assert ONE < TWO, "kinds can be put in an order"
    assert sorted([TWO, channel_id("shop", "b"), channel_id("a", "z")]) == [
        channel_id("a", "z"), channel_id("shop", "b"), TWO,
    ]  # fmt: skip


def test_people_read_what_they_read_before_there_were_kinds() -> None:
    assert (str(ONE), ONE.title) == ("shop/orders", "Channel shop/orders")
    assert str(TWO) == TWO.title == "OtherChannel shop/orders"
    assert channel_labels(ONE) == {"namespace": "shop", "channel": "orders"}
    assert channel_labels(TWO) == {**channel_labels(ONE), "kind": "OtherChannel"}


def test_names_are_those_of_the_kind() -> None:
    assert ONE.subject() == "orders.shop"
    assert ONE.subject("e1") == "orders.shop._e1"
    assert TWO.subject() == "_other.orders.shop"
    assert ONE.host("cluster.local") == "orders.shop.channels.cluster.local"
    assert TWO.host("cluster.local") == "orders.shop.others.cluster.local"
    assert TWO.service == f"other-{ONE.service}"


def test_no_two_kinds_have_a_name_in_common() -> None:
    for names in (
        [kind.mark for kind in kinds()],
        [kind.title for kind in kinds()],
        [(kind.group, kind.plural) for kind in kinds()],
        [api.kind for api in APIS],
    ):
        assert len(set(names)) == len(names)


def test_a_kind_is_found_by_what_is_written_of_it() -> None:
    with known(OTHER):
        assert kind_of("messaging.example.com/v1", "OtherChannel") is OTHER
        assert kind_of("messaging.example.com/v2", "OtherChannel") is None
        assert kind_called("OtherChannel") is OTHER
        assert kind_marked("OtherChannel") is OTHER
        assert object_labels("OtherChannel", "shop/orders") == channel_labels(TWO)
    assert kind_of("eventing.knative.dev/v1alpha1", "Channel") is CHANNEL
    assert kind_called("Channel") is kind_marked("") is CHANNEL
    assert kind_called("OtherChannel") is None
    with pytest.raises(ValueError, match="OtherChannel"):
        kind_marked("OtherChannel")


@pytest.mark.parametrize("channel", [ONE, TWO, channel_id("shop", "a.b"), other_id("shop", "a.b")])
def test_a_subject_tells_which_channel_it_is_of(channel: ChannelId) -> None:
    with known(OTHER):
        assert channel_of_subject(channel.subject()) == channel
        assert subject_labels(channel.subject()) == channel_labels(channel)


class TestDesiredState:
    def test_both_are_wanted_each_with_its_own_subscribers(self) -> None:
        with known(OTHER):
            state = desired_state([("", document(CHANNEL)), ("", document(OTHER))])
        assert state.problems == ()
        assert {name: channel.subject for name, channel in state.channels.items()} == {
            ONE: "orders.shop",
            TWO: "_other.orders.shop",
        }
        assert [s.uid for s in state.channels[ONE].subscribers] == ["u-Channel"]
        assert [s.uid for s in state.channels[TWO].subscribers] == ["u-OtherChannel"]
        assert [s.durable for s in state.channels[ONE].subscribers] == ["u-Channel"]
        assert [s.durable for s in state.channels[TWO].subscribers] == ["u-OtherChannel.shop"]

    def test_one_that_cannot_be_read_harms_none_of_another_kind(self) -> None:
        broken = document(OTHER)
        broken["spec"]["subscribable"] = 7
        with known(OTHER):
            before = desired_state([("", document(CHANNEL)), ("", document(OTHER))])
            state = desired_state([("", broken)], previous=before)
            assert set(state.channels) == {TWO}, "the other one is gone"
            assert state.channels[TWO] == before.channels[TWO], "this one stays as it was"
            assert state.unread.channels == {TWO}
        (kept,) = [each for each in state.problems if "stays" in each.message]
        assert kept.resource == "OtherChannel shop/orders"

    def test_a_subscription_is_for_the_kind_that_it_names(self) -> None:
        subscription = {
            "apiVersion": CHANNEL.api_version,
            "kind": "Subscription",
            "metadata": {"name": "mail", "namespace": "shop", "uid": "u9"},
            "spec": {
                "channel": {"kind": "Channel", "name": "orders"},
                "subscriber": {"uri": "http://mail/"},
            },
        }
        with known(OTHER):
            documents = (document(OTHER), document(CHANNEL), subscription)
            state = desired_state([("", each) for each in documents])
        assert [s.uid for s in state.channels[ONE].subscribers] == ["u-Channel", "u9"]
        assert [s.uid for s in state.channels[TWO].subscribers] == ["u-OtherChannel"]

    def test_of_a_kind_that_is_not_known_nothing_is_read(self) -> None:
        assert desired_state([("", document(OTHER))]).channels == {}
