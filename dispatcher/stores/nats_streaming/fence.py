"""When everything has come that NATS Streaming had to send: known by its order, not by silence.

The server starts subscriptions one after the other, in the order in which they were made, and sends
everything over one connection (``processSubscriptionsStart`` of 0.25.6; older ones start each at
once). To a durable that starts it first sends again what is pending. So a durable with a pending
message is a fence: when that message comes again after a reopening, everything has come that was to
be sent for subscriptions made before. A first message would prove nothing, since whatever is
published is sent to every subscription at once, whether it has started or not.
"""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from natss.backoff import Backoff
from natss.nats_streaming import (
    Connection,
    ConnectionState,
    Message,
    NatsStreamingError,
    NoResponders,
    NotConnected,
    ServerUnavailable,
    StartAt,
    Subscription,
    SubscriptionOptions,
)

FENCE = "natss-dispatcher-fence"
"""The durable's name. A durable that a process has left behind is removed by the next process."""

_COMES_WITHIN = 5.0
"""Seconds from the answer to a subscribe request to the first message, if there is one."""

_COMES_AGAIN_WITHIN = 30.0
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
"""Seconds between two tries: doubled from the first to the longest."""

_TRIES_TO_END = 5
_ACK_WAIT = 3600
"""In seconds: nothing is sent again on its own as long as a fence is in use."""

_locks: "WeakKeyDictionary[Connection, dict[str, asyncio.Lock]]" = WeakKeyDictionary()
"""One fence at a time for each channel of a session: it has one name."""


@dataclass(slots=True)
class _Arrivals:
    first: asyncio.Event = field(default_factory=asyncio.Event)
    again: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, message: Message) -> None:
        self.first.set()
        if message.redelivered:
            self.again.set()


async def fence(connection: Connection, subject: str) -> bool:
    """Return True when everything has come that the server had to send for earlier subscriptions.

    Return False if the channel seems to have no event, so that nothing can be known.

    A link that is busy with that may delay the answer to a request, so requests are retried as long
    as the connection lasts.

    Raises:
        NatsStreamingError: the connection is lost, or the server refuses.
    """
    locks = _locks.setdefault(connection, {})
    async with locks.setdefault(subject, asyncio.Lock()):
        return await _pass(connection, subject)


async def _pass(connection: Connection, subject: str) -> bool:
    backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
    while True:
        try:
            has_passed = await _try(connection, subject)
        except NoResponders:
            raise
        except ServerUnavailable:
            has_passed = None
        if has_passed is not None:
            return has_passed
        if connection.state is not ConnectionState.OPEN:
            raise NotConnected("the connection was lost meanwhile")
        await asyncio.sleep(backoff.next())


async def _try(connection: Connection, subject: str) -> bool | None:
    """Try once; return None if it has to be tried again."""
    arrivals = _Arrivals()
    options = SubscriptionOptions(
        durable=FENCE,
        start=StartAt.last_received(),
        max_inflight=1,
        ack_wait=_ACK_WAIT,
        manual_ack=True,
    )
    subscription = await connection.subscribe(subject, arrivals.take, options)
    try:
        if not await _comes(arrivals.first, _COMES_WITHIN):
            return False
        if arrivals.again.is_set():
            return (
                None  # one that was left behind, whose ack wait may be over: only a new one counts
            )
        await subscription.reopen()
        return True if await _comes(arrivals.again, _COMES_AGAIN_WITHIN) else None
    finally:
        await _end(subscription)


async def _comes(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def last_message(connection: Connection, subject: str) -> Message | None:
    """Return the last event of a channel; see ``first_message``."""
    return await first_message(connection, subject, StartAt.last_received())


async def first_message(
    connection: Connection,
    subject: str,
    start: StartAt,
    *,
    within: float = _COMES_WITHIN,
    by_fence: bool = False,
) -> Message | None:
    """Return the event that a subscription would start with; None if there is none.

    Args:
        connection: The connection over which to ask.
        subject: The channel.
        start: The start position of such a subscription.
        within: Seconds to wait for it after the server has answered; silence does not prove that
            there is none.
        by_fence: Wait instead until it must have come. The channel must have an event.

    Raises:
        NatsStreamingError: the server cannot be asked.
    """
    found: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def take(message: Message) -> None:
        if not found.done():
            found.set_result(message)

    options = SubscriptionOptions(start=start, max_inflight=1, manual_ack=True)
    subscription = await connection.subscribe(subject, take, options)
    try:
        if by_fence:
            has_passed = await fence(connection, subject)
            if not has_passed and not found.done():
                raise ServerUnavailable("the channel's last event did not come in time")
            return found.result() if found.done() else None
        async with asyncio.timeout(within):
            return await found
    except TimeoutError:
        return None
    finally:
        await _end(subscription)


async def _end(subscription: Subscription) -> None:
    """Unsubscribe; if that fails, the end of the session or the next fence does it."""
    for _ in range(_TRIES_TO_END):
        try:
            await subscription.unsubscribe()
        except NoResponders:
            return
        except ServerUnavailable:
            continue
        except NatsStreamingError:
            return
        return
