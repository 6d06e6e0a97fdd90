"""The rules for names, as tables."""

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming import names


@pytest.mark.parametrize(
    "name", ["a", "a.b", "A-b_c.0", "ünïcödé", "$x", "a:b", "a\\b", "a" * names.MAX_CHANNEL_BYTES]
)
def test_channel(name: str) -> None:
    names.check_channel(name)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty"),
        (".", "between dots"),
        (".a", "between dots"),
        ("a.", "between dots"),
        ("a..b", "between dots"),
        ("a.*", "'*'"),
        ("a.>", "'>'"),
        ("a>b", "'>'"),
        ("a/b", "'/'"),
        ("a b", "' '"),
        ("a\tb", "not allowed"),
        ("a\r\nPUB x 0", "not allowed"),
        ("a\0", "not allowed"),
        ("a\u2003b", "not allowed"),
        ("\ud800", "UTF-8"),
        ("a" * (names.MAX_CHANNEL_BYTES + 1), "1025 bytes"),
        ("ü" * 600, "1200 bytes"),
    ],
)
def test_invalid_channel(name: str, rule: str) -> None:
    with pytest.raises(ns.InvalidChannelName, match=r"invalid channel name") as raised:
        names.check_channel(name)
    assert rule in raised.value.rule
    assert raised.value.name == name
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize("client_id", ["a", "knative-natss-dispatcher", "A_0-"])
def test_client_id(client_id: str) -> None:
    names.check_client_id(client_id)


@pytest.mark.parametrize("client_id", ["", "a.b", "a b", "ü", "a\n", "a/b"])
def test_invalid_client_id(client_id: str) -> None:
    with pytest.raises(ns.InvalidClientId) as raised:
        names.check_client_id(client_id)
    assert not raised.value.retriable


@pytest.mark.parametrize("cluster_id", ["", "a b", "a*", "a..b", ">", "a\n"])
def test_invalid_cluster_id(cluster_id: str) -> None:
    with pytest.raises(ns.InvalidOptions):
        names.check_cluster_id(cluster_id)


@pytest.mark.parametrize(("durable", "queue"), [("", None), (None, ""), ("a:b", "q")])
def test_invalid_durable(durable: str | None, queue: str | None) -> None:
    with pytest.raises(ns.InvalidOptions):
        names.check_durable(durable, queue)


@pytest.mark.parametrize(
    ("durable", "queue"), [(None, None), ("a:b", None), ("d", "q:r"), (None, "d:q")]
)
def test_durable(durable: str | None, queue: str | None) -> None:
    names.check_durable(durable, queue)
