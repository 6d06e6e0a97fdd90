"""Errors as types: one class for each decision that a caller takes.

Every error says in ``retriable`` whether the same call may succeed later without a change by a
person, be it on this connection or, after ``SessionLost``, on a new one. ``refusals.py`` maps the
texts of the server to these errors.
"""

from typing import ClassVar


class NatsStreamingError(Exception):
    """Base of every error that this package raises."""

    retriable: ClassVar[bool] = False


class InvalidOptions(NatsStreamingError, ValueError):
    """A value in the options can never work; the text says which and why."""


class ConnectError(NatsStreamingError):
    """No session could be opened."""

    retriable = True


class PublishError(NatsStreamingError):
    """A message was not stored, as far as the client knows."""

    retriable = True


class SubscribeError(NatsStreamingError):
    """A subscription was not made, changed or ended."""

    retriable = True


class NatsUnreachable(ConnectError):
    """No NATS server could be reached; ``reasons`` has one text for each server tried."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("no NATS server can be reached: " + "; ".join(reasons))
        self.reasons = reasons


class AuthenticationFailed(ConnectError):
    """NATS refused the credentials, or they could not be read."""

    retriable = False


class TlsNotOffered(ConnectError):
    """TLS was asked for, and the NATS server does not speak it."""

    retriable = False


class InvalidClientId(ConnectError):
    """A client id is one or more of ASCII letters, digits, ``-`` and ``_``."""

    retriable = False


class ClientIdInUse(ConnectError):
    """Another session answers under this client id, or the server is still checking for one.

    Retry with a backoff: it ends when the other client closes or dies.
    """


class ConnectRefused(ConnectError):
    """The server refused the session for another reason; ``text`` is what it said."""

    def __init__(self, text: str) -> None:
        super().__init__(f"the server refused the session: {text}")
        self.text = text


class NotConnected(PublishError, SubscribeError):
    """There is no connection to NATS now, or it ended before the answer came.

    In the second case the outcome is unknown: the server may have done what was asked.
    """


class ConnectionClosed(NotConnected):
    """The owner closed the connection."""

    retriable = False


class SessionLost(PublishError, SubscribeError):
    """The server no longer knows this session; ``reason`` says how that was learnt.

    The connection cannot be used any more: make a new one, and subscribe everything again.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the session is gone: {reason}")
        self.reason = reason


class ServerUnavailable(ConnectError, PublishError, SubscribeError):
    """NATS works, but no NATS Streaming server answered; the outcome is unknown.

    None runs, it is recovering, or it has another cluster id.
    """


class NoResponders(ServerUnavailable):
    """NATS reports that nobody listens: no server saw the request."""


class InvalidChannelName(PublishError, SubscribeError, ValueError):
    """The name breaks the server's rules for channels."""

    retriable = False

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"invalid channel name {name[:80]!r}: {rule}")
        self.name = name
        self.rule = rule


class MessageTooLarge(PublishError):
    """The message, packed, is larger than NATS takes. Both sizes are in bytes."""

    retriable = False

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"message of {size} bytes, packed; NATS takes {limit}")
        self.size = size
        self.limit = limit


class TooManyPublishes(PublishError):
    """The bound on messages, or bytes, that wait for the server's answer is reached."""


class PublishTimeout(PublishError):
    """The server did not answer in time. The message may be stored nevertheless."""


class RequestRefused(NatsStreamingError):
    """The server refused; ``text`` is what it said."""

    def __init__(self, text: str) -> None:
        super().__init__(f"the server refused: {text}")
        self.text = text


class PublishRefused(RequestRefused, PublishError):
    """The server did not store the message."""

    retriable = True


class SubscribeRefused(RequestRefused, SubscribeError):
    """The server did not make, change or end the subscription."""

    retriable = True


class InvalidSubscription(SubscribeRefused):
    """The server can never accept these options."""

    retriable = False


class ChannelLimitReached(PublishRefused, SubscribeRefused):
    """The server has ``max_channels`` channels. Only raising that limit helps."""


class ChannelNameConflict(PublishRefused, SubscribeRefused):
    """A channel exists whose name differs in upper and lower case only."""

    retriable = False


class ChannelBeingDeleted(PublishRefused, SubscribeRefused):
    """The server is removing the channel for inactivity; a second later it can be created again."""


class SubscriptionLimitReached(SubscribeRefused):
    """The channel has ``max_subs`` subscriptions, offline durables included."""


class DuplicateDurable(SubscribeRefused):
    """The durable is active under this client id already.

    If the connection has no such subscription, a former owner of the client id has it; or an
    earlier answer was lost, and the server is older than 0.21. Then only a new session helps: after
    the third refusal in a row the connection is lost.
    """


class UnknownSubscription(SubscribeRefused):
    """The server has no such subscription; to a caller that wanted to end it, it has ended."""
