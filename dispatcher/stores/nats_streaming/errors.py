"""Errors of NATS Streaming, translated into those of the interface."""

from collections.abc import Mapping

from dispatcher.stores.interface import (
    DeliveredElsewhere,
    EventTooLarge,
    LoginRefused,
    NotStored,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    TooManyChannels,
    TooManySubscriptions,
)
from natss import nats_streaming
from natss.nats_streaming import NatsStreamingError

_TRANSLATIONS: Mapping[type[NatsStreamingError], type[StoreError]] = {
    nats_streaming.AuthenticationFailed: LoginRefused,
    nats_streaming.ClientIdInUse: DeliveredElsewhere,
    nats_streaming.ChannelLimitReached: TooManyChannels,
    nats_streaming.SubscriptionLimitReached: TooManySubscriptions,
}
"""Errors that a caller tells from others; for any other only ``retriable`` counts."""


def store_error(error: NatsStreamingError) -> StoreError:
    """Translate why the server does not do what it should; the text stays."""
    kind = _TRANSLATIONS.get(type(error))
    if kind is None:
        kind = StoreUnavailable if error.retriable else StoreRefused
    return kind(str(error))


def not_stored(error: BaseException) -> NotStored:
    """Explain why a publish failed."""
    match error:
        case NotStored():
            return error
        case nats_streaming.MessageTooLarge():
            return EventTooLarge(error.size, error.limit)
        case nats_streaming.ChannelLimitReached():
            return NotStored(
                "channel_limit",
                "NATS Streaming has reached its limit of channels (max_channels)",
                retriable=True,
            )
        case nats_streaming.PublishTimeout():
            return NotStored("timeout", "NATS Streaming did not confirm in time", retriable=True)
        case nats_streaming.TooManyPublishes():
            return NotStored("overload", "too many events wait for NATS Streaming", retriable=True)
        case nats_streaming.NatsStreamingError():
            return NotStored(
                "unavailable" if error.retriable else "refused",
                f"NATS Streaming: {error}",
                retriable=error.retriable,
            )
        case _:
            return NotStored("error", f"{type(error).__name__}", retriable=True)
