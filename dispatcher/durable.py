"""One durable subscription: kept open on whatever connection there is, or removed for good.

Level-triggered: ``want_*`` says what is wanted, and one task works until it is so. A failure is
kept for ``/status`` and tried again with backoff, so a refused durable harms no other.
"""

import asyncio
import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

import nats_streaming
from contract.resources import DeliveryPolicy, Start, StartKind
from dispatcher.subscription import Acknowledger, StoredMessage, concurrency
from dispatcher.tasks import cancel
from nats_streaming import Connection, NatsStreamingError, StartAt, SubscriptionOptions

log = structlog.get_logger(__name__)

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 30.0
"""Seconds before another try after a refusal: doubled from the first to the longest."""

_START_MARGIN = 0.1
"""Seconds that a start by time looks further back, for the way of the request to the server."""


class DurableState(enum.Enum):
    """``REMOVED`` is final."""

    CLOSED = "closed"  # not subscribed on the present connection
    OPEN = "open"
    REMOVED = "removed"  # unsubscribed: the server has forgotten its position


@dataclass(frozen=True, slots=True)
class DurableOptions:
    """What NATS Streaming has to know of a durable; MaxInflight and AckWait may change."""

    max_inflight: int
    ack_wait: int

    @classmethod
    def of(cls, policy: DeliveryPolicy) -> "DurableOptions":
        return cls(concurrency(policy), policy.ack_wait)


@dataclass(frozen=True, slots=True)
class DurableName:
    """Which durable: with the client id this is how NATS Streaming knows it."""

    subject: str
    durable: str

    def __str__(self) -> str:
        return f"{self.durable} of {self.subject}"


@dataclass(frozen=True, slots=True)
class Turn:
    """When a durable may talk to the server."""

    gate: asyncio.Semaphore
    predecessor: "Durable | None" = None
    """Of the same name and about to be removed: the server must have forgotten it first, or the
    removal would hit its successor."""


class Durable:
    """A plain durable of this dispatcher's client id.

    Args:
        name: Which one.
        start: Where it starts if the server does not know it yet.
        options: MaxInflight and AckWait.
        receive: Called with each message.
        turn: Bounds how many durables talk to the server at once, and says after which one.
    """

    def __init__(
        self,
        name: DurableName,
        start: Start,
        options: DurableOptions,
        receive: Callable[[StoredMessage], None],
        turn: "Turn",
    ) -> None:
        self.name = name
        self._turn = turn
        self.state = DurableState.CLOSED
        self.last_error: str | None = None
        self.opened_at: float | None = None
        """When it was first open in this process (monotonic seconds)."""
        self.changed = asyncio.Event()
        self._start = start
        self._wanted_since = time.monotonic()
        self._alive_at: float | None = None
        self._options = options
        self._receive = receive
        self._removal = False
        self._reopening = False
        self._connection: Connection | None = None
        self._subscription: nats_streaming.Subscription | None = None
        self._acknowledger: Acknowledger | None = None
        self._task: asyncio.Task[None] | None = None

    def ack(self, sequence: int) -> None:
        """Acknowledge a settled event; if no session is open its copy will be, when it comes."""
        if self._acknowledger is not None:
            self._acknowledger.ack(sequence)

    def connect(self, connection: Connection) -> None:
        """Be open on this connection from now on, which is a new one."""
        self._forget_subscription()
        self._connection = connection
        self._work()

    def disconnect(self, alive_at: float) -> None:
        """The session is lost; ``alive_at`` is when it was last known to live (monotonic)."""
        if self.state is DurableState.OPEN:
            self._alive_at = alive_at
        self._forget_subscription()
        self._connection = None

    def change(self, options: DurableOptions) -> None:
        """Go by another MaxInflight or AckWait; takes effect by reopening."""
        if options != self._options:
            self._options = options
            self.reopen()

    def reopen(self) -> None:
        """Have everything pending sent again at once."""
        self._reopening = True
        self._work()

    def remove(self) -> None:
        """Unsubscribe for good, as soon as that is possible."""
        self._removal = True
        self._work()

    async def close(self) -> None:
        """Stop working on it. The durable stays on the server with its position."""
        if self._task is not None:
            await cancel(self._task)

    async def wait_for(self, *states: DurableState) -> None:
        while self.state not in states:
            self.changed.clear()
            await self.changed.wait()

    def _forget_subscription(self) -> None:
        self._subscription = self._acknowledger = None
        if self.state is not DurableState.REMOVED:
            self._set_state(DurableState.CLOSED)

    def _set_state(self, state: DurableState) -> None:
        self.state = state
        self.changed.set()

    def _work(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._converge(), name=f"durable {self.name}")

    async def _converge(self) -> None:
        """Work until the server has what is wanted; never raises."""
        predecessor = self._turn.predecessor
        if predecessor is not None:
            await predecessor.wait_for(DurableState.REMOVED)
        wait = _FIRST_WAIT
        while (connection := self._connection) is not None and not self._is_as_wanted():
            try:
                async with self._turn.gate:
                    await self._step(connection)
                wait = _FIRST_WAIT
            except NatsStreamingError as error:
                if connection is not self._connection:
                    continue  # of a session that is gone; the next one is already there
                if str(error) != self.last_error:
                    log.warning(
                        "durable refused, trying on",
                        durable=self.name.durable,
                        subject=self.name.subject,
                        reason=str(error),
                    )
                self.last_error = str(error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

    def _is_as_wanted(self) -> bool:
        if self._removal:
            return self.state is DurableState.REMOVED
        return self.state is DurableState.OPEN and not self._reopening

    async def _step(self, connection: Connection) -> None:
        subscription = self._subscription
        if subscription is None:
            self._reopening = False
            opened = await connection.subscribe(
                self.name.subject, self._receive_message, self._subscription_options()
            )
            if connection is self._connection:
                self._subscription = self._acknowledger = opened
                self._opened()
        elif self._removal:
            await subscription.unsubscribe()
            self._subscription = self._acknowledger = None
            self._set_state(DurableState.REMOVED)
        else:
            self._reopening = False
            options = self._options
            await subscription.reopen(
                replace(
                    subscription.options,
                    max_inflight=options.max_inflight,
                    ack_wait=options.ack_wait,
                )
            )

    def _receive_message(self, message: nats_streaming.Message) -> None:
        if self._acknowledger is None:  # it comes before the answer to the subscribe request
            self._acknowledger = message.subscription
        self._receive(message)

    def _opened(self) -> None:
        self.last_error = None
        if self.opened_at is None:
            self.opened_at = time.monotonic()
        self._set_state(DurableState.OPEN)

    def _subscription_options(self) -> SubscriptionOptions:
        return SubscriptionOptions(
            durable=self.name.durable,
            start=self._start_at(),
            max_inflight=self._options.max_inflight,
            ack_wait=self._options.ack_wait,
            manual_ack=True,
        )

    def _start_at(self) -> StartAt:
        """Where to start if the server does not know this durable.

        It knew it once if it was open before: then its store was wiped, and what was stored since
        it was last known to live must not be missed. ``new`` means new since it was wanted, not
        since this request came through.
        """
        now = time.monotonic()
        if self._alive_at is not None:
            return StartAt.time_ago(now - self._alive_at + _START_MARGIN)
        start = self._start
        match start.kind:
            case StartKind.NEW:
                return StartAt.time_ago(now - self._wanted_since + _START_MARGIN)
            case StartKind.FIRST:
                return StartAt.first()
            case StartKind.LAST:
                return StartAt.last_received()
            case StartKind.SEQUENCE:
                return StartAt.sequence(int(start.value))
            case StartKind.TIME:
                return StartAt.time_ago(time.time() - start.value)
            case StartKind.AGO:
                return StartAt.time_ago(start.value + now - self._wanted_since)
