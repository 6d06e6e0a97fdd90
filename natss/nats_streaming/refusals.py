"""Maps the texts of the server to errors. Pure.

The texts are those of nats-streaming-server 0.25; where 0.11 had another, both are here. Unknown
texts (errors of the file system or of an SQL driver, changes of a cluster's leader) are worth a
retry.
"""

from collections.abc import Mapping
from typing import TypeVar

from natss.nats_streaming.errors import (
    ChannelBeingDeleted,
    ChannelLimitReached,
    ChannelNameConflict,
    ClientIdInUse,
    ConnectError,
    ConnectRefused,
    DuplicateDurable,
    InvalidClientId,
    InvalidSubscription,
    PublishError,
    PublishRefused,
    RequestRefused,
    SessionLost,
    SubscribeError,
    SubscribeRefused,
    SubscriptionLimitReached,
    UnknownSubscription,
)

Refusal = TypeVar("Refusal", bound=RequestRefused)

_SESSION_GONE = ("stan: unknown clientID", "can't find clientID")

_CHANNEL: Mapping[str, type[ChannelLimitReached | ChannelNameConflict | ChannelBeingDeleted]] = {
    "too many channels": ChannelLimitReached,
    "rejecting channel": ChannelNameConflict,
    "stan: channel is being deleted": ChannelBeingDeleted,
}

_SUBSCRIPTION: Mapping[str, type[SubscribeRefused]] = {
    "stan: duplicate durable registration": DuplicateDurable,
    "too many subscriptions per channel": SubscriptionLimitReached,
    "stan: invalid subscription request": InvalidSubscription,
    "stan: invalid unsubscribe request": InvalidSubscription,
    "stan: invalid subscription": UnknownSubscription,
    "stan: unknown channel": UnknownSubscription,
    "stan: invalid ack wait": InvalidSubscription,
    "stan: invalid MaxInflight": InvalidSubscription,
    "stan: invalid start": InvalidSubscription,
    "stan: invalid subject": InvalidSubscription,
    "stan: durable name": InvalidSubscription,
    "stan: clientID missing": InvalidSubscription,
}


def connect_error(text: str) -> ConnectError:
    """Return what an error in the answer to a connect request means."""
    if text.startswith("stan: clientID already registered"):
        return ClientIdInUse(text)
    if text.startswith("stan: invalid clientID"):
        return InvalidClientId(text)
    return ConnectRefused(text)


def publish_error(text: str) -> PublishError:
    """Return what an error in a PubAck means, for a message whose channel name is valid.

    For such a message, "invalid publish request" can only mean that the session is unknown.
    """
    if text.startswith("stan: invalid publish request"):
        return SessionLost(f"a publish was refused: {text}")
    return _by_start(text, _CHANNEL) or PublishRefused(text)


def subscription_error(text: str) -> SubscribeError:
    """Return what an error in the answer to a subscribe, unsubscribe or close means."""
    if text.startswith(_SESSION_GONE):
        return SessionLost(text)
    return _by_start(text, _CHANNEL) or _by_start(text, _SUBSCRIPTION) or SubscribeRefused(text)


def _by_start(text: str, kinds: Mapping[str, type[Refusal]]) -> Refusal | None:
    for start, kind in kinds.items():
        if text.startswith(start):
            return kind(text)
    return None
