"""What a store proves about its durables: the part of the interface that handovers need.

Nothing is unsubscribed that may hold events which no other durable has. Only the store can tell
what is pending, and whether all of it has come; silence and timers prove nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dispatcher.stores.interface import (
    Durable,
    DurableName,
    DurableOptions,
    EventStore,
    Receive,
    StartPosition,
)


class StoreSession(Protocol):
    """One session in which this process delivers. Another session may have another store."""

    @property
    def lost(self) -> "asyncio.Future[Any]":
        """Done when the session has ended."""


class Arrivals(Protocol):
    """The events that a durable has received since ``begin_tally``."""

    @property
    def lowest(self) -> int | None:
        """The lowest sequence among them; None if nothing has come."""


@dataclass(frozen=True, slots=True)
class PendingEvents:
    """What is pending for the durables of one channel."""

    session: StoreSession
    """The session in which it was determined. It holds for this session: another may have another
    store.
    """

    owed: range
    """Sequences in which everything pending lies. It ends where nothing was sent yet to any of the
    durables; it is empty if nothing is pending."""

    reached: int
    """All events below this sequence were sent to each of the durables. What is pending of them has
    been received, and everything else was acknowledged."""

    is_certain: bool = True
    """False if the channel seems to have no event at all, but nothing proves it."""


@dataclass(frozen=True, slots=True)
class Owed:
    """The first event that a durable must not miss."""

    sequence: int
    is_stored: bool
    """Whether there is such an event already."""


class SharedDurable(Durable, Protocol):
    """A durable that other processes may open and unsubscribe as well."""

    @property
    def is_released_elsewhere(self) -> bool:
        """Whether another process has unsubscribed it."""

    @property
    def opened_over(self) -> StoreSession | None:
        """The session in which it was first open since it is wanted."""

    def forgo_beginning(self, *, is_latest: bool = False) -> None:
        """Prepare for a successor: if the store does not know the durable, open nothing.

        Args:
            is_latest: Whether the ledger has no other successor that was open.
        """

    def begin_tally(self) -> Arrivals:
        """Record what is received from now on, until ``end_tally``."""

    def end_tally(self) -> None: ...


class SharedStore(EventStore, Protocol):
    """A store whose durables belong to the delivering process, and which proves what they owe."""

    @property
    def has_taken_over(self) -> bool:
        """Whether another process delivered right before this one."""

    @property
    def is_in_session(self) -> bool:
        """Whether this process delivers now, and so decides what is opened and unsubscribed."""

    async def session(self) -> StoreSession:
        """Return the session in which this process delivers, as soon as there is one."""

    def durable(
        self,
        name: DurableName,
        beginning: StartPosition,
        options: DurableOptions,
        receive: Receive,
    ) -> SharedDurable: ...

    def note_known(self, name: DurableName) -> None:
        """Note that another process has opened this durable."""

    def release_elsewhere(self, name: DurableName) -> bool:
        """Note that another process has unsubscribed this durable.

        Return whether it is still to be removed here: a process that delivers decides alone.
        """

    async def find_pending(self, durables: Sequence[SharedDurable]) -> PendingEvents | None:
        """Have everything pending sent again, and return when it has come.

        While the store is away, it waits. Returns None if no durable is left, since another process
        has unsubscribed them.

        Args:
            durables: Durables of one channel; they are reopened.
        """

    async def has_sent_all(self, session: StoreSession, subject: str) -> bool:
        """Return True when all has come that was to be sent for durables opened before.

        Return False if the channel seems to have no event, so that nothing can be known.

        Raises:
            StoreError: The session is lost, or the store refuses.
        """

    async def owed_since(
        self, session: StoreSession, subject: str, wanted_since: float
    ) -> Owed | None:
        """Find the first event since a moment (monotonic seconds); return None if none is found.

        Raises:
            StoreError: The store could not be asked in time.
        """
