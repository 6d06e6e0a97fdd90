"""A Host header means one channel, none, or is refused; nothing else depends on it."""

import pytest

from dispatcher.ingress.routing import (
    MAX_HOST_BYTES,
    HostConflict,
    InvalidHost,
    Route,
    Router,
    RoutingTable,
    UnknownHost,
)
from dispatcher.runtime.fair_share import FairShares, never_busy
from dispatcher.runtime.metrics import Metrics
from natss.contract.resources import Channel
from tests.support.channel_ids import channel_id
from tests.support.other_kind import other_id

ORDERS = Channel(
    channel_id("shop", "orders"),
    ("orders-channel-x7.shop.svc.cluster.local", "orders.shop.channels.cluster.local"),
)


def channel(name: str, *hosts: str) -> Channel:
    return Channel(channel_id("default", name), hosts)


def channels(*wanted: Channel) -> Router:
    return Router(RoutingTable.build(wanted, Metrics().channel))


@pytest.mark.parametrize(
    "host",
    [
        b"orders.shop.channels.cluster.local",
        b"orders-channel-x7.shop.svc.cluster.local",
        b"orders.shop.channels.cluster.local:80",
        b"orders.shop.channels.cluster.local:31380",
        b"orders.shop.channels.cluster.local:",
        b"ORDERS.Shop.Channels.cluster.LOCAL:8080",
        b"orders.shop.channels.cluster.local.",
        b"Orders.shop.channels.cluster.local.:80",
    ],
)
def test_a_channel_is_found_by_each_spelling_of_its_hosts(host: bytes) -> None:
    known = channels(ORDERS)
    first = known.lookup(host)
    assert isinstance(first, Route)
    assert first.channel is ORDERS
    assert first.subject == "orders.shop"
    assert known.lookup(host) is first


def test_all_hosts_of_a_channel_count_into_the_same_metrics() -> None:
    metrics = Metrics()
    table = RoutingTable.build([ORDERS], metrics.channel)
    routes = list(table.hosts.values())
    assert len(routes) == 2
    for route in routes:
        assert isinstance(route, Route)
        assert route.metrics is metrics.channel(ORDERS.name)


def test_an_ipv6_address_can_be_a_host() -> None:
    known = channels(channel("six", "[fd00::1]"))
    assert isinstance(known.lookup(b"[FD00::1]:8080"), Route)


@pytest.mark.parametrize("host", [b"shop.channels.cluster.local", b"x", b"127.0.0.1:8080"])
def test_an_unknown_host_is_told_by_name(host: bytes) -> None:
    found = channels(ORDERS).lookup(host)
    assert isinstance(found, UnknownHost)
    assert found.host == host.decode().partition(":")[0]
    assert found.host in str(found)


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        (b"", "empty"),
        (b"a" * (MAX_HOST_BYTES + 1), "301 bytes"),
        (b"x" * 10_240, "10240 bytes"),
        (b"a b", "not a host name"),
        (b"a/b", "not a host name"),
        (b"user@a", "not a host name"),
        (b"a:80:80", "not a host name"),
        (b"a:port", "not a host name"),
        (b"a:123456", "not a host name"),
        (b"\xc3\xa4.test", "not a host name"),
        (b"a\n", "not a host name"),
        (b"[::1", "not a host name"),
        (b"a,b", "not a host name"),
    ],
)
def test_what_is_no_host_is_not_looked_up(host: bytes, reason: str) -> None:
    found = channels(ORDERS).lookup(host)
    assert isinstance(found, InvalidHost)
    assert reason in str(found)
    assert str(found).isascii()


def test_a_host_of_two_channels_is_refused_and_all_others_are_served() -> None:
    table = RoutingTable.build(
        [channel("b", "shared.test", "b.test"), ORDERS, channel("a", "a.test", "SHARED.test.")],
        Metrics().channel,
    )
    known = Router(table)
    found = known.lookup(b"shared.test:80")
    assert isinstance(found, HostConflict)
    assert str(found) == (
        "the host shared.test is claimed by the channels default/a and default/b; "
        "only one may have it"
    )
    for host in (b"a.test", b"b.test", b"orders.shop.channels.cluster.local"):
        assert isinstance(known.lookup(host), Route)


def test_both_channels_of_a_conflict_are_told() -> None:
    table = RoutingTable.build(
        [channel("a", "shared.test"), channel("b", "shared.test"), ORDERS], Metrics().channel
    )

    def told(name: str, other: str) -> str:
        return (
            f"Channel default/{name}: status.address.hostname: the host shared.test is claimed by "
            f"the channel default/{other} too; events for it are refused until only one channel "
            "has it"
        )

    assert [str(problem) for problem in table.problems] == [told("a", "b"), told("b", "a")]


def test_a_channel_may_name_a_host_twice() -> None:
    table = RoutingTable.build([channel("a", "a.test", "A.test")], Metrics().channel)
    assert table.problems == ()
    assert isinstance(table.hosts["a.test"], Route)


def test_a_new_table_holds_from_the_next_lookup_on() -> None:
    known = channels(channel("a", "a.test"), channel("b", "b.test"))
    assert isinstance(known.lookup(b"A.test"), Route)
    moved = channel("c", "a.test")
    known.swap(RoutingTable.build([moved], Metrics().channel))
    found = known.lookup(b"A.test")
    assert isinstance(found, Route)
    assert found.channel is moved
    assert isinstance(known.lookup(b"b.test"), UnknownHost)


def test_the_memory_of_spellings_is_bounded() -> None:
    known = channels(channel("a", "a.test"))
    for port in range(20_000):
        assert isinstance(known.lookup(b"a.test:%d" % port), Route)
    assert len(known._spellings) <= 4096


def test_unknown_hosts_are_not_remembered() -> None:
    known = channels()
    for number in range(100):
        known.lookup(b"h%d.test" % number)
    assert known._spellings == {}


def test_two_kinds_of_channels_of_one_name_have_each_their_route() -> None:
    metrics, shares = Metrics(), FairShares(never_busy)
    other = Channel(other_id("shop", "orders"), ("orders.shop.others.cluster.local",))
    known = Router(RoutingTable.build([ORDERS, other], metrics.channel, shares))
    one = known.lookup(b"orders.shop.channels.cluster.local")
    two = known.lookup(b"orders.shop.others.cluster.local")
    assert isinstance(one, Route)
    assert isinstance(two, Route)
    assert (one.subject, two.subject) == ("orders.shop", "_other.orders.shop")
    assert one.metrics is not two.metrics
    assert one.lane is not two.lane


def test_a_host_that_two_kinds_claim_is_told_with_the_kinds() -> None:
    host = "orders.shop.channels.cluster.local"
    table = RoutingTable.build(
        [ORDERS, Channel(other_id("shop", "orders"), (host,))], Metrics().channel
    )
    assert isinstance(table.hosts[host], HostConflict)
    assert {problem.resource for problem in table.problems} == {
        "Channel shop/orders",
        "OtherChannel shop/orders",
    }
    one, two = table.problems
    assert "claimed by the channel OtherChannel shop/orders too" in one.message
    assert "claimed by the channel shop/orders too" in two.message
