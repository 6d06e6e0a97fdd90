"""Moves the position of a subscription from one durable to another without losing an event.

A Subscription that is deleted and made again gets another uid, hence another durable. What the old
one owes is found out by evidence (``dispatcher.stores.evidence``). The new one starts
at the earliest event of that, and the window recognises what lies behind it and is settled. If that
is more than the window knows, the new one starts behind it all, and the old one stays until it owes
nothing.
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
"""Seconds until an old durable is asked again what it has pending: events expire in the store."""

_NOTHING = range(0)
_ANYTHING = range(1, sys.maxsize)


class Handover:
    """Opens the durable ``name`` at the position of those of ``owner``, and removes these.

    There are several if a former handover was cut short. Events go on to be delivered meanwhile.
    When ``run`` is cancelled both the old and the new may exist, as ``owner.durables``. It belongs
    to one session: in another one begin anew, for another process may have done a part of it.

    Args:
        store: Keeps the durables.
        owner: Gets the new one.
        name: Of the new one.
        ledger: A process that comes after this one knows of the durables what is in there.
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
        """Sequences of what only the old durables have, unless it is settled."""
        self._lowest = 0
        """The first of it, or the first that was not sent yet."""
        self._reached = 0
        """Below this sequence everything was sent to each of them."""
        self._session: StoreSession | None = None
        """In which that was found out; None if another process has removed the old durables."""

    async def run(self) -> bool:
        """Return when the new durable has everything, and the old ones may be removed.

        It ends early, and returns False, when yet another durable becomes wanted.
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
        """Unsubscribe the old durables; return those that are: one that is wanted again is not."""
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
        """The first event that the old durables have to finish, as far as it is known."""
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
        """Open the new durable where it misses nothing but what the old ones finish.

        If it is on record that it was open, and the server does not know it, the store was lost.
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
            # The store of another session may be another, in which that position means nothing.
            new.remove()
            await self._store.removed(new)
            self._owner.use(*self._olds)
        self._owner.use(new, *self._olds)
        if self._owed and start.kind is StartKind.SEQUENCE:
            await self._see_arrive(int(start.value), tally)
        new.end_tally()
        return new

    def _position(self, pending: PendingEvents | None, *, is_recorded: bool) -> Start:
        """Where the new durable starts; if it has all from there on, nothing is owed any more."""
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
        # Or nobody would know of the old durable if this process died. What comes again is taken
        # as settled in this session only: the store of another one may be another.
        window.take_as_settled(pending.reached)
        pending.session.lost.add_done_callback(lambda _: window.take_as_settled(0))
        return Start(StartKind.SEQUENCE, lowest)

    async def _not_after_wanted(self, start: Start, pending: PendingEvents) -> Start:
        """Miss nothing that was stored since the new durable is wanted.

        After a take-over an old durable may be one that the server did not know any more, and was
        made anew by asking for it. Then it says nothing about what was owed.
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
        """Leave nothing to the old durables if the new one has all of it as well.

        It is not where it was to start if NATS Streaming has known it before.
        """
        if self._session is None or start > self._lowest:
            return
        with contextlib.suppress(StoreError):
            has_arrived = await self._store.has_sent_all(self._session, self._name.subject)
            if has_arrived and tally.lowest is not None and tally.lowest <= start:
                self._owed = _NOTHING

    async def _finish(self) -> None:
        """Wait until the old durables owe nothing, or another one is wanted."""
        is_late = False
        while self._owed and self._is_wanted():
            if is_late or self._owes() is None:
                pending = await self._look()
                is_certain = pending is None or pending.is_certain
                if is_certain and self._has_all_been_sent() and self._owes() is None:
                    return
            if self._has_all_been_sent():  # what is new comes to the new one
                policy = self._owner.subscription.plan.policy
                for old in self._olds:
                    old.change(DurableOptions(1, policy.ack_wait))
            is_late = not await self._progress()

    def _has_all_been_sent(self) -> bool:
        """Whether everything that the old durables owe has been received."""
        return self._reached >= self._owed.stop

    async def _progress(self) -> bool:
        """Wait until an event is settled that is owed; False if that takes too long."""
        try:
            async with asyncio.timeout(_LOOK_AGAIN):
                await self._owner.subscription.progress(self._owed.stop)
        except TimeoutError:
            return False
        return True
