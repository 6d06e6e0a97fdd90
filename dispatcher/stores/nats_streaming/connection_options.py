"""Options for the connections to NATS Streaming, from settings and the files that they name."""

import ssl

from dispatcher.stores.nats_streaming.settings import NatsSettings
from natss.nats_streaming import ConnectionOptions, NatsOptions
from natss.process.credential_files import load_authorities, load_certificate, secret


def connection_options(settings: NatsSettings) -> ConnectionOptions:
    """Return the options of the session that delivers.

    Raises:
        SettingsError: A file cannot be used.
    """
    return ConnectionOptions(
        cluster_id=settings.cluster_id, client_id=settings.client_id, nats=nats_options(settings)
    )


def nats_options(settings: NatsSettings) -> NatsOptions:
    """Return the options of the link to NATS. Files with secrets are read at each connect, and now.

    Raises:
        SettingsError: A file cannot be used.
    """
    password, token = settings.password_file, settings.token_file
    return NatsOptions(
        servers=settings.servers,
        user=settings.user,
        password=None if password is None else secret(password, "--natss-password-file"),
        token=None if token is None else secret(token, "--natss-token-file"),
        credentials_file=settings.credentials_file,
        nkey_seed_file=settings.nkey_seed_file,
        tls=_tls(settings),
        tls_hostname=settings.tls_hostname,
        connect_timeout=settings.connect_timeout,
    )


def _tls(settings: NatsSettings) -> ssl.SSLContext | None:
    """Return the context; None if nothing is set.

    Then ``tls://`` in the URL, or the server, decides.
    """
    if settings.tls_ca_file is None and settings.tls_cert_file is None:
        return None
    if settings.tls_ca_file is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        load_authorities(context, settings.tls_ca_file, "--natss-tls-ca-file")
    if settings.tls_cert_file is not None:
        flags = "--natss-tls-cert-file, --natss-tls-key-file"
        load_certificate(context, settings.tls_cert_file, settings.tls_key_file, flags)
    return context
