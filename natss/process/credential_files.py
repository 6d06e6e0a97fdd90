"""Secrets and certificates in files that settings name, each with the flag that names it."""

import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

from natss.process.settings import SettingsError


def secret(file: Path, flag: str) -> Callable[[], str]:
    """Return a function that reads a file again at each call, so that a rotated Secret is used.

    Raises:
        SettingsError: The file cannot be used now.
    """
    read = partial(_read_secret, file, flag)
    read()
    return read


def load_authorities(context: ssl.SSLContext, file: Path, flag: str) -> None:
    """Trust the certificates in a file.

    Raises:
        SettingsError: The file cannot be used.
    """
    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:  # ssl.SSLError is an OSError
        raise SettingsError(f"{flag}: {_reason(error)}: must be certificates in PEM") from error


def load_certificate(
    context: ssl.SSLContext, certificate: Path, key: Path | None, flags: str
) -> None:
    """Present a certificate to the other side.

    Raises:
        SettingsError: A file cannot be used.
    """
    try:
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            f"{flags}: {_reason(error)}: must be a certificate and its key in PEM, without"
            " passphrase"
        ) from error


def _read_secret(file: Path, flag: str) -> str:
    """Return the content of the file, without the newline that editors add."""
    try:
        text = file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{flag}: cannot be read: {_reason(error)}") from None
    if not text:
        raise SettingsError(f"{flag}: the file is empty")
    return text


def _reason(error: Exception) -> str:
    """Return the reason, without the content of the file."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no valid PEM").replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "it is no UTF-8 text"
