"""The interface between the dispatcher and a store of events, whichever it is.

A store keeps the events of channels and hands them to durable subscriptions, *durables*, each with
a position of its own. ``EventStore`` is what the dispatcher asks of it; an adapter, in a folder of
its own beside this file, translates that into the terms and the errors of one product.
"""

import asyncio
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from natss.contract.resources import DeliveryPolicy, Start

# --- publishing -----------------------------------------------------------------------------------


class NotStored(Exception):
    """An event was not stored, as far as the store knows.

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


class EventSink(Protocol):
    """Takes events to be stored: the part of a store that publishers need."""

    def publish(self, subject: str, data: bytes) -> "asyncio.Future[str]":
        """Store an event under a subject.

        Returns:
            A future that is done when the event is stored. ``not_stored`` explains what it fails
            with.

        Raises:
            NotStored: It is known at once that the event cannot be stored.
        """

    def not_stored(self, error: BaseException) -> NotStored:
        """Explain what a future of ``publish`` has failed with."""

    @property
    def max_event_bytes(self) -> int | None:
        """The largest event that the server takes, None while that is unknown."""


# --- errors ---------------------------------------------------------------------------------------


class StoreError(Exception):
    """The store does not do what it should; one class for each decision of a caller."""

    retriable: ClassVar[bool] = True
    """Whether it may pass without a person changing something."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or cannot do now what was asked."""


class StoreRefused(StoreError):
    """The store refuses, and will do so again until a person changes something."""

    retriable = False


class LoginRefused(StoreRefused):
    """The store does not accept the credentials, or they cannot be read."""


class DeliveredElsewhere(StoreError):
    """Another client delivers, perhaps another dispatcher; stand by for failover when it ends."""


class TooManyChannels(StoreError):
    """The store has reached its limit of channels. Raising that limit helps."""


class TooManySubscriptions(StoreError):
    """The channel has reached its limit of subscriptions, offline durables included."""


# --- durables -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DurableName:
    """Identifies a durable: a store has one of that name on a subject."""

    subject: str
    durable: str

    def __str__(self) -> str:
        return f"{self.durable} of {self.subject}"


@dataclass(frozen=True, slots=True)
class DurableOptions:
    """Options of a durable that the store has to know; both may change while it is open."""

    max_inflight: int
    """How many events may be sent and not acknowledged."""

    ack_wait: int
    """Ack wait: seconds after which an event that is not acknowledged is sent again."""

    @classmethod
    def of(cls, policy: DeliveryPolicy) -> "DurableOptions":
        return cls(policy.concurrency, policy.ack_wait)


class DurableState(enum.Enum):
    """The state of a durable; it changes with the connection and with what is wanted."""

    CLOSED = "closed"  # not subscribed on the present connection
    OPEN = "open"
    REMOVED = "removed"  # unsubscribed: the store has forgotten its position


def _nobody_cares() -> None:
    """Do nothing; the default of ``on_open``."""


@dataclass(frozen=True, slots=True)
class StartPosition:
    """Start position of a durable that the store does not know yet."""

    start: Start | None
    """None to start with what comes next."""

    wanted_since: float
    """When it was first wanted (monotonic seconds), perhaps before this process began."""

    was_open: bool = False
    """Whether the store has known it, opened by another process."""

    on_open: Callable[[], None] = _nobody_cares
    """Called when it is open for the first time since it is wanted."""

    is_doubtful: bool = False
    """Whether another process may have asked for it, and the store opened it later, too late: how
    long ago the start is counts from when the store handles the request.
    """

    is_told: bool = False
    """Whether other processes report what they have opened to this one at once."""


class StoredMessage(Protocol):
    """A message as the store delivers it."""

    @property
    def sequence(self) -> int:
        """Its place in the channel, from 1."""

    @property
    def timestamp(self) -> int:
        """When it was stored, in nanoseconds since the epoch."""

    @property
    def data(self) -> bytes: ...
    @property
    def redelivered(self) -> bool: ...


Receive = Callable[[StoredMessage], None]
"""Takes each message that a durable delivers; it must not wait."""


class Acknowledger(Protocol):
    """Takes the sequences of settled events; never fails and never waits."""

    def ack(self, sequence: int) -> None: ...


class MessageSource(Acknowledger, Protocol):
    """Where the messages of a subscription come from."""

    def reopen(self) -> None:
        """Have everything that is not acknowledged sent again at once."""


class Durable(MessageSource, Protocol):
    """One durable subscription: kept open as long as it is wanted, or removed for good.

    Say what is wanted (``change``, ``reopen``, ``remove``); the adapter works until it is so, and
    retries what fails.
    """

    @property
    def name(self) -> DurableName: ...
    @property
    def state(self) -> DurableState: ...

    @property
    def last_error(self) -> str | None:
        """Why the store does not have what is wanted, for people."""

    @property
    def failure(self) -> StoreError | None:
        """The same, for code that decides by its class."""

    @property
    def opened_at(self) -> float | None:
        """When it was first open since it is wanted (monotonic seconds)."""

    @property
    def is_leaving(self) -> bool:
        """Whether it is removed, or is to be."""

    def change(self, options: DurableOptions) -> None:
        """Use other options from now on."""

    def remove(self) -> None:
        """Unsubscribe for good, as soon as that is possible."""

    async def wait_open(self) -> None: ...
    async def wait_open_or_gone(self) -> None: ...
    async def wait_leaving(self) -> None: ...

    async def wait_removed(self) -> bool:
        """Wait until the store has forgotten it; return False if it is wanted again instead."""


# --- the store ------------------------------------------------------------------------------------


class ConnectionHealth(Protocol):
    """The health of one of the two connections to the store: to publish, or to deliver."""

    @property
    def role(self) -> str:
        """``publish`` or ``deliver``."""

    @property
    def is_open(self) -> bool:
        """Whether it works now."""

    @property
    def was_open(self) -> asyncio.Event:
        """Set once it has worked for the first time."""

    @property
    def last_error(self) -> str | None:
        """Why it does not work, for people; None while it does."""

    @property
    def failure(self) -> StoreError | None:
        """The same, for code that decides by its class; None also if nothing was tried since."""


class EventStore(EventSink, Protocol):
    """A store of events, with every durable of this process."""

    @property
    def publishing(self) -> ConnectionHealth: ...
    @property
    def delivering(self) -> ConnectionHealth: ...

    @property
    def not_restored(self) -> Mapping[DurableName, str]:
        """Durables that count as open, but have received nothing since an outage, and why."""

    def start(self) -> None:
        """Take events from now on. ``start_delivering`` opens durables."""

    def start_delivering(self) -> None:
        """Open durables from now on; call it when the first ones are known."""

    async def close(self) -> None:
        """Stop working; every durable keeps its position."""

    def durable(
        self,
        name: DurableName,
        beginning: StartPosition,
        options: DurableOptions,
        receive: Receive,
    ) -> Durable:
        """Return a durable that is kept open until it is removed.

        One that is about to be removed is wanted again, with its position if it still has one.

        Raises:
            ValueError: It is taken.
        """

    def is_taken(self, name: DurableName) -> bool:
        """Return whether this durable has a holder that does not give it up."""

    async def wait_free(self, name: DurableName) -> None:
        """Wait until this durable has no holder, or its holder gives it up."""

    def has(self, name: DurableName) -> bool:
        """Return whether it is known here: wanted, or to be removed."""

    async def removed(self, durable: Durable) -> bool:
        """Wait until a durable that is to be removed is; return False if it is wanted again."""
