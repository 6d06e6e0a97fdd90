"""One durable subscription: kept open on whatever connection there is, or removed for good.

Level-triggered: ``want_*`` says what is wanted, and one task works until it is so. A failure is
kept for ``/status`` and retried with backoff, so a refused durable harms no other.
"""

import asyncio
import contextlib
import enum
import time
from dataclasses import replace

import structlog

from dispatcher.runtime.signals import Signal
from dispatcher.runtime.tasks import BackgroundTasks
from dispatcher.stores.evidence import Owed
from dispatcher.stores.interface import (
    Acknowledger,
    DurableName,
    DurableOptions,
    DurableState,
    Receive,
    StartPosition,
    StoreError,
)
from dispatcher.stores.nats_streaming.errors import store_error
from dispatcher.stores.nats_streaming.fence import fence
from dispatcher.stores.nats_streaming.start_position import NatsStreamingStart
from natss import nats_streaming
from natss.backoff import Backoff
from natss.contract.labels import subject_labels
from natss.nats_streaming import Connection, NatsStreamingError, StartAt, SubscriptionOptions

log = structlog.get_logger(__name__)

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 30.0
"""Seconds before the next try after a refusal: doubled from the first to the longest."""


class DurableWish(enum.Enum):
    """What is wanted of a durable."""

    OPEN = enum.auto()
    UNSUBSCRIBED = enum.auto()
    RELEASED_ELSEWHERE = enum.auto()  # another process has unsubscribed it: nothing to do


class Tally:
    """Counts what a durable receives."""

    __slots__ = ("_count", "highest", "lowest")

    def __init__(self) -> None:
        self._count = 0
        self.lowest: int | None = None
        self.highest = 0

    def count(self, sequence: int) -> None:
        self._count += 1
        self.highest = max(self.highest, sequence)
        self.lowest = sequence if self.lowest is None else min(self.lowest, sequence)

    def sent_below(self, last: int, max_inflight: int) -> int:
        """Return the sequence below which the server has sent everything since the opening.

        It has stopped before the last event of the channel only if MaxInflight was reached.

        Args:
            last: Sequence of an event that was the last one when it was opened, or before.
            max_inflight: Of the durable.
        """
        has_stopped = self._count >= max_inflight
        return (self.highest if has_stopped else max(self.highest, last)) + 1


class NatsStreamingDurable:
    """A plain durable of this dispatcher's client id.

    Args:
        name: Its name.
        beginning: Its start position if the server does not know it yet.
        options: MaxInflight and AckWait.
        receive: Called with each message.
        gate: Bounds how many durables make requests to the server at once.
    """

    def __init__(
        self,
        name: DurableName,
        beginning: StartPosition,
        options: DurableOptions,
        receive: Receive,
        gate: asyncio.Semaphore,
    ) -> None:
        self.name = name
        self.state = DurableState.CLOSED
        self.last_error: str | None = None
        self.failure: StoreError | None = None
        """Why the server does not have what is wanted, for code that decides by its class."""
        self.opened_at: float | None = None
        """When it was first open since it is wanted (monotonic seconds)."""
        self._gate = gate
        self._changed = Signal()
        self._beginning = NatsStreamingStart.of(beginning)
        self._in_doubt = beginning.is_doubtful
        self._was_elsewhere = self._is_succeeded = False
        self._alive_at: float | None = None
        self._options = options
        self._receive = receive
        self._wish = DurableWish.OPEN
        self._reopenings = 0  # asked for
        self._reopened = 0  # of these, done
        self._connection: Connection | None = None
        self._subscription: nats_streaming.Subscription | None = None
        self._acknowledger: Acknowledger | None = None
        self._tally: Tally | None = None
        self.opened_over: Connection | None = None
        """The connection over which it was first open since it is wanted."""
        self._nudge = Signal()
        self._tasks = BackgroundTasks()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_leaving(self) -> bool:
        """Whether it is removed, or is to be."""
        return self._wish is not DurableWish.OPEN

    @property
    def is_released_elsewhere(self) -> bool:
        """Whether another process has unsubscribed it."""
        return self._wish is DurableWish.RELEASED_ELSEWHERE

    @property
    def connection(self) -> Connection | None:
        """The connection over which it is kept open now."""
        return self._connection

    @property
    def max_inflight(self) -> int:
        """MaxInflight as it is wanted."""
        return self._options.max_inflight

    @property
    def opening(self) -> str | None:
        """Identifies one opening on the server; None while it is not open there."""
        subscription = self._subscription
        return None if subscription is None or not subscription.is_open else subscription.inbox

    def begin_tally(self) -> Tally:
        """Count what is received from now on, until ``end_tally``."""
        self._tally = Tally()
        return self._tally

    def end_tally(self) -> None:
        self._tally = None

    def ack(self, sequence: int) -> None:
        """Acknowledge a settled event; without an open session, its next copy is."""
        if self._acknowledger is not None:
            self._acknowledger.ack(sequence)

    def connect(self, connection: Connection) -> None:
        """Be open on this connection from now on, which is a new one."""
        self._forget_subscription()
        self._connection = connection
        self._work()

    def disconnect(self, alive_at: float) -> None:
        """Note that the session is lost; ``alive_at`` is when it last answered (monotonic)."""
        if self.state is DurableState.OPEN:
            self._alive_at = alive_at
        self._forget_subscription()
        self._connection = None

    def change(self, options: DurableOptions) -> None:
        """Use another MaxInflight or AckWait; takes effect by reopening."""
        if options != self._options:
            self._options = options
            self.reopen()

    def reopen(self) -> None:
        """Have everything pending sent again at once."""
        self._reopenings += 1
        self._work()

    def remove(self) -> None:
        """Unsubscribe for good, as soon as that is possible."""
        if not self.is_leaving:
            self._wish = DurableWish.UNSUBSCRIBED
        self._work()

    def note_known(self) -> None:
        """Note that the server knows it: another process has opened it."""
        if self.opened_at is None:
            self._beginning = self._beginning.known()

    def release_elsewhere(self) -> None:
        """End as removed without a request: another process has unsubscribed it."""
        self._wish = DurableWish.RELEASED_ELSEWHERE
        if self.state is DurableState.CLOSED:
            self._set_state(DurableState.REMOVED)

    def doubt(self) -> None:
        """Note that another client had the client id: it may have asked for this durable.

        Or it may have unsubscribed it.
        """
        self._was_elsewhere = True
        if self.opened_at is None:
            self._in_doubt |= self._beginning.is_told  # or it may have been open there for long
            if self._is_succeeded:
                self._beginning = self._beginning.forgone()

    def forgo_beginning(self, *, is_latest: bool = False) -> None:
        """Prepare for a successor; see ``NatsStreamingStart.forgone``.

        Args:
            is_latest: Whether the ledger has no other successor that was open. Then only a client
                that this process does not know of could unsubscribe it: if the server does not know
                it, the store was lost.
        """
        self._is_succeeded = True
        if self.opened_at is None and (self._was_elsewhere or not is_latest):
            self._beginning = self._beginning.forgone()

    def want_again(
        self,
        beginning: StartPosition,
        options: DurableOptions,
        receive: Receive,
    ) -> None:
        """Make it wanted again after ``remove``: with its position, if the server has it."""
        self._wish = DurableWish.OPEN
        # If the server does not know it any more, that is because it was removed.
        self._beginning = replace(NatsStreamingStart.of(beginning), was_open=False)
        self._alive_at = self.opened_at = None
        self._options = options
        self._receive = receive
        self._tell_change()
        self.reopen()

    async def close(self) -> None:
        """Stop working on it. The durable stays on the server with its position."""
        await self._tasks.close()

    async def wait_open(self) -> None:
        while self.state is not DurableState.OPEN:
            await self._change()

    async def wait_open_or_gone(self) -> None:
        while self.state is DurableState.CLOSED:
            await self._change()

    async def wait_reopened(self) -> None:
        """Wait until it is open as it was last requested, or is not wanted any more."""
        while not self.is_leaving and not self._is_as_wanted():
            await self._change()

    async def wait_removed(self) -> bool:
        """Wait until the server has forgotten it; return False if it is wanted again instead."""
        while self.is_leaving and self.state is not DurableState.REMOVED:
            await self._change()
        return self.is_leaving

    async def wait_leaving(self) -> None:
        while not self.is_leaving:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _tell_change(self) -> None:
        self._changed.set()

    def _forget_subscription(self) -> None:
        self._subscription = self._acknowledger = None
        if self.state is DurableState.OPEN:
            self._set_state(DurableState.CLOSED)

    def _set_state(self, state: DurableState) -> None:
        self.state = state
        self._tell_change()

    def _work(self) -> None:
        self._tell_change()
        self._nudge.set()
        if self._task is None or self._task.done():
            self._task = self._tasks.start(self._converge(), f"durable {self.name}")

    async def _converge(self) -> None:
        """Work until the server has what is wanted (reconcile)."""
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while (connection := self._connection) is not None and not self._is_as_wanted():
            self._nudge.clear()
            try:
                async with self._gate:
                    await self._step(connection)
                backoff.reset()
                continue
            except NatsStreamingError as error:
                self.failure = store_error(error)
                self._tell(str(error), connection)
            except Exception as error:  # a bug must not leave it closed for ever
                about = subject_labels(self.name.subject)
                log.exception("durable failed, retrying", **about, durable=self.name.durable)
                self.last_error = repr(error)
            await self._rest(backoff.next())

    def _tell(self, reason: str, connection: Connection) -> None:
        """Log why the server does not have what is wanted, once for each reason."""
        if connection is self._connection and reason != self.last_error:
            log.warning(
                "durable refused, retrying",
                **subject_labels(self.name.subject),
                durable=self.name.durable,
                reason=reason,
            )
            self.last_error = reason

    async def _rest(self, seconds: float) -> None:
        """Wait before another try, but not when something else is wanted or there is a session."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()

    def _is_as_wanted(self) -> bool:
        if self.is_leaving:
            return self.state is DurableState.REMOVED
        return self.state is DurableState.OPEN and self._reopened == self._reopenings

    async def _step(self, connection: Connection) -> None:
        subscription = self._subscription
        reopenings = self._reopenings
        if subscription is None:
            opened = await self._open(connection)
            if connection is self._connection:
                self._subscription = self._acknowledger = opened
                self._opened(reopenings)
        elif self.is_leaving:
            await subscription.unsubscribe()
            self._subscription = self._acknowledger = None
            self._set_state(DurableState.REMOVED)
        else:
            options = self._options
            await subscription.reopen(
                replace(
                    subscription.options,
                    max_inflight=options.max_inflight,
                    ack_wait=options.ack_wait,
                )
            )
            self._opened(reopenings)

    async def _open(self, connection: Connection) -> nats_streaming.Subscription:
        beginning = self._beginning
        if self._in_doubt and beginning.may_be_late and self._alive_at is None:
            # At the limit of subscriptions the position cannot be looked up, but an existing
            # durable can be opened.
            with contextlib.suppress(nats_streaming.SubscriptionLimitReached):
                if (owed := await beginning.owed(connection, self.name.subject)) is not None:
                    return await self._open_at(connection, owed)
        if self._alive_at is not None and not self._was_elsewhere:
            start = StartAt.first()  # if the server does not know it, the store is a new one
        else:
            start = await beginning.start_on(connection, self.name.subject, self._alive_at)
        try:
            return await self._subscribe(connection, start)
        except (nats_streaming.RequestRefused, nats_streaming.NoResponders):
            raise
        except NatsStreamingError:
            self._in_doubt = True  # the server may handle that request at any time
            raise

    async def _open_at(self, connection: Connection, owed: Owed) -> nats_streaming.Subscription:
        """Open it, and start it anew if the server opened it too late already."""
        tally = self.begin_tally()
        try:
            start = StartAt.sequence(owed.sequence)
            opened = await self._subscribe(connection, start)
            is_known = owed.is_stored and await fence(connection, self.name.subject)
            if is_known and (tally.lowest is None or tally.lowest > owed.sequence):
                await opened.unsubscribe()
                opened = await self._subscribe(connection, start)
        finally:
            self.end_tally()
        return opened

    async def _subscribe(
        self, connection: Connection, start: StartAt
    ) -> nats_streaming.Subscription:
        options = self._subscription_options(start)
        return await connection.subscribe(self.name.subject, self._receive_message, options)

    def _receive_message(self, message: nats_streaming.Message) -> None:
        if self._acknowledger is None:  # it precedes the answer to the subscribe request
            self._acknowledger = message.subscription
        if self._tally is not None:
            self._tally.count(message.sequence)
        self._receive(message)

    def _opened(self, reopenings: int) -> None:
        self.last_error = self.failure = None
        self._reopened = reopenings
        self._in_doubt = self._was_elsewhere = False
        if self.opened_at is None:
            self.opened_at = time.monotonic()
            self.opened_over = self._connection
            if not self.is_leaving:  # otherwise it is opened only to be unsubscribed
                self._beginning.on_open()
        self._set_state(DurableState.OPEN)

    def _subscription_options(self, start: StartAt) -> SubscriptionOptions:
        return SubscriptionOptions(
            durable=self.name.durable,
            start=start,
            max_inflight=self._options.max_inflight,
            ack_wait=self._options.ack_wait,
            manual_ack=True,
        )
