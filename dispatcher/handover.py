"""Moves the position of a subscription from one durable to another without losing an event.

A Subscription that is deleted and made again gets another uid, hence another durable. The new
durable starts at the earliest event that the old one has not settled; what lies behind it and is
settled is recognised by the window and only acknowledged.
"""

import asyncio
import time
from typing import Protocol

from contract.resources import Start, StartKind
from dispatcher.broker import Broker
from dispatcher.durable import Durable, DurableName, DurableOptions, DurableState
from dispatcher.subscription import Subscription

_COMPLETE_AFTER_ACK_WAITS = 1.5
"""After so many ack waits everything pending has been sent to this process at least once."""


class Successive(Protocol):
    """Whoever has a durable that may be succeeded by another."""

    durable: Durable
    successor: Durable | None
    subscription: Subscription


async def hand_over(broker: Broker, owner: Successive, name: DurableName) -> None:
    """Open the durable ``name`` at the position of ``owner.durable`` and remove the old one.

    Events go on to be delivered meanwhile. When this is cancelled both durables may exist, as
    ``owner.durable`` and ``owner.successor``.
    """
    old, subscription = owner.durable, owner.subscription
    policy = subscription.plan.policy
    await old.wait_for(DurableState.OPEN)
    opened_at = old.opened_at or time.monotonic()
    complete_at = opened_at + _COMPLETE_AFTER_ACK_WAITS * policy.ack_wait
    await asyncio.sleep(max(0.0, complete_at - time.monotonic()))
    new = broker.durable(
        name, position(subscription, opened_at), DurableOptions.of(policy), subscription.receive
    )
    owner.successor = new
    await new.wait_for(DurableState.OPEN)
    owner.durable = subscription.durable = new
    owner.successor = old
    old.remove()
    await old.wait_for(DurableState.REMOVED)
    broker.forget(old)
    owner.successor = None


def position(subscription: Subscription, opened_at: float) -> Start:
    """The earliest event that is not settled; if none ever came, all since the durable was open."""
    window = subscription.window
    if window.highest == 0:
        return Start(StartKind.AGO, time.monotonic() - opened_at)
    lowest = window.lowest_unsettled
    return Start(StartKind.SEQUENCE, window.highest + 1 if lowest is None else lowest)
