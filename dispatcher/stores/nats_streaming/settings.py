"""Settings of NATS Streaming, and the values that its rules allow.

``dispatcher.settings.table`` has the flags with all others.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from natss.contract.names import DEFAULT_CLIENT_ID, DEFAULT_CLUSTER_ID, default_natss_url
from natss.contract.uris import redact_value
from natss.nats_streaming import names
from natss.nats_streaming.errors import InvalidOptions, NatsStreamingError
from natss.nats_streaming.options import parse_server
from natss.process.kinds import ValueKind, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    """How to reach NATS Streaming, and as whom; ``connection_options`` reads the files."""

    servers: tuple[str, ...] = field(default=(default_natss_url(),), repr=False)
    """May have user and password or a token; not in ``repr()``, see ``shown_servers``."""

    cluster_id: str = DEFAULT_CLUSTER_ID
    client_id: str = DEFAULT_CLIENT_ID
    """Durables belong to it: under another client id there is no backlog."""

    user: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    credentials_file: Path | None = None
    nkey_seed_file: Path | None = None
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_hostname: str | None = None
    connect_timeout: float = 2.0
    """Seconds for each of TCP, TLS and the first answer."""

    @property
    def shown_servers(self) -> str:
        """The servers without secrets, for logs and status."""
        return ",".join(redact_value(server) for server in self.servers)


def _checked(metavar: str, check: Callable[[str], object]) -> ValueKind:
    """Return a kind for texts by the rules of NATS Streaming."""

    def parse(value: str) -> str:
        try:
            check(value)
        except NatsStreamingError as error:
            raise ValueError(f"must be valid ({error})") from error
        return value

    return ValueKind(metavar, parse)


_MISREAD = re.compile(r"[\s\"'<>]")
"""Characters that would also keep a password from being redacted."""


def _servers(value: str) -> tuple[str, ...]:
    """Parse addresses of one NATS cluster, with commas between."""
    servers = tuple(map(_with_scheme, listed(value)))
    if any(map(_MISREAD.search, servers)):
        raise ValueError(
            "must have commas between servers, and in them no blanks and none of \" ' < >:"
            " percent-encode them"
        )
    try:
        for server in servers:
            parse_server(server)
    except InvalidOptions:  # its text may show a part of the password
        raise ValueError("must be nats://[USER:PASSWORD@]HOST:PORT, or with tls://") from None
    if not servers:
        raise ValueError("must name a server")
    return servers


def _with_scheme(server: str) -> str:
    return server if "://" in server else f"nats://{server}"


SERVERS = ValueKind("URL", _servers, ",".join)
CLUSTER_ID = _checked("ID", names.check_cluster_id)
CLIENT_ID = _checked("ID", names.check_client_id)
