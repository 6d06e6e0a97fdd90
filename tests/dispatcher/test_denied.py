"""Addresses that are never called: which they are, and that no name leads to them."""

import socket
from collections.abc import Sequence

import pytest

from dispatcher.egress.client import Egress, EgressError, FailureReason, Target
from dispatcher.egress.connect import Address
from dispatcher.egress.denied import LOOPBACK, METADATA, DeniedNetworks
from dispatcher.limits import EgressLimits
from dispatcher.settings import Settings, SettingsError
from tests.scripted_server import ALWAYS_202, ScriptedServer


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
        ("64:ff9b::a9fe:a9fe", True),
        ("64:ff9b::a00:1", False),
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
        Settings.load(["--channels=x", f"--egress-deny={text}"], {})


def test_loopback_is_denied_in_a_cluster_unless_told_otherwise() -> None:
    in_cluster = Settings.load(["--kubernetes=on"], {}).egress.denied_networks
    assert in_cluster.covers("127.0.0.1")
    assert in_cluster.covers("169.254.169.254")
    on_a_laptop = Settings.load(["--channels=x"], {}).egress.denied_networks
    assert not on_a_laptop.covers("127.0.0.1")
    assert on_a_laptop.covers("169.254.169.254")
    told = Settings.load(["--kubernetes=on", "--egress-deny=10.0.0.0/8"], {})
    assert str(told.egress.denied_networks) == "10.0.0.0/8"
    none = Settings.load(["--kubernetes=on", "--egress-deny=none"], {}).egress.denied_networks
    assert none == DeniedNetworks()


async def refusal(uri: str, limits: EgressLimits, addresses: Sequence[str] = ()) -> EgressError:
    async def resolve(_: str, port: int) -> Sequence[Address]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    egress = Egress(limits, resolve=resolve if addresses else None)
    try:
        with pytest.raises(EgressError) as caught:
            await egress.post(Target.parse(uri), b"", b"", 5.0)
    finally:
        await egress.close()
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "localhost"])
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


async def test_of_several_addresses_the_allowed_ones_are_tried() -> None:
    async with ScriptedServer(ALWAYS_202) as server:

        async def resolve(_: str, port: int) -> Sequence[Address]:
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
