"""The certificate of the admission webhook: created, checked, and converted to and from a Secret.

Pure, except for randomness. Each certificate is self-signed, so that there is no key of an
authority that somebody could steal.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=365)
RENEWAL = timedelta(days=120)
"""A certificate is replaced this time before it expires: enough for every replica to notice."""

_CLOCK_SKEW = timedelta(hours=1)

_BAD_EXTENSIONS = (
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

_CERTIFICATE, _KEY, _TRUSTED = "tls.crt", "tls.key", "ca.crt"
"""The keys of Secrets of the type ``kubernetes.io/tls``."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a webhook server needs, and what the API server trusts. All in PEM."""

    certificate: bytes
    key: bytes
    trusted: bytes
    """This certificate and the one before it, which another replica may still use."""

    @classmethod
    def make(cls, hosts: Sequence[str], now: datetime, former: "Certificate | None" = None) -> Self:
        """Create a certificate for these DNS names; the former one stays trusted."""
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        # A name of its own, to find it among the trusted ones.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"natss-admission {serial:x}")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts]), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return cls(
            certificate=pem,
            key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            trusted=pem + (former.certificate if former else b""),
        )

    @classmethod
    def of_secret(cls, data: Mapping[str, str] | None) -> Self | None:
        """Return the certificate in ``data`` of a Secret; None if it is missing or broken."""
        try:
            values = [
                base64.b64decode((data or {})[key], validate=True)
                for key in (_CERTIFICATE, _KEY, _TRUSTED)
            ]
        except (KeyError, TypeError, ValueError):
            return None
        found = cls(*values)
        return found if found._is_whole() else None

    def secret_data(self) -> dict[str, str]:
        """Return ``data`` of a Secret."""
        values = {_CERTIFICATE: self.certificate, _KEY: self.key, _TRUSTED: self.trusted}
        return {key: base64.b64encode(value).decode() for key, value in values.items()}

    def is_good(self, hosts: Sequence[str], now: datetime) -> bool:
        """Return whether it is for these DNS names and valid for long enough."""
        certificate = x509.load_pem_x509_certificate(self.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return (
            set(hosts) <= set(names.value.get_values_for_type(x509.DNSName))
            and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEWAL
        )

    def _is_whole(self) -> bool:
        """Return whether certificate and key are readable and match, with the DNS names."""
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate)
            key = serialization.load_pem_private_key(self.key, None)
            x509.load_pem_x509_certificates(self.trusted)
            certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            return bool(key.public_key() == certificate.public_key())
        except (ValueError, TypeError, UnsupportedAlgorithm, *_BAD_EXTENSIONS):
            return False
