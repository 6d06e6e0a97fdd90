"""Names of different channels never clash: not in NATS Streaming, HTTP or Kubernetes."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from natss.contract.documents import desired_state
from natss.contract.names import (
    MAX_SUBJECT,
    channel_host,
    channel_label_value,
    channel_service_name,
    channel_subject,
    durable_name,
    is_dns_label,
    is_dns_name,
    service_host,
)
from tests.support.channel_files import channel

LABEL = st.from_regex(r"[a-c1](?:[a-c1-]{0,3}[a-c1])?", fullmatch=True)
NAMESPACE = LABEL | st.just("a" * 63)
NAME = st.lists(LABEL | st.just("b" * 63), min_size=1, max_size=3).map(".".join)
PLACE = st.tuples(NAMESPACE, NAME)


@given(PLACE, PLACE)
def test_different_channels_have_different_names(
    one: tuple[str, str], two: tuple[str, str]
) -> None:
    """A name may have dots and a namespace has none, so the last one always separates the two."""
    assume(one != two)
    assert channel_subject(*one) != channel_subject(*two)
    assert channel_host(*one, "cluster.local") != channel_host(*two, "cluster.local")
    hosts = [
        service_host(namespace, channel_service_name(namespace, name), "cluster.local")
        for namespace, name in (one, two)
    ]
    assert hosts[0] != hosts[1]
    assert not set(hosts) & {channel_host(*each, "cluster.local") for each in (one, two)}
    assert durable_name(None, *one) != durable_name(None, *two)
    assert one[1] == two[1] or channel_label_value(one[1]) != channel_label_value(two[1])


@given(PLACE)
def test_every_name_is_one_that_kubernetes_takes(place: tuple[str, str]) -> None:
    namespace, name = place
    assert is_dns_name(name)
    assert is_dns_label(namespace)
    service = channel_service_name(namespace, name)
    assert re.fullmatch(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", service)
    label = channel_label_value(name)
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?", label)


def long_name(length: int) -> str:
    """Return a name of this length, with labels of at most 63 characters."""
    return ".".join(["x" * 62] * 4)[:length].rstrip(".")


@pytest.mark.parametrize(
    ("namespace", "name", "reason"),
    [
        ("a" * 63, long_name(MAX_SUBJECT - 64), None),
        ("a" * 63, long_name(MAX_SUBJECT - 63), "must not pass 254 characters"),
        ("dat", "server", "server.dat"),
        ("dat", "clients", "clients.dat"),
        ("dat", "server.clients", None),
        ("default", "server.dat", None),
    ],
)
def test_a_channel_that_cannot_be_stored_is_refused(
    namespace: str, name: str, reason: str | None
) -> None:
    """The FILE store has a folder for each subject, beside ``server.dat`` and ``clients.dat``."""
    document = channel(name)
    document["metadata"]["namespace"] = namespace
    state = desired_state([("", document)])
    if reason is None:
        assert (len(state.channels), state.problems) == (1, ())
    else:
        (problem,) = state.problems
        assert (problem.path, state.channels) == ("metadata.name", {})
        assert reason in problem.message
