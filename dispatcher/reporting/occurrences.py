"""What happened that a person should be told of, as values. Who is told, and how, is not said."""

from collections.abc import Callable
from dataclasses import dataclass

from contract.resources import ResourceName


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One thing that happened. It has no payload, no header value and no secret."""

    channel: ResourceName | None
    """None for what concerns the dispatcher as a whole."""

    is_warning: bool
    reason: str
    """One word in CamelCase, the same whatever it happened to."""

    message: str


Tell = Callable[[Occurrence], None]
"""Takes an occurrence; never waits and never fails."""


def warning(channel: ResourceName | None, reason: str, message: str) -> Occurrence:
    return Occurrence(channel, True, reason, message)


def news(channel: ResourceName | None, reason: str, message: str) -> Occurrence:
    return Occurrence(channel, False, reason, message)
