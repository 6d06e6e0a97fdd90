"""A message as a subscriber receives it."""

from typing import Protocol


class MessageAcknowledger(Protocol):
    """The part of a subscription that its messages need."""

    @property
    def subject(self) -> str: ...

    def ack(self, sequence: int) -> None: ...


class Message:
    """A message as the server delivered it.

    ``(sequence, timestamp)`` is its identity: both stay the same when it comes again, and a channel
    that was removed and made anew has other timestamps.

    Attributes:
        sequence: its number in the channel, from 1.
        data: what was published.
        timestamp: when it was stored, in ns of Unix time.
        redelivered: whether the server says that it was sent before. Not reliable: a copy may come
            without it after a change of a cluster's leader.
        redelivery_count: how often it was sent again, as far as the server remembers.
        subscription: the subscription that delivered it.
    """

    __slots__ = (
        "data",
        "redelivered",
        "redelivery_count",
        "sequence",
        "subscription",
        "timestamp",
    )

    def __init__(
        self, subscription: MessageAcknowledger, sequence: int, timestamp: int, data: bytes
    ) -> None:
        self.subscription = subscription
        self.sequence = sequence
        self.timestamp = timestamp
        self.data = data
        self.redelivered = False
        self.redelivery_count = 0

    def __repr__(self) -> str:
        again = f" again({self.redelivery_count})" if self.redelivered else ""
        return f"<Message {self.subject} {self.sequence}{again} {len(self.data)} bytes>"

    @property
    def subject(self) -> str:
        return self.subscription.subject

    def ack(self) -> None:
        """Tell the server not to send it again. May be called late, twice, while disconnected."""
        self.subscription.ack(self.sequence)
