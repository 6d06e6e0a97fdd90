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
from dispatcher.durable import Durable, DurableName, DurableOptions
from dispatcher.subscription import Subscription

_COMPLETE_AFTER = 2.0
"""Seconds after the opening of a durable: everything pending was sent then, at once."""


class Successive(Protocol):
    """Whoever has a durable that may be succeeded by another."""

    durable: Durable
    successor: Durable | None
    subscription: Subscription
    changed_at: float
    """When another durable became wanted (monotonic seconds)."""


async def hand_over(broker: Broker, owner: Successive, name: DurableName) -> None:
    """Open the durable ``name`` at the position of ``owner.durable`` and remove the old one.

    Events go on to be delivered meanwhile. When this is cancelled both durables may exist, as
    ``owner.durable`` and ``owner.successor``.
    """
    old, subscription = owner.durable, owner.subscription
    old.forgo_start()
    await old.wait_open()
    opened_at = old.opened_at or time.monotonic()
    await asyncio.sleep(max(0.0, opened_at + _COMPLETE_AFTER - time.monotonic()))
    await broker.wait_free(name)
    new = broker.durable(
        name,
        position(subscription, min(opened_at, owner.changed_at)),
        DurableOptions.of(subscription.plan.policy),
        subscription.receive,
    )
    owner.successor = new
    subscription.durables = (old, new)
    await new.wait_open()
    owner.durable, owner.successor = new, old
    await broker.removed(old)
    subscription.durables = (new,)
    owner.successor = None


def position(subscription: Subscription, since: float) -> Start:
    """The earliest event that is not settled; if none ever came, all ``since`` (monotonic)."""
    window = subscription.window
    if window.highest == 0:
        return Start(StartKind.AGO, time.monotonic() - since)
    lowest = window.lowest_unsettled
    return Start(StartKind.SEQUENCE, window.highest + 1 if lowest is None else lowest)
