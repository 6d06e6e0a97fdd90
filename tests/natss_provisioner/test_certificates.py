"""The certificate of the webhook; ``test_webhook.py`` shows that API servers accept it."""

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from natss_provisioner.certificates import LIFETIME, RENEWAL, Certificate

HOSTS = ("natss-admission.knative-eventing.svc",)
NOW = datetime(2024, 5, 1, tzinfo=UTC)
ONE = Certificate.make(HOSTS, NOW)


def test_what_goes_into_a_secret_comes_out_again() -> None:
    assert Certificate.of_secret(ONE.secret_data()) == ONE


@pytest.mark.parametrize(
    ("hosts", "age", "good"),
    [
        (HOSTS, timedelta(), True),
        (HOSTS, timedelta(minutes=-30), True),  # by another clock
        (HOSTS, timedelta(hours=-2), False),
        (HOSTS, LIFETIME - RENEWAL - timedelta(days=1), True),
        (HOSTS, LIFETIME - RENEWAL + timedelta(days=1), False),
        (HOSTS, LIFETIME * 2, False),
        (("natss-admission.elsewhere.svc",), timedelta(), False),
        ((*HOSTS, "more.svc"), timedelta(), False),
    ],
)
def test_how_long_and_for_whom_it_is_good(
    hosts: tuple[str, ...], age: timedelta, good: bool
) -> None:
    assert ONE.is_good(hosts, NOW + age) is good


def altered(old: bytes, new: bytes) -> dict[str, str]:
    """Return the data with other bytes in the certificate."""
    der = ssl.PEM_cert_to_DER_cert(ONE.certificate.decode())
    assert der.count(old) == 1
    pem = ssl.DER_cert_to_PEM_cert(der.replace(old, new)).encode()
    return {**ONE.secret_data(), "tls.crt": base64.b64encode(pem).decode()}


ELLIPTIC_CURVE = bytes.fromhex("2a8648ce3d0201")
UNCOMPRESSED_POINT = bytes.fromhex("034200 04")
ALTERNATIVE_NAME = bytes.fromhex("0603551d11")

BROKEN = [
    altered(ELLIPTIC_CURVE, ELLIPTIC_CURVE[:-1] + b"\x09"),
    altered(UNCOMPRESSED_POINT, UNCOMPRESSED_POINT[:-1] + b"\x05"),
    altered(ALTERNATIVE_NAME, ALTERNATIVE_NAME[:-1] + b"\x70"),
    None,
    {},
    {"tls.crt": "", "tls.key": "", "ca.crt": ""},
    {**ONE.secret_data(), "tls.key": "not base64!"},
    {**ONE.secret_data(), "tls.crt": base64.b64encode(b"garbage").decode()},
    {**ONE.secret_data(), "tls.key": base64.b64encode(b"garbage").decode()},
    {**ONE.secret_data(), "ca.crt": base64.b64encode(b"garbage").decode()},
    {**ONE.secret_data(), "tls.key": Certificate.make(HOSTS, NOW).secret_data()["tls.key"]},
    {key: value for key, value in ONE.secret_data().items() if key != "ca.crt"},
    {**ONE.secret_data(), "tls.crt": 7},
    {**ONE.secret_data(), "tls.crt": "\xe4"},
]


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_broken_is_none(data: object) -> None:
    assert Certificate.of_secret(data) is None  # type: ignore[arg-type]  # of whatever sort


def test_a_server_can_use_it_and_a_client_trusts_it_and_its_predecessor(tmp_path: Path) -> None:
    former = Certificate.make(HOSTS, datetime.now(UTC))
    new = Certificate.make(HOSTS, datetime.now(UTC), former)
    client = ssl.create_default_context(cadata=new.trusted.decode())
    for each in (former, new):
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        (tmp_path / "cert").write_bytes(each.certificate)
        (tmp_path / "key").write_bytes(each.key)
        server.load_cert_chain(tmp_path / "cert", tmp_path / "key")
        _shake_hands(client, server)
    stranger = ssl.create_default_context(cadata=ONE.trusted.decode())
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(stranger, server)


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Make a TLS handshake. Raises SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=HOSTS[0]),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                pass
