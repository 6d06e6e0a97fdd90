"""Whom subscribers are verified by."""

import ssl
from pathlib import Path

import pytest
import trustme

from dispatcher.egress.authorities import subscriber_tls
from natss.process.settings import SettingsError


def test_authorities_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(b"nothing")
    with pytest.raises(SettingsError, match=r"--egress-tls-ca-file: .*: must be certificates in"):
        subscriber_tls(file)


def test_subscribers_are_verified_by_the_system_and_by_ours(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(trustme.CA().cert_pem.bytes())
    plain = subscriber_tls(None)
    with_ours = subscriber_tls(file)
    assert plain.verify_mode is with_ours.verify_mode is ssl.CERT_REQUIRED
    assert plain.check_hostname
    assert len(with_ours.get_ca_certs()) == len(plain.get_ca_certs()) + 1
