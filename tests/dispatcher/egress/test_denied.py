"""Addresses that are never called: which they are, and that no name leads to them."""

import asyncio
import socket
from collections.abc import Sequence

import nats
import pytest

from dispatcher.delivery.attempts import Attempts, Plan
from dispatcher.delivery.rules import Failure, Outcome
from dispatcher.egress.client import Egress, EgressError, FailureReason, Target
from dispatcher.egress.denied import LOOPBACK, METADATA, DeniedNetworks
from dispatcher.egress.limits import EgressLimits
from dispatcher.event.stored_form import encode
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.metrics import SubscriptionMetrics
from dispatcher.settings.settings import DispatcherSettings, SettingsError
from natss.contract.resources import DeliveryPolicy
from natss.process.event_loops import Address
from tests.dispatcher.delivery.pending_events import pending
from tests.support.scripted_server import ALWAYS_202, READ, REPEAT, ScriptedServer, answer
from tests.support.servers import NatsStreamingServer

NOTHING = Failure("", 0, b"", has_answer=False, reason="")


@pytest.mark.parametrize(
    ("address", "denied"),
    [
        ("169.254.169.254", True),
        ("169.254.0.1", True),
        ("169.253.255.255", False),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("fd00:ec2::254", True),
        ("fd00:ec2::253", False),
        ("::ffff:169.254.169.254", True),
        ("0:0:0:0:0:FFFF:a9fe:a9fe", True),
        ("::169.254.169.254", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("64:ff9b:1::169.254.169.254", True),
        ("64:ff9b::a00:1", False),
        ("2002:a9fe:a9fe::1", True),
        ("2002:a00:1::1", False),
        ("100.100.100.200", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
    ],
)
def test_metadata_addresses(address: str, denied: bool) -> None:
    assert METADATA.covers(address) is denied


@pytest.mark.parametrize(
    ("address", "denied"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("::", True),
        ("::ffff:127.0.0.1", True),
        ("128.0.0.1", False),
        ("::2", False),
    ],
)
def test_loopback(address: str, denied: bool) -> None:
    assert LOOPBACK.covers(address) is denied


@pytest.mark.parametrize("text", ["10.0.0.0/8,fd00::/8", "192.168.1.1", "none"])
def test_what_is_shown_can_be_read_again(text: str) -> None:
    assert str(DeniedNetworks.parse(text)) == text


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "localhost", "10.0.0.0/33", "10.0.0.0/8;::1"])
def test_wrong_setting(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--egress-deny.*must be none, or networks as"):
        DispatcherSettings.load(["--channels=x", f"--egress-deny={text}"], {})


def test_loopback_is_denied_in_a_cluster_unless_told_otherwise() -> None:
    in_cluster = DispatcherSettings.load(["--kubernetes=on"], {}).egress.denied_networks
    assert in_cluster.covers("127.0.0.1")
    assert in_cluster.covers("169.254.169.254")
    on_a_laptop = DispatcherSettings.load(["--channels=x"], {}).egress.denied_networks
    assert not on_a_laptop.covers("127.0.0.1")
    assert on_a_laptop.covers("169.254.169.254")
    told = DispatcherSettings.load(["--kubernetes=on", "--egress-deny=10.0.0.0/8"], {})
    assert str(told.egress.denied_networks) == "10.0.0.0/8"
    none = DispatcherSettings.load(
        ["--kubernetes=on", "--egress-deny=none"], {}
    ).egress.denied_networks
    assert none == DeniedNetworks()


async def refusal(uri: str, limits: EgressLimits, addresses: Sequence[str] = ()) -> EgressError:
    async def resolve(_: str, port: int, namespace: str) -> Sequence[Address]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    egress = Egress(limits, resolve=resolve if addresses else None)
    try:
        with pytest.raises(EgressError) as caught:
            await egress.post(Target.parse(uri), b"", b"", 5.0)
    finally:
        await egress.close()
    return caught.value


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "127.0.1", "0x7f000001", "0x7f.1", "2130706433", "017700000001",
        "0177.0.0.1", "127.0.0.01", "0", "localhost", "LOCALHOST", "[::1]", "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]",
    ],
)  # fmt: skip
async def test_no_spelling_gets_through(host: str) -> None:
    async with ScriptedServer(ALWAYS_202) as server:
        limits = EgressLimits(denied_networks=LOOPBACK)
        error = await refusal(f"http://{host}:{server.port}/", limits)
        assert error.reason is FailureReason.DENIED
        assert "is forbidden (--egress-deny)" in str(error)
        assert server.accepted == 0


async def test_a_name_is_judged_by_its_addresses() -> None:
    """Not the name: it may have been harmless when the Subscription was made."""
    limits = EgressLimits(denied_networks=LOOPBACK + METADATA)
    error = await refusal("http://innocent/", limits, ["169.254.169.254", "127.0.0.1"])
    assert error.reason is FailureReason.DENIED
    assert "the address 169.254.169.254 of http://innocent" in str(error)


async def test_a_name_that_changes_its_mind_changes_nothing() -> None:
    """It is looked up once for a connection, which then goes to the address that was judged."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    async with ScriptedServer(ALWAYS_202) as allowed:
        asked = 0

        async def resolve(_: str, port: int, namespace: str) -> Sequence[Address]:
            nonlocal asked
            asked += 1
            found = answers[min(asked, len(answers)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

        limits = EgressLimits(denied_networks=DeniedNetworks.parse("127.0.0.2"), max_age=0.0)
        async with ScriptedServer(ALWAYS_202, host="127.0.0.2", port=allowed.port) as denied:
            egress = Egress(limits, resolve=resolve)
            target = Target.parse(f"http://rebinding:{allowed.port}/")
            try:
                assert (await egress.post(target, b"", b"", 5.0)).status == 202
                assert (asked, allowed.accepted, denied.accepted) == (1, 1, 0)
                with pytest.raises(EgressError, match="forbidden"):
                    await egress.post(target, b"", b"", 5.0)
                assert (asked, allowed.accepted, denied.accepted) == (2, 1, 0)
            finally:
                await egress.close()


@pytest.mark.parametrize("denied", ["reply", "dead letter sink"])
async def test_neither_a_reply_nor_a_dead_letter_goes_there(denied: str) -> None:
    """Their addresses are chosen by the same people."""
    secret = (READ, answer(200 if denied == "reply" else 400, b"answer"), REPEAT)
    async with ScriptedServer(secret) as subscriber, ScriptedServer(host="127.0.0.2") as metadata:
        egress = Egress(EgressLimits(denied_networks=DeniedNetworks.parse("127.0.0.2")))
        there = Target.parse(metadata.url)
        policy = DeliveryPolicy(retry=0, dead_letter_uri=metadata.url)
        plan = Plan(
            Target.parse(subscriber.url),
            reply=there if denied == "reply" else None,
            dead_letter=there if denied != "reply" else None,
            policy=policy,
        )
        attempts = Attempts(plan, egress, SubscriptionMetrics(), ByteBudget(2**20))
        try:
            outcome = await attempts.deliver(pending(encode([(b"Ce-Id", b"1")], b"{}", "h")))
        finally:
            await egress.close()
        assert outcome is Outcome.FAILED
        assert (subscriber.accepted, metadata.accepted) == (1, 0)
        assert "is forbidden (--egress-deny)" in (attempts.health.last_failure or NOTHING).text


async def test_nats_takes_no_command_from_an_event(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    """Its port is one that the dispatcher may reach, and others may not."""
    command = b"PUB %b 1\r\nx\r\n" % unique_name.encode()
    target = Target.parse(f"http://127.0.0.1:{memory_server.port}/")
    client = await nats.connect(memory_server.url)
    heard = await client.subscribe(unique_name)
    await client.flush()
    reader, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(target.request_prefix + b"Content-Length: 99\r\n\r\n\r\n" + command * 4)
    assert b"-ERR 'Unknown Protocol Operation'" in await reader.read()
    writer.close()
    await client.publish(unique_name, b"of a client")
    first = await heard.next_msg(10)
    assert first.data == b"of a client", "a command was obeyed"
    await client.close()


async def test_of_several_addresses_the_allowed_ones_are_tried() -> None:
    async with ScriptedServer(ALWAYS_202) as server:

        async def resolve(_: str, port: int, namespace: str) -> Sequence[Address]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
                for each in ("169.254.169.254", "127.0.0.1")
            ]

        egress = Egress(EgressLimits(), resolve=resolve)
        try:
            target = Target.parse(f"http://both:{server.port}/")
            assert (await egress.post(target, b"", b"", 5.0)).status == 202
        finally:
            await egress.close()
