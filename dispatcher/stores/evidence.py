"""What a store proves of its durables: the part of the seam that handovers need.

Nothing is unsubscribed that may hold events which nobody else has. What is pending, and whether all
of it has come, only the store can tell; silence and timers prove nothing.
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
    """One session in which this process delivers. In another one the store may be another."""

    @property
    def lost(self) -> "asyncio.Future[Any]":
        """Done when the session has ended."""


class Arrivals(Protocol):
    """Which events a durable has received since somebody asked."""

    @property
    def lowest(self) -> int | None:
        """The lowest sequence among them; None if nothing has come."""


@dataclass(frozen=True, slots=True)
class PendingEvents:
    """What is known of the durables of one channel."""

    session: StoreSession
    """In which it was found out. It holds for this session: another may have another store."""

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
        """Begin with nothing where it was removed already: another durable succeeds it.

        Args:
            is_latest: Whether no other one is on record as a successor that was open.
        """

    def begin_tally(self) -> Arrivals:
        """Note what is received from now on, until ``end_tally``."""

    def end_tally(self) -> None: ...


class SharedStore(EventStore, Protocol):
    """A store whose durables belong to whichever process delivers, and which says what they owe."""

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
        """Know that another process has opened this durable."""

    def release_elsewhere(self, name: DurableName) -> bool:
        """Know that another process has unsubscribed this durable.

        Return whether it is still to be removed here: a process that delivers decides alone.
        """

    async def find_pending(self, durables: Sequence[SharedDurable]) -> PendingEvents | None:
        """Have everything pending sent again, and return when it has come.

        It takes as long as the store is away. None if no durable is left, since another process
        has unsubscribed them.

        Args:
            durables: Of one channel; they are reopened.
        """

    async def has_sent_all(self, session: StoreSession, subject: str) -> bool:
        """Return True when all has come that was to be sent for durables opened before.

        False if the channel seems to have no event, so that nothing can be known.

        Raises:
            StoreError: The session is lost, or the store refuses.
        """

    async def owed_since(
        self, session: StoreSession, subject: str, wanted_since: float
    ) -> Owed | None:
        """Find the first event since a moment (monotonic seconds); None if there seems to be none.

        Raises:
            StoreError: The store could not be asked in time.
        """
