"""The authorities that are trusted when a subscriber's URL is https."""

import ssl
from pathlib import Path

from natss.process.credential_files import load_authorities


def subscriber_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, and those in a file.

    Raises:
        SettingsError: The file cannot be used.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        load_authorities(context, ca_file, "--egress-tls-ca-file")
    return context
