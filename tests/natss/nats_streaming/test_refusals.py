"""Each text of the server and the error that it means."""

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming import refusals


@pytest.mark.parametrize(
    ("text", "error", "retriable"),
    [
        ("stan: clientID already registered", ns.ClientIdInUse, True),
        (
            "stan: invalid clientID: only alphanumeric and `-` or `_` characters allowed",
            ns.InvalidClientId,
            False,
        ),
        ("stan: invalid connection request", ns.ConnectRefused, True),
        ("something new", ns.ConnectRefused, True),
    ],
)
def test_connect(text: str, error: type[ns.ConnectError], retriable: bool) -> None:
    result = refusals.connect_error(text)
    assert type(result) is error
    assert result.retriable is retriable
    assert text in str(result)


@pytest.mark.parametrize(
    ("text", "error", "retriable"),
    [
        ("stan: invalid publish request", ns.SessionLost, True),
        ("too many channels", ns.ChannelLimitReached, True),
        (
            'rejecting channel "a" because channel "A" alreay exists (different cases not allowed)',
            ns.ChannelNameConflict,
            False,
        ),
        ("stan: channel is being deleted", ns.ChannelBeingDeleted, True),
        ("node is not the leader", ns.PublishRefused, True),
        ("leadership lost while committing log", ns.PublishRefused, True),
        ("no space left on device", ns.PublishRefused, True),
    ],
)
def test_publish(text: str, error: type[ns.PublishError], retriable: bool) -> None:
    result = refusals.publish_error(text)
    assert type(result) is error
    assert result.retriable is retriable
    assert text in str(result)


@pytest.mark.parametrize(
    ("text", "error", "retriable"),
    [
        ("stan: unknown clientID", ns.SessionLost, True),
        ("can't find clientID: me", ns.SessionLost, True),
        ("stan: duplicate durable registration", ns.DuplicateDurable, True),
        ("too many subscriptions per channel", ns.SubscriptionLimitReached, True),
        ("too many channels", ns.ChannelLimitReached, True),
        ("stan: invalid subscription request", ns.InvalidSubscription, False),
        ("stan: invalid unsubscribe request", ns.InvalidSubscription, False),
        ("stan: invalid subscription", ns.UnknownSubscription, True),
        ("stan: unknown channel", ns.UnknownSubscription, True),
        ("stan: invalid ack wait time, should be >= 1s", ns.InvalidSubscription, False),
        ("stan: invalid MaxInflight, should be >= 1", ns.InvalidSubscription, False),
        ("stan: invalid start position", ns.InvalidSubscription, False),
        ("stan: invalid subject", ns.InvalidSubscription, False),
        (
            "stan: durable name of a durable queue subscriber can't contain the character ':'",
            ns.InvalidSubscription,
            False,
        ),
        ("stan: clientID missing", ns.InvalidSubscription, False),
        ("stan: channel is being deleted", ns.ChannelBeingDeleted, True),
        ('rejecting channel "a" because', ns.ChannelNameConflict, False),
        ("node is not the leader", ns.SubscribeRefused, True),
        ("driver: bad connection", ns.SubscribeRefused, True),
    ],
)
def test_subscription(text: str, error: type[ns.SubscribeError], retriable: bool) -> None:
    result = refusals.subscription_error(text)
    assert type(result) is error
    assert result.retriable is retriable
    assert text in str(result)


def test_every_error_has_one_base() -> None:
    for name in ns.__all__:
        value = getattr(ns, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, ns.NatsStreamingError)


@pytest.mark.parametrize(
    "error",
    [
        ns.NotConnected,
        ns.ConnectionClosed,
        ns.SessionLost,
        ns.ServerUnavailable,
        ns.NoResponders,
        ns.ChannelLimitReached,
    ],
)
def test_what_can_end_both_is_both(error: type[ns.NatsStreamingError]) -> None:
    """So that ``except PublishError`` around a publish misses nothing, nor the other one."""
    assert issubclass(error, ns.PublishError)
    assert issubclass(error, ns.SubscribeError)
