"""What the dispatcher asks of a store of events, whichever it is: its words and its errors."""

import asyncio
from collections.abc import Callable
from typing import Protocol

Publish = Callable[[str, bytes], "asyncio.Future[str]"]
"""Stores data under a subject. Raises ``NotStored`` at once, or gives a future that is done when
the event is stored; what it fails with is explained by ``not_stored``."""


class NotStored(Exception):
    """An event was not stored, as far as anyone knows.

    Attributes:
        reason: A short label for metrics.
        retriable: Whether posting the same event again later may succeed.
    """

    def __init__(self, reason: str, message: str, *, retriable: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.retriable = retriable


class EventTooLarge(NotStored):
    """The stored form of an event is larger than the server takes; sizes in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            "too_large",
            f"the event takes {size} bytes when stored, the NATS server {limit} (its max_payload):"
            " send less, or raise max_payload there",
            retriable=False,
        )
        self.size = size
        self.limit = limit


class StoredMessage(Protocol):
    """A message as NATS Streaming delivers it."""

    @property
    def sequence(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def data(self) -> bytes: ...
    @property
    def redelivered(self) -> bool: ...


class Acknowledger(Protocol):
    """Takes the sequences of settled events; never fails and never waits."""

    def ack(self, sequence: int) -> None: ...


class MessageSource(Acknowledger, Protocol):
    """Where the messages of a subscription come from."""

    def reopen(self) -> None:
        """Have everything that is not acknowledged sent again at once."""
