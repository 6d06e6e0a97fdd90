"""NATS Streaming as a store of events: the adapter behind ``dispatcher.stores.interface``.

Two sessions: one publishes, under a client id of its own, so that every replica takes events in;
the other delivers, under the fixed client id that owns the durables, and waits while another
replica has it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast

from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.evidence import Owed, PendingEvents, SharedDurable, StoreSession
from dispatcher.stores.interface import (
    Durable,
    DurableName,
    DurableOptions,
    NotStored,
    Receive,
    StartPosition,
)
from dispatcher.stores.nats_streaming.durable import NatsStreamingDurable
from dispatcher.stores.nats_streaming.errors import not_stored, store_error
from dispatcher.stores.nats_streaming.fence import fence
from dispatcher.stores.nats_streaming.pending import find_pending
from dispatcher.stores.nats_streaming.session_keeper import SessionKeeper
from dispatcher.stores.nats_streaming.start_position import NatsStreamingStart
from natss import nats_streaming
from natss.contract.resources import Start
from natss.nats_streaming import Connection, ConnectionOptions

_DURABLES_AT_ONCE = 64
"""How many durables are opened at once: enough to hide the round trip, and a server that comes back
to thousands of them answers each within the request timeout.
"""


class OnSession(Protocol):
    """Called when this process gets or loses the client id of the durables."""

    def __call__(self, *, is_open: bool) -> None: ...


def _nothing_to_do(*, is_open: bool) -> None:
    """Do nothing; the default callback."""


class NatsStreamingStore:
    """Owns both sessions and all durables.

    Args:
        options: Those of the delivering session; the publishing one has its own client id.
        metrics: Receives the states of the connections.
        publisher_id: The client id to publish; differs from that of every other replica and former
            process.
        on_session: Called with ``is_open`` whenever this process gets or loses the client id of the
            durables.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        publisher_id: str,
        metrics: Metrics,
        on_session: OnSession = _nothing_to_do,
    ) -> None:
        publishing = replace(options, client_id=f"{options.client_id}-{publisher_id}")
        self.publishing = SessionKeeper("publish", publishing, _nothing_to_restore, metrics)
        self.delivering = SessionKeeper("deliver", options, self._restore, metrics)
        self._durables: dict[DurableName, NatsStreamingDurable] = {}
        self._gate = asyncio.Semaphore(_DURABLES_AT_ONCE)
        self._has_session = asyncio.Event()
        self.has_taken_over = False
        """Whether another client had the client id right before this session."""
        self._on_session = on_session

    def start(self) -> None:
        """Take events. ``start_delivering`` opens durables and takes the client id."""
        self.publishing.start()

    def start_delivering(self) -> None:
        """Deliver from now on; call it when the first durables are known.

        A process that is busy with loading them would be too silent for the server, and lose the
        client id to a process that waits for it.
        """
        self.delivering.start()

    async def close(self) -> None:
        """Close both sessions; never unsubscribe."""
        await asyncio.gather(*(durable.close() for durable in self._durables.values()))
        await asyncio.gather(self.publishing.close(), self.delivering.close())

    def publish(self, subject: str, data: bytes) -> "asyncio.Future[str]":
        """Store an event; see ``EventSink``."""
        connection = self.publishing.connection
        if connection is None:
            raise NotStored(
                "unavailable",
                f"NATS Streaming cannot be reached: {self.publishing.last_error}",
                retriable=True,
            )
        try:
            return connection.publish_nowait(subject, data)
        except nats_streaming.NatsStreamingError as error:
            raise not_stored(error) from error

    def not_stored(self, error: BaseException) -> NotStored:
        """Explain what a future of ``publish`` has failed with."""
        return not_stored(error)

    @property
    def max_event_bytes(self) -> int | None:
        """The largest message that the server takes, once it is known."""
        connection = self.publishing.connection
        return None if connection is None else connection.max_payload

    @property
    def not_restored(self) -> Mapping[DurableName, str]:
        """Durables that count as open, but have received nothing since an outage, and why."""
        return self.delivering.not_restored

    @property
    def is_in_session(self) -> bool:
        """Whether this process has the client id of the durables."""
        return self.delivering.connection is not None

    async def session(self) -> Connection:
        """Return the session that has the client id of the durables, as soon as there is one."""
        while (connection := self.delivering.connection) is None or connection.lost.done():
            self._has_session.clear()
            await self._has_session.wait()
        return connection

    def is_taken(self, name: DurableName) -> bool:
        """Return whether this durable has a holder that does not give it up."""
        durable = self._durables.get(name)
        return durable is not None and not durable.is_leaving

    async def wait_free(self, name: DurableName) -> None:
        """Wait until this durable has no holder, or its holder gives it up."""
        while (durable := self._durables.get(name)) is not None and not durable.is_leaving:
            await durable.wait_leaving()

    def durable(
        self,
        name: DurableName,
        beginning: StartPosition,
        options: DurableOptions,
        receive: Receive,
    ) -> NatsStreamingDurable:
        """Return a durable that is kept open until it is removed; see ``Durable``.

        One that is about to be removed is wanted again, with its position if it still has one.

        Raises:
            ValueError: it is taken.
        """
        if self.is_taken(name):
            raise ValueError(f"the durable {name} is taken")
        durable = self._durables.get(name)
        if durable is not None:
            durable.want_again(beginning, options, receive)
            return durable
        durable = self._durables[name] = NatsStreamingDurable(
            name, beginning, options, receive, self._gate
        )
        if self.delivering.connection is not None:
            durable.connect(self.delivering.connection)
        return durable

    def has(self, name: DurableName) -> bool:
        """Return whether it is known here: wanted, or to be removed."""
        return name in self._durables

    async def find_pending(self, durables: Sequence[SharedDurable]) -> PendingEvents | None:
        """Have everything pending sent again; see ``dispatcher.stores.evidence``."""
        return await find_pending(cast("Sequence[NatsStreamingDurable]", durables))

    async def has_sent_all(self, session: StoreSession, subject: str) -> bool:
        """Return True when all has come that the server had to send."""
        try:
            return await fence(cast("Connection", session), subject)
        except nats_streaming.NatsStreamingError as error:
            raise store_error(error) from error

    async def owed_since(
        self, session: StoreSession, subject: str, wanted_since: float
    ) -> Owed | None:
        """Find the first event since a moment."""
        start = NatsStreamingStart(Start(), wanted_since)
        try:
            return await start.owed(cast("Connection", session), subject)
        except nats_streaming.NatsStreamingError as error:
            raise store_error(error) from error

    def note_known(self, name: DurableName) -> None:
        """Note that the server knows this durable: another process has opened it."""
        durable = self._durables.get(name)
        if durable is not None:
            durable.note_known()

    def release_elsewhere(self, name: DurableName) -> bool:
        """Note that another process has unsubscribed it; return whether to remove it here still.

        The process that has the session decides alone, and removes it in its time.
        """
        durable = self._durables.get(name)
        if durable is not None and self.delivering.connection is None:
            durable.release_elsewhere()
        return durable is not None and not durable.is_released_elsewhere

    async def removed(self, durable: Durable) -> bool:
        """Wait until a durable that is to be removed is; return False if it is wanted again."""
        if not await durable.wait_removed():
            return False
        if self._durables.get(durable.name) is durable:
            durable = self._durables.pop(durable.name)
            self.delivering.not_restored.pop(durable.name, None)
            await durable.close()
        return True

    def _restore(self, connection: Connection) -> None:
        connection.lost.add_done_callback(lambda _: self._session_lost(connection.last_answer))
        self.has_taken_over = self.delivering.has_stood_by
        for durable in self._durables.values():
            if self.has_taken_over:
                durable.doubt()
            durable.connect(connection)
        self._has_session.set()
        self._on_session(is_open=True)

    def _session_lost(self, alive_at: float) -> None:
        self._on_session(is_open=False)
        for durable in self._durables.values():
            durable.disconnect(alive_at)


def _nothing_to_restore(_: Connection) -> None:
    """Restore nothing: publishing needs only a session."""
