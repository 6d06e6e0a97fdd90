"""When all has come that NATS Streaming had to send: known by its order, not by silence.

The server starts subscriptions one after the other, in the order in which they were made, and sends
all messages and answers over one connection (``processSubscriptionsStart`` of 0.25.6; older ones
start each at once). So when a subscription has its first message, everything has come that was to
be sent for those made before it.
"""

import asyncio

from nats_streaming import (
    Connection,
    ConnectionState,
    Message,
    NatsStreamingError,
    NoResponders,
    ServerUnavailable,
    StartAt,
    Subscription,
    SubscriptionOptions,
)

_COMES_WITHIN = 5.0
"""Seconds from the answer to a subscribe request to the first message, if there is one. The server
sends one after the other."""

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
"""Seconds between two tries: doubled from the first to the longest."""

_TRIES_TO_END = 5


async def fence(connection: Connection, subject: str) -> bool:
    """Return True when all has come that the server had to send for subscriptions made before.

    False if the channel seems to have no event, so that nothing can be known.

    A link that is busy with that may be too slow for the answer to a request, so it is tried again
    as long as the connection lasts.

    Raises:
        NatsStreamingError: the connection is lost, or the server refuses.
    """
    wait = _FIRST_WAIT
    while True:
        try:
            return await last_message(connection, subject) is not None
        except NoResponders:
            raise
        except ServerUnavailable:
            if connection.state is not ConnectionState.OPEN:
                raise
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


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
    """Return the event that a subscription would begin with; None if there is none.

    Args:
        connection: To ask over.
        subject: The channel.
        start: Where such a subscription would begin.
        within: Seconds to wait for it after the server has answered; nothing proves then that
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
            await fence(connection, subject)
            return found.result() if found.done() else None
        async with asyncio.timeout(within):
            return await found
    except TimeoutError:
        return None
    finally:
        await _end(subscription)


async def _end(subscription: Subscription) -> None:
    """Unsubscribe; what the server does not hear of goes with the session."""
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
