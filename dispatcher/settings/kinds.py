"""Kinds of values that only settings of the dispatcher take; others: ``natss.process.kinds``."""

import re
from collections.abc import Callable

from dispatcher.egress.denied import DeniedNetworks
from natss.contract.arguments import ARGUMENTS, ChannelPlace
from natss.nats_streaming.errors import InvalidOptions, NatsStreamingError
from natss.nats_streaming.options import parse_server
from natss.process.kinds import ValueKind, listed, whole


def checked(metavar: str, check: Callable[[str], object]) -> ValueKind:
    """A text by the rules of NATS Streaming."""

    def parse(value: str) -> str:
        try:
            check(value)
        except NatsStreamingError as error:
            raise ValueError(f"must be valid ({error})") from error
        return value

    return ValueKind(metavar, parse)


_MISREAD = re.compile(r"[\s\"'<>]")
"""What would also keep a password from being redacted."""


def _servers(value: str) -> tuple[str, ...]:
    """Addresses of one NATS cluster, with commas between."""
    servers = tuple(map(_with_scheme, listed(value)))
    if any(map(_MISREAD.search, servers)):
        raise ValueError(
            "must have commas between servers, and in them no blanks and none of \" ' < >:"
            " percent-encode them"
        )
    try:
        for server in servers:
            parse_server(server)
    except InvalidOptions:  # whose text may show a part of the password
        raise ValueError("must be nats://[USER:PASSWORD@]HOST:PORT, or with tls://") from None
    if not servers:
        raise ValueError("must name a server")
    return servers


def _with_scheme(server: str) -> str:
    return server if "://" in server else f"nats://{server}"


def argument(key: str, metavar: str) -> ValueKind:
    """As in ``spec.arguments`` of a Channel."""

    def parse(value: str) -> object:
        number = re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII)
        return ARGUMENTS[key].read(int(value) if number else value, ChannelPlace("", ""))

    return ValueKind(metavar, parse, ARGUMENTS[key].show)


def _dead_letter_uri(value: str) -> str:
    """Checked here, completed when the namespace is known."""
    ARGUMENTS["deadLetterURI"].read(value, ChannelPlace("namespace", "cluster.local"))
    return value


def _minutes(value: str) -> object:
    return 60 * int(str(whole(1, 1440).parse(value)))


SERVERS = ValueKind("URL", _servers, ",".join)
NETWORKS = ValueKind("NETWORKS", DeniedNetworks.parse)
MINUTES = ValueKind("MINUTES", _minutes)
DEAD_LETTER_URI = ValueKind("URI", _dead_letter_uri)
