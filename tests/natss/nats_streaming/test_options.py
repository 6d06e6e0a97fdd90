"""Options: what they refuse, and what they never show."""

import time
from pathlib import Path
from typing import Any

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming import ConnectionOptions, NatsOptions, StartAt, SubscriptionOptions
from natss.nats_streaming.options import parse_server


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        ("nats://h", "h", None),
        ("nats://h:1", "h", 1),
        ("tls://h:1", "h", 1),
        ("h:1", "h", 1),
        ("h", "h", None),
        ("nats://user:p%40ss@h:1", "h", 1),
        ("nats://[::1]:1", "::1", 1),
    ],
)
def test_server(server: str, host: str, port: int | None) -> None:
    url = parse_server(server)
    assert (url.hostname, url.port) == (host, port)


@pytest.mark.parametrize(
    "server",
    ["", "http://h", "ws://h", "nats://", "nats://u:secret@", "nats://h:secret", "nats://[::1"],
)
def test_unusable_server(server: str) -> None:
    with pytest.raises(ns.InvalidOptions) as raised:
        NatsOptions(servers=(server,))
    assert "u:" not in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"servers": ()},
        {"connect_timeout": 0},
        {"reconnect_wait": -1},
        {"ping_interval": 0},
        {"user": "u"},
        {"password": "p"},
        {"user": "u", "password": "p", "token": "t"},
        {"token": "t", "nkey_seed_file": Path("x")},
        {"credentials_file": Path("x"), "nkey_seed_file": Path("y")},
    ],
    ids=repr,
)
def test_wrong_nats_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(ns.InvalidOptions):
        NatsOptions(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cluster_id": ""},
        {"request_timeout": 0},
        {"publish_timeout": -1},
        {"max_publishes": 0},
        {"max_publish_bytes": 0},
        {"ping_interval": 0},
        {"probe_interval": 0},
        {"restore_concurrency": 0},
    ],
    ids=repr,
)
def test_wrong_connection_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(ns.InvalidOptions):
        ConnectionOptions(**{"cluster_id": "c", "client_id": "i", **wrong})
    with pytest.raises(ns.InvalidClientId):
        ConnectionOptions(cluster_id="c", client_id="a.b")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_inflight": 0},
        {"max_inflight": 2**31},
        {"ack_wait": 0},
        {"ack_wait": 1.5},
        {"durable": ""},
        {"queue": ""},
        {"durable": "a:b", "queue": "q"},
    ],
    ids=repr,
)
def test_wrong_subscription_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(ns.InvalidOptions):
        SubscriptionOptions(**wrong)


def test_secrets_are_not_shown() -> None:
    nats = NatsOptions(servers=("nats://user:secret1@h",))
    for options in (
        nats,
        NatsOptions(user="u", password="secret2"),
        NatsOptions(token="secret3"),
        ConnectionOptions(cluster_id="c", client_id="i", nats=nats),
    ):
        assert "secret" not in repr(options)


def test_start_time_is_told_as_how_long_ago() -> None:
    assert StartAt.new_only().delta_nanoseconds() == 0
    assert StartAt.time_ago(1.5).delta_nanoseconds() == 1_500_000_000
    delta = StartAt.time(time.time() - 10).delta_nanoseconds()
    assert 10e9 <= delta < 11e9
    assert StartAt.time(time.time() + 100).delta_nanoseconds() == 0


@pytest.mark.parametrize("number", [-1, 2**64])
def test_impossible_sequence(number: int) -> None:
    with pytest.raises(ns.InvalidOptions):
        StartAt.sequence(number)


@pytest.mark.parametrize("seconds", [-1.0, 1e12, float("nan")])
def test_impossible_time(seconds: float) -> None:
    with pytest.raises(ns.InvalidOptions):
        StartAt.time_ago(seconds)
    with pytest.raises(ns.InvalidOptions):
        StartAt.time(seconds)
