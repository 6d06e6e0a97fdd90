"""The succession: a Subscription created anew gets a new durable, which succeeds the old one.

``dispatcher.durables.handover`` moves one position. This module decides when, and what is on record
for whichever process continues.
"""

import asyncio
import time
from collections.abc import Coroutine

import structlog

from dispatcher.durables.handover import Handover
from dispatcher.durables.ledger import Ledger
from dispatcher.durables.member import Member
from dispatcher.runtime.tasks import BackgroundTasks
from dispatcher.stores.evidence import SharedStore, StoreSession
from dispatcher.stores.interface import (
    DurableName,
    DurableOptions,
    DurableState,
    StartPosition,
)
from natss.contract.resources import Start

log = structlog.get_logger(__name__)


class Succession:
    """Hands over the durables of members whose Subscription has another uid.

    Args:
        store: Keeps the durables.
        ledger: Every durable that may exist.
        tasks: Owns the handovers.
    """

    def __init__(self, store: SharedStore, ledger: Ledger, tasks: BackgroundTasks) -> None:
        self._store = store
        self._ledger = ledger
        self._tasks = tasks

    def begin(self, member: Member, wanted_since: float) -> None:
        """Begin a handover, or notify the one under way of what is wanted now.

        Args:
            member: Its subscriber has another durable than the member.
            wanted_since: When that durable became wanted (monotonic seconds).
        """
        if member.is_handing_over:
            member.subscription.note_progress()
            return
        member.changed_at = wanted_since
        member.handover = self._tasks.start(
            self._hand_over(member), f"handover {member.subscription.name}"
        )

    def forgo(self, member: Member) -> None:
        """Prepare the durables of former uids for a successor: one that is gone opens nothing."""
        olds = [each for each in member.durables if each.name.durable != member.subscriber.durable]
        if not olds:
            return
        recorded = self._ledger.of(member.key.channel)
        ref = member.subscriber.ref
        opened = [each.durable for each in recorded if each.ref == ref and each.since is None]
        for old in olds:
            old.forgo_beginning(is_latest=opened[-1:] == [old.name.durable])

    async def _hand_over(self, member: Member) -> None:
        """Move the position to the durable of the present uid, until no other one is left."""
        channel = member.key.channel
        while not member.is_handed_over:
            session = await self._store.session()
            ref = member.subscriber.ref
            name = DurableName(member.durable.name.subject, member.subscriber.durable)
            self._ledger.want(channel, ref, name.durable, time.time(), name.subject)
            self.take_recorded(member)
            for old in member.durables:
                if old.name != name:
                    self._ledger.dismiss(channel, old.name.durable, self._ledger.grace)
            handover = Handover(self._store, member, name, self._ledger)
            if await _unless_lost(session, handover.run()):
                for old in await handover.remove():
                    self._ledger.forget(channel, old.name.durable)
        labels = member.subscription.metrics.labels
        log.info("durable handed over", **labels, durable=member.durable.name.durable)
        self.forget_passed_over(member)

    def take_recorded(self, member: Member) -> None:
        """Add the durables that another process has opened for the same Subscription."""
        channel, subscription = member.key.channel, member.subscription
        durables = [each for each in member.durables if each.state is not DurableState.REMOVED]
        known = {each.name.durable for each in durables} | {member.subscriber.durable}
        for record in self._ledger.of(channel):
            name = DurableName(record.subject, record.durable)
            is_other = (
                record.ref != member.subscriber.ref
                or record.durable in known
                or record.subject != member.durable.name.subject
            )
            if is_other or record.since is not None or self._store.is_taken(name):
                continue
            start = None if self._store.has_taken_over else Start()
            beginning = StartPosition(start, time.monotonic(), was_open=True)
            options = DurableOptions.of(subscription.plan.policy)
            durables.append(self._store.durable(name, beginning, options, subscription.receive))
        if durables:
            member.use(*durables)
        self.forgo(member)

    def forget_passed_over(self, member: Member) -> None:
        """Forget durables of uids that came and went before their handover: nothing is owed there.

        Without a session it is not known which durable has the position, so nothing is forgotten.
        """
        if not self._store.is_in_session:
            return
        ref = member.subscriber.ref
        for record in self._ledger.of(member.key.channel):
            is_candidate = record.ref == ref and record.since is not None
            name = DurableName(record.subject, record.durable)
            if is_candidate and not self._store.has(name):
                self._ledger.forget(record.channel, record.durable)


async def _unless_lost(session: StoreSession, work: Coroutine[object, object, bool]) -> bool:
    """Return the result of the work; cancel it and return False if the session is lost."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait((task, session.lost), return_when=asyncio.FIRST_COMPLETED)
        return task.done() and task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
