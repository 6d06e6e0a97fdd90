"""The handover: moves a subscription from one durable to another without losing an event.

A Subscription that is deleted and created again gets another uid, hence another durable. Evidence
(``dispatcher.stores.evidence``) shows what the old durable owes: events that are pending on it. The
new durable starts at the earliest of them, and the window recognises later events that are settled
already. If these are more than the window knows, the new durable starts after all of them, and the
old one stays until it owes nothing.
"""

import asyncio
import contextlib
import sys
import time

from dispatcher.durables.ledger import Ledger
from dispatcher.durables.member import Member
from dispatcher.stores.evidence import (
    Arrivals,
    PendingEvents,
    SharedDurable,
    SharedStore,
    StoreSession,
)
from dispatcher.stores.interface import DurableName, DurableOptions, StartPosition, StoreError
from natss.contract.resources import Order, Start, StartKind

_LOOK_AGAIN = 60.0
"""In seconds: when the store is asked again what is pending on an old durable, for events expire.
"""

_NOTHING = range(0)
_ANYTHING = range(1, sys.maxsize)


class Handover:
    """Opens the durable ``name`` at the position of the old durables of ``owner``; removes these.

    There are several old ones if an earlier handover was interrupted. Delivery continues meanwhile.
    If ``run`` is cancelled, old and new durables may both exist, as ``owner.durables``. A handover
    belongs to one session: in another session begin a new one, because another process may have
    done a part of it.

    Args:
        store: Keeps the durables.
        owner: The member that gets the new durable.
        name: The name of the new durable.
        ledger: All that the next process knows of the durables.
    """

    def __init__(
        self, store: SharedStore, owner: Member, name: DurableName, ledger: Ledger
    ) -> None:
        self._store = store
        self._owner = owner
        self._name = name
        self._ledger = ledger
        self._olds = tuple(each for each in owner.durables if each.name != name)
        self._owed = _NOTHING
        """The range of the events that only the old durables have; some of them may be settled."""
        self._lowest = 0
        """The first of these that is unsettled, or the first that has not been sent yet."""
        self._reached = 0
        """Everything below this sequence has been sent to each old durable."""
        self._session: StoreSession | None = None
        """The session of that evidence; None if another process has removed the old durables."""

    async def run(self) -> bool:
        """Hand over; return once the new durable has everything and the old ones may be removed.

        Return False early if yet another durable becomes wanted.
        """
        new = next((each for each in self._owner.durables if each.name == self._name), None)
        if new is None:
            new = await self._open()
        else:
            new.change(self._options())
            await new.wait_open()
            self._owed = _ANYTHING
        await self._finish()
        durables = [old.name.durable for old in self._olds]
        await self._ledger.succeeded(self._owner.key.channel, durables, self._name.durable)
        return self._is_wanted()

    async def remove(self) -> list[SharedDurable]:
        """Unsubscribe the old durables, except those wanted again; return the unsubscribed ones."""
        for old in self._olds:
            old.remove()
        are_removed = await asyncio.gather(*(self._store.removed(old) for old in self._olds))
        self._owner.use(*(each for each in self._owner.durables if each not in self._olds))
        return [old for old, gone in zip(self._olds, are_removed, strict=True) if gone]

    def _note_open(self) -> None:
        self._ledger.note_open(self._owner.key.channel, self._name.durable)

    def _is_wanted(self) -> bool:
        return self._owner.subscriber.durable == self._name.durable

    def _options(self) -> DurableOptions:
        return DurableOptions.of(self._owner.subscription.plan.policy)

    def _owes(self) -> int | None:
        """Return the first event that the old durables must still settle, as far as is known."""
        return self._owner.subscription.window.first_unsettled(self._owed)

    async def _look(self) -> PendingEvents | None:
        """Find out what the old durables owe; see ``find_pending``."""
        begun = time.monotonic()
        pending = await self._store.find_pending(self._olds)
        if pending is None:
            self._owed, self._reached, self._session = _NOTHING, 0, None
        elif pending.is_certain:
            if pending.session is not self._session:
                self._owed, self._session = pending.owed, pending.session
            self._reached = pending.reached
            self._owner.subscription.window.forget_released(begun, self._owed)
        return pending

    async def _open(self) -> SharedDurable:
        """Open the new durable where it misses nothing but what the old ones still deliver.

        If the ledger says that it was open, and the server does not know it, the store was lost.
        """
        record = self._ledger.get(self._owner.key.channel, self._name.durable)
        is_recorded = record is not None and record.since is None
        was_open = is_recorded and not self._store.has_taken_over
        while True:
            await self._store.wait_free(self._name)
            pending = await self._look()
            start = self._position(pending, is_recorded=is_recorded)
            if pending is not None and self._store.has_taken_over:
                start = await self._not_after_wanted(start, pending)
            if self._store.is_taken(self._name):
                continue
            beginning = StartPosition(start, time.monotonic(), was_open, self._note_open)
            receive = self._owner.subscription.receive
            new = self._store.durable(self._name, beginning, self._options(), receive)
            tally = new.begin_tally()
            self._owner.use(*self._olds, new)
            await new.wait_open()
            if pending is None or new.opened_over is pending.session:
                break
            # Another session may have another store, in which that position means nothing.
            new.remove()
            await self._store.removed(new)
            self._owner.use(*self._olds)
        self._owner.use(new, *self._olds)
        if self._owed and start.kind is StartKind.SEQUENCE:
            await self._see_arrive(int(start.value), tally)
        new.end_tally()
        return new

    def _position(self, pending: PendingEvents | None, *, is_recorded: bool) -> Start:
        """Return where the new durable starts; clear ``_owed`` if it gets everything from there."""
        if pending is None:  # another process has seen to everything
            return Start(StartKind.AGO, time.monotonic() - self._owner.changed_at)
        if not pending.is_certain:  # a durable that was open before does not start anew
            self._owed = _ANYTHING if is_recorded else _NOTHING
            return Start(StartKind.FIRST)
        window, end = self._owner.subscription.window, self._owed.stop
        unsettled = self._owes()
        lowest = pending.reached if unsettled is None else min(unsettled, pending.reached)
        self._lowest = lowest
        if lowest == end:
            self._owed = _NOTHING
            return Start(StartKind.SEQUENCE, end)
        if window.knows_all(range(lowest, end)):
            return Start(StartKind.SEQUENCE, lowest)
        is_in_order = self._owner.subscription.plan.policy.order is Order.CHANNEL
        if self._ledger.are_kept and not is_in_order:  # in order, one durable has to send it all
            return Start(StartKind.SEQUENCE, end)
        # Otherwise, if this process died, no process would know of the old durable. Events that
        # come again count as settled in this session only: another one may have another store.
        # After a take-over they do not: an old durable may have been made anew by asking for it,
        # and then it says nothing about what was acknowledged.
        if not self._store.has_taken_over:
            window.take_as_settled(pending.reached)
            pending.session.lost.add_done_callback(lambda _: window.take_as_settled(0))
        return Start(StartKind.SEQUENCE, lowest)

    async def _not_after_wanted(self, start: Start, pending: PendingEvents) -> Start:
        """Move the start back so that nothing stored since the new durable is wanted is missed.

        After a take-over the server may have forgotten an old durable and created it anew when it
        was opened. Such a durable says nothing about what was owed.
        """
        since = self._owner.changed_at
        try:
            owed = await self._store.owed_since(pending.session, self._name.subject, since)
        except StoreError:
            return Start(StartKind.AGO, time.monotonic() - since)
        if owed is None or start.kind is not StartKind.SEQUENCE or owed.sequence >= start.value:
            return start
        return Start(StartKind.SEQUENCE, owed.sequence)

    async def _see_arrive(self, start: int, tally: Arrivals) -> None:
        """Clear ``_owed`` if the new durable has received everything that the old ones owe.

        The new durable does not begin at ``start`` if NATS Streaming knew it before.
        """
        if self._session is None or start > self._lowest:
            return
        with contextlib.suppress(StoreError):
            has_arrived = await self._store.has_sent_all(self._session, self._name.subject)
            if has_arrived and tally.lowest is not None and tally.lowest <= start:
                self._owed = _NOTHING

    async def _finish(self) -> None:
        """Wait until the old durables owe nothing, or another durable is wanted."""
        is_late = False
        while self._owed and self._is_wanted():
            if is_late or self._owes() is None:
                pending = await self._look()
                is_certain = pending is None or pending.is_certain
                if is_certain and self._has_all_been_sent() and self._owes() is None:
                    return
            if self._has_all_been_sent():  # the new durable receives all later events
                policy = self._owner.subscription.plan.policy
                for old in self._olds:
                    old.change(DurableOptions(1, policy.ack_wait))
            is_late = not await self._progress()

    def _has_all_been_sent(self) -> bool:
        """Return whether everything that the old durables owe has been received."""
        return self._reached >= self._owed.stop

    async def _progress(self) -> bool:
        """Wait until an owed event is settled; return False if that takes too long."""
        try:
            async with asyncio.timeout(_LOOK_AGAIN):
                await self._owner.subscription.progress(self._owed.stop)
        except TimeoutError:
            return False
        return True
