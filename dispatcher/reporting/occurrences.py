"""What happened that a person should be told of, as values, and how the log tells it."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from contract.resources import ResourceName

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One thing that happened. It has no payload, no header value and no secret."""

    channel: ResourceName | None
    """None for what concerns the dispatcher as a whole."""

    is_warning: bool
    reason: str
    """One word in CamelCase, the same whatever it happened to."""

    message: str

    summary: str = ""
    """For the log: the message without the words of a subscriber; empty if it has none of them."""


Tell = Callable[[Occurrence], None]
"""Takes an occurrence; never waits and never fails."""


def warning(
    channel: ResourceName | None, reason: str, message: str, summary: str = ""
) -> Occurrence:
    return Occurrence(channel, True, reason, message, summary)


def news(channel: ResourceName | None, reason: str, message: str) -> Occurrence:
    return Occurrence(channel, False, reason, message)


def log_only(occurrence: Occurrence) -> None:
    """Tell it in the log, as is done where there is no object that an Event could be written on."""
    whom = f"Channel {occurrence.channel}" if occurrence.channel else "Dispatcher"
    level = log.warning if occurrence.is_warning else log.info
    level(f"{whom}: {occurrence.reason}: {occurrence.summary or occurrence.message}")
