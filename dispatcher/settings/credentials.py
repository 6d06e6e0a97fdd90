"""Secrets and certificates that settings name by file, made ready for connections."""

import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dispatcher.settings.settings import DeliverySettings, NatsSettings, SettingsError
from natss.nats_streaming import ConnectionOptions, NatsOptions


def connection_options(settings: NatsSettings) -> ConnectionOptions:
    """How to reach NATS Streaming, and as whom.

    Raises:
        SettingsError: a file cannot be used.
    """
    return ConnectionOptions(
        cluster_id=settings.cluster_id, client_id=settings.client_id, nats=nats_options(settings)
    )


def nats_options(settings: NatsSettings) -> NatsOptions:
    """How to reach NATS. Files with secrets are read at each connect, and once now.

    Raises:
        SettingsError: a file cannot be used.
    """
    return NatsOptions(
        servers=settings.servers,
        user=settings.user,
        password=_secret(settings.password_file, "--natss-password-file"),
        token=_secret(settings.token_file, "--natss-token-file"),
        credentials_file=settings.credentials_file,
        nkey_seed_file=settings.nkey_seed_file,
        tls=_nats_tls(settings),
        tls_hostname=settings.tls_hostname,
        connect_timeout=settings.connect_timeout,
    )


def subscriber_tls(settings: DeliverySettings) -> ssl.SSLContext:
    """Whom to trust when a subscriber's URL is https: the system's authorities and the set ones.

    Raises:
        SettingsError: the file cannot be used.
    """
    context = ssl.create_default_context()
    if settings.tls_ca_file is not None:
        _load_authorities(context, settings.tls_ca_file, "--egress-tls-ca-file")
    return context


def _nats_tls(settings: NatsSettings) -> ssl.SSLContext | None:
    """None if nothing is set: then ``tls://`` in the URL, or the server, decides."""
    if settings.tls_ca_file is None and settings.tls_cert_file is None:
        return None
    if settings.tls_ca_file is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_authorities(context, settings.tls_ca_file, "--natss-tls-ca-file")
    if settings.tls_cert_file is not None:
        try:
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                f"--natss-tls-cert-file, --natss-tls-key-file: {_reason(error)}: must be a"
                " certificate and its key in PEM, without passphrase"
            ) from error
    return context


def _load_authorities(context: ssl.SSLContext, file: Path, flag: str) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"{flag}: {_reason(error)}: must be certificates in PEM") from error


def _secret(file: Path | None, flag: str) -> Callable[[], str] | None:
    """Reads a file at each connect, so that a rotated Secret is used; now, to see that it can."""
    if file is None:
        return None
    read = partial(_read_secret, file, flag)
    read()
    return read


def _read_secret(file: Path, flag: str) -> str:
    """What the file holds, without the line's end that editors add."""
    try:
        text = file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{flag}: cannot be read: {_reason(error)}") from None
    if not text:
        raise SettingsError(f"{flag}: the file is empty")
    return text


def _reason(error: Exception) -> str:
    """Without what the file holds."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no valid PEM").replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "it is no UTF-8 text"
