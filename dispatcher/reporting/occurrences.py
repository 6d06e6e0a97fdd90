"""What happened that a person should learn of, as values, and how the log reports it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from natss.contract.channel_id import ChannelId
from natss.contract.labels import channel_labels, subscription_labels
from natss.contract.resources import Subscriber

log = structlog.get_logger(__name__)

_EVENTS = {
    "SubscriberStuck": "events do not get through",
    "SubscriberRecovered": "events get through again",
    "DeadLettered": "events went to the dead letter sink",
    "ChannelLimitReached": "publishers are refused: NATS Streaming has no room for the channel",
}
"""How the log line of a reason begins."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One thing that happened. It has no payload, no header value and no secret."""

    channel: ChannelId | None
    """None for what concerns the dispatcher as a whole."""

    is_warning: bool
    reason: str
    """One word in CamelCase, the same for whatever it happened to."""

    message: str
    summary: str = ""
    """For the log: the message without the words of a subscriber; empty if it has none of them."""

    subscriber: Subscriber | None = None
    """The subscriber concerned; None if it is about the whole channel."""

    is_logged: bool = False
    """Whether it was logged already where it was noticed, with more than is known here."""

    @property
    def full_message(self) -> str:
        """The message for places that are not beside the Subscription concerned."""
        if self.subscriber is None:
            return self.message
        return f"Subscription {self.subscriber.ref}: {self.message}"


Tell = Callable[[Occurrence], None]
"""Takes an occurrence; never waits and never fails."""


def warning(channel: ChannelId | None, reason: str, message: str, summary: str = "") -> Occurrence:
    return Occurrence(channel, True, reason, message, summary)


def news(channel: ChannelId | None, reason: str, message: str) -> Occurrence:
    return Occurrence(channel, False, reason, message)


def about(subscriber: Subscriber, occurrence: Occurrence) -> Occurrence:
    """Return the same occurrence for one subscriber."""
    return replace(occurrence, subscriber=subscriber)


def logged(occurrence: Occurrence) -> Occurrence:
    """Return the same occurrence, marked as logged."""
    return replace(occurrence, is_logged=True)


def write_log(occurrence: Occurrence) -> None:
    """Log it, unless that was done."""
    if occurrence.is_logged:
        return
    labels: dict[str, str] = {}
    if occurrence.channel is not None and occurrence.subscriber is not None:
        labels = subscription_labels(occurrence.channel, occurrence.subscriber.ref)
    elif occurrence.channel is not None:
        labels = channel_labels(occurrence.channel)
    level = log.warning if occurrence.is_warning else log.info
    event = _EVENTS.get(occurrence.reason, "reported")
    level(
        event, **labels, reason=occurrence.reason, message=occurrence.summary or occurrence.message
    )
