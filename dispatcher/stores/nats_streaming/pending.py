"""What NATS Streaming has pending for durables, determined by evidence and not by a timeout.

When a durable is opened, the server first sends all that is pending, then what it has not sent yet,
until MaxInflight is reached. ``dispatcher.stores.nats_streaming.fence`` reports when all of that
has come.
"""

import asyncio
from collections.abc import Sequence

from dispatcher.stores.evidence import PendingEvents
from dispatcher.stores.interface import DurableState
from dispatcher.stores.nats_streaming.durable import NatsStreamingDurable, Tally
from dispatcher.stores.nats_streaming.fence import fence, last_message
from natss.backoff import Backoff
from natss.nats_streaming import NatsStreamingError

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
"""Seconds between two tries: doubled from the first to the longest."""


async def find_pending(durables: Sequence[NatsStreamingDurable]) -> PendingEvents | None:
    """Have everything pending sent again, and return when it has come.

    While NATS Streaming is away, it waits. Returns None if no durable is left, since another
    process has unsubscribed them.

    Args:
        durables: Durables of one channel; they are reopened.
    """
    backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
    while True:
        await asyncio.gather(*(durable.wait_open_or_gone() for durable in durables))
        present = [each for each in durables if each.state is not DurableState.REMOVED]
        if not present:
            return None
        tallies = [each.begin_tally() for each in present]
        try:
            found = await _find(present, tallies)
        except NatsStreamingError:  # the durables and the connection report why
            found = None
        finally:
            for each in present:
                each.end_tally()
        if found is not None:
            return found
        await asyncio.sleep(backoff.next())


async def _find(durables: list[NatsStreamingDurable], tallies: list[Tally]) -> PendingEvents | None:
    """Try once; return None if a durable was opened anew meanwhile."""
    connection = durables[0].connection
    if connection is None:
        return None
    subject = durables[0].name.subject
    last = await last_message(connection, subject)
    if last is None:
        return PendingEvents(connection, range(1, 1), 1, is_certain=False)
    for durable in durables:
        durable.reopen()
    await asyncio.gather(*(durable.wait_reopened() for durable in durables))
    openings = [durable.opening for durable in durables]
    if not await fence(connection, subject):
        return None
    is_same = openings == [durable.opening for durable in durables]
    if None in openings or not is_same or durables[0].connection is not connection:
        return None
    sent_below = [
        tally.sent_below(last.sequence, durable.max_inflight)
        for durable, tally in zip(durables, tallies, strict=True)
    ]
    reached, end = min(sent_below), max(sent_below)
    begin = min(tally.lowest or reached for tally in tallies)
    return PendingEvents(connection, range(min(begin, reached), end), reached)
