"""Kinds of values that only settings of the dispatcher take; others: ``natss.process.kinds``."""

import re

from dispatcher.egress.denied import DeniedNetworks
from natss.contract.arguments import ARGUMENTS, ChannelPlace
from natss.process.kinds import ValueKind, whole


def argument(key: str, metavar: str) -> ValueKind:
    """Return a kind for values as in ``spec.arguments`` of a Channel."""

    def parse(value: str) -> object:
        number = re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII)
        return ARGUMENTS[key].read(int(value) if number else value, ChannelPlace("", ""))

    return ValueKind(metavar, parse, ARGUMENTS[key].show)


def _dead_letter_uri(value: str) -> str:
    """Check a URI; it is completed when the namespace is known."""
    ARGUMENTS["deadLetterURI"].read(value, ChannelPlace("namespace", "cluster.local"))
    return value


def _minutes(value: str) -> object:
    return 60 * int(str(whole(1, 1440).parse(value)))


NETWORKS = ValueKind("NETWORKS", DeniedNetworks.parse)
MINUTES = ValueKind("MINUTES", _minutes)
DEAD_LETTER_URI = ValueKind("URI", _dead_letter_uri)
