"""Moves the position of a subscription from one durable to another without losing an event.

A Subscription that is deleted and made again gets another uid, hence another durable. The new
durable starts at the earliest event that the old one has not settled; what lies behind it and is
settled is recognised by the window and only acknowledged.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from contract.resources import Start, StartKind
from dispatcher.beginning import Beginning
from dispatcher.broker import Broker
from dispatcher.durable import Durable, DurableName, DurableOptions
from dispatcher.subscription import Subscription

_COMPLETE_AFTER = 2.0
"""Seconds after the opening of a durable: everything pending was sent then, at once."""


class Successive(Protocol):
    """Whoever has durables that may be succeeded by another."""

    subscription: Subscription
    changed_at: float
    """When another durable became wanted (monotonic seconds)."""

    @property
    def durables(self) -> tuple[Durable, ...]: ...

    def use(self, *durables: Durable) -> None: ...


async def hand_over(
    broker: Broker, owner: Successive, name: DurableName, on_open: Callable[[], None]
) -> list[Durable]:
    """Open the durable ``name`` at the position of those of ``owner``, and remove these.

    Those that were removed are returned: one that somebody wants meanwhile is not.

    There are several if a former handover was cut short. Events go on to be delivered meanwhile.
    When this is cancelled both the old and the new may exist, as ``owner.durables``.

    Args:
        broker: Keeps the durables.
        owner: Gets the new one.
        name: Of the new one.
        on_open: Called when the new one is open.
    """
    before = owner.durables
    opened = await _opened(before)
    new = next((each for each in before if each.name == name), None)
    if new is None:
        await broker.wait_free(name)
        since = min([owner.changed_at, *(at for at in opened if at is not None)])
        new = broker.durable(
            name,
            Beginning(position(owner.subscription, since), time.monotonic(), on_open=on_open),
            DurableOptions.of(owner.subscription.plan.policy),
            owner.subscription.receive,
        )
    olds = tuple(each for each in before if each is not new)
    owner.use(*olds, new)
    await new.wait_open()
    owner.use(new, *olds)
    for old in olds:
        old.remove()
    are_removed = await asyncio.gather(*(broker.removed(old) for old in olds))
    owner.use(new)
    return [old for old, is_removed in zip(olds, are_removed, strict=True) if is_removed]


async def _opened(durables: tuple[Durable, ...]) -> list[float | None]:
    """Wait until all that is pending has come; gives when each was opened (monotonic seconds)."""
    for durable in durables:
        durable.forgo_beginning()
    await asyncio.gather(*(durable.wait_open_or_gone() for durable in durables))
    opened = [durable.opened_at for durable in durables]
    complete = max((at + _COMPLETE_AFTER for at in opened if at is not None), default=0.0)
    await asyncio.sleep(max(0.0, complete - time.monotonic()))
    return opened


def position(subscription: Subscription, since: float) -> Start:
    """The earliest event that is not settled; if none ever came, all ``since`` (monotonic)."""
    window = subscription.window
    if window.highest == 0:
        return Start(StartKind.AGO, time.monotonic() - since)
    lowest = window.lowest_unsettled
    return Start(StartKind.SEQUENCE, window.highest + 1 if lowest is None else lowest)
