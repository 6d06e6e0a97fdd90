"""Files that settings name: secrets and certificates, and clear words when they cannot be used."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from dispatcher.stores.nats_streaming.connection_options import connection_options, nats_options
from dispatcher.stores.nats_streaming.settings import NatsSettings
from natss.nats_streaming.options import Secret
from natss.process.settings import SettingsError


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / f"file{len(list(tmp_path.iterdir()))}"
        path.write_bytes(content)
        return path

    return write


Write = Callable[[bytes], Path]


def given(secret: Secret | None) -> str:
    assert callable(secret)
    return secret()


def test_password_and_user(file: Write) -> None:
    options = nats_options(NatsSettings(user="me", password_file=file(b"s3cret\n")))
    assert options.user == "me"
    assert given(options.password) == "s3cret"
    assert "s3cret" not in repr(options)


def test_token(file: Write) -> None:
    options = nats_options(NatsSettings(token_file=file(b"  t0ken \r\n")))
    assert given(options.token) == "  t0ken "


def test_a_rotated_secret_is_used_at_the_next_connect(file: Write) -> None:
    path = file(b"old")
    options = nats_options(NatsSettings(token_file=path))
    path.write_bytes(b"new")
    assert given(options.token) == "new"


def test_files_that_the_client_reads_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.creds"
    assert nats_options(NatsSettings(credentials_file=path)).credentials_file == path
    assert nats_options(NatsSettings(nkey_seed_file=path)).nkey_seed_file == path


def test_the_session() -> None:
    options = connection_options(NatsSettings(cluster_id="c", client_id="i", connect_timeout=9))
    assert (options.cluster_id, options.client_id) == ("c", "i")
    assert options.nats.connect_timeout == 9
    assert options.nats.tls is None


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "the file is empty"), (b"\n", "empty"), (b"\xff", "no UTF-8 text")]
)
def test_a_secret_that_cannot_be_used(file: Write, content: bytes, says: str) -> None:
    with pytest.raises(SettingsError, match=f"--natss-token-file: .*{says}"):
        nats_options(NatsSettings(token_file=file(content)))


def test_a_secret_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: no such file or directory"):
        nats_options(NatsSettings(token_file=tmp_path / "gone"))


def test_own_authorities_replace_those_of_the_system(file: Write) -> None:
    ca = trustme.CA()
    settings = NatsSettings(tls_ca_file=file(ca.cert_pem.bytes()), tls_hostname="nats.x")
    options = nats_options(settings)
    assert options.tls is not None
    assert len(options.tls.get_ca_certs()) == 1
    assert options.tls.verify_mode is ssl.CERT_REQUIRED
    assert options.tls_hostname == "nats.x"


def test_a_certificate_of_the_client(file: Write) -> None:
    certificate = trustme.CA().issue_cert("client.x")
    options = nats_options(
        NatsSettings(
            tls_cert_file=file(certificate.cert_chain_pems[0].bytes()),
            tls_key_file=file(certificate.private_key_pem.bytes()),
        )
    )
    assert options.tls is not None
    assert options.tls.verify_mode is ssl.CERT_REQUIRED


def test_a_key_of_another_certificate(file: Write) -> None:
    ca = trustme.CA()
    one, other = ca.issue_cert("a.x"), ca.issue_cert("b.x")
    settings = NatsSettings(
        tls_cert_file=file(one.cert_chain_pems[0].bytes()),
        tls_key_file=file(other.private_key_pem.bytes()),
    )
    with pytest.raises(SettingsError, match="--natss-tls-key-file: key values mismatch"):
        nats_options(settings)


def test_authorities_that_are_none(file: Write) -> None:
    with pytest.raises(
        SettingsError, match=r"--natss-tls-ca-file: .*: must be certificates in PEM"
    ):
        nats_options(NatsSettings(tls_ca_file=file(b"-----BEGIN CERTIFICATE-----\nx")))
