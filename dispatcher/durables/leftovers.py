"""Leftovers: durables on record that no member has, left by former or by other processes.

A process continues where another one ended, with all that it has done and has not done. Everything
is decided from what is on record and what is wanted now, whenever either may have changed.
"""

import time
from collections import defaultdict

from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.durables.lifecycle import Facts, Life
from dispatcher.durables.member import MemberKey
from dispatcher.durables.members import Members
from dispatcher.runtime.tasks import BackgroundTasks
from dispatcher.runtime.turns import Turns
from dispatcher.stores.evidence import SharedStore
from dispatcher.stores.interface import DurableName
from natss.contract.channel_id import ChannelId
from natss.contract.resources import Channel, DesiredState, ResourceName


class Leftovers:
    """Takes care of the durables that no member has.

    Args:
        store: Keeps the durables.
        ledger: Every durable that may exist.
        members: The subscribers that have durables.
        tasks: Owns the removals that wait for a session.
    """

    def __init__(
        self, store: SharedStore, ledger: Ledger, members: Members, tasks: BackgroundTasks
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._members = members
        self._tasks = tasks
        self._passed_over: set[tuple[ChannelId, str]] = set()
        """Durables that were never opened, to be removed once this process has a session."""

    async def see_to(self, channel: Channel, state: DesiredState, turns: Turns) -> None:
        """Keep, hand over or unsubscribe the durables of a channel that no member has."""
        self._take_removals(channel)
        left: defaultdict[ResourceName, list[DurableRecord]] = defaultdict(list)
        for record in self._left_of(channel):
            if record.subject != channel.subject and channel.name in state.channels:
                if self._is_left(record):
                    self._end(channel, record)
                    await turns.piece_done()
            else:
                left[record.ref].append(record)
        for ref, records in left.items():
            still = [each for each in records if self._is_left(each)]
            if still:
                self._keep(channel, ref, still, state)
            await turns.piece_done()

    def _take_removals(self, channel: Channel) -> None:
        """Take notice of the durables that another process has unsubscribed."""
        gone = self._ledger.take_unsubscribed_elsewhere(channel.name)
        if not gone:
            return
        wanted = {subscriber.durable for subscriber in channel.subscribers}
        keys = {MemberKey(channel.name, subscriber.ref) for subscriber in channel.subscribers}
        for durable in gone - wanted - self._successors(keys):
            record = self._ledger.get(channel.name, durable)
            subject = record.subject if record is not None else channel.subject
            if not self._store.release_elsewhere(DurableName(subject, durable)):
                self._ledger.forget(channel.name, durable)
        for member in tuple(self._members.values()):
            is_wanted = member.key in keys or member.key.channel != channel.name
            is_of_former = member.life in {Life.RETAINED, Life.HELD}
            if is_wanted and not is_of_former:  # else who comes back begins anew
                continue
            if all(each.is_leaving for each in member.durables):
                self._members.end(member)

    def _successors(self, keys: set[MemberKey]) -> set[str]:
        """Return the durables that handovers wait for: they are opened before they take over."""
        return {
            durable.name.durable
            for key in keys
            if (member := self._members.get(key)) is not None and member.is_handing_over
            for durable in member.durables
            if (record := self._ledger.get(key.channel, durable.name.durable)) is not None
            and record.due is None
        }

    def _left_of(self, channel: Channel) -> list[DurableRecord]:
        """Return the durables on record of a channel that no subscriber here has or wants."""
        wanted = {subscriber.durable for subscriber in channel.subscribers}
        left = []
        for record in self._ledger.of(channel.name):
            name = DurableName(record.subject, record.durable)
            is_of_this = record.subject == channel.subject
            if record.since is None:
                self._store.note_known(name)
            if is_of_this and record.ref in channel.unserved.durables:
                now, subject = time.time(), record.subject
                self._ledger.want(channel.name, record.ref, record.durable, now, subject)
            elif not (
                (is_of_this and record.durable in wanted)
                or self._store.has(name)
                or self._awaits_its_turn(record)
            ):
                left.append(record)
        return left

    def _is_left(self, record: DurableRecord) -> bool:
        """Return whether a durable is still on record, and no member has it."""
        is_recorded = self._ledger.get(record.channel, record.durable) is not None
        return is_recorded and not self._store.has(DurableName(record.subject, record.durable))

    def _awaits_its_turn(self, record: DurableRecord) -> bool:
        """Return whether a handover under way takes care of a durable that was never opened."""
        member = self._members.get(MemberKey(record.channel, record.ref))
        return record.since is not None and member is not None and member.is_handing_over

    def _keep(
        self,
        channel: Channel,
        ref: ResourceName,
        records: list[DurableRecord],
        state: DesiredState,
    ) -> None:
        """Keep what is left of a Subscription, which may come back and inherit the backlog.

        Several durables are left if it came back more than once and a handover was interrupted.
        Those that were ever opened have everything together; if none was, the first one has.
        """
        predecessors = [each for each in records if each.since is None] or records[:1]
        present = self._members.get(MemberKey(channel.name, ref))
        if present is None:
            member = self._members.add_left(channel, ref, predecessors)
            dues = [each.due for each in predecessors if each.due is not None]
            grace = max(0.0, max(dues) - time.time()) if dues else None
            self._members.go_on(member, Facts.of(state, channel.name, ref), grace)
        elif predecessors[0].since is None:
            self._members.succession.take_recorded(present)
        else:
            predecessors = []
        for record in records:
            passed_over = (channel.name, record.durable)
            if record not in predecessors and passed_over not in self._passed_over:
                self._passed_over.add(passed_over)
                removal = self._end_when_in_session(channel, record)
                self._tasks.start(removal, f"removal {record.durable}")

    async def _end_when_in_session(self, channel: Channel, record: DurableRecord) -> None:
        """Remove a durable that was never opened, unless another process opens it before that."""
        await self._store.session()
        self._passed_over.discard((channel.name, record.durable))
        current = self._ledger.get(channel.name, record.durable)
        members = [each for each in self._members.values() if each.key.channel == channel.name]
        is_wanted = any(each.subscriber.durable == record.durable for each in members)
        is_passed_over = current is not None and current.since is not None
        if is_passed_over and not is_wanted and self._is_left(record):
            self._end(channel, record)

    def _end(self, channel: Channel, record: DurableRecord) -> None:
        """Remove a durable that no member has, through a member named after the durable."""
        alone = ResourceName(record.ref.namespace, record.durable)
        self._members.end(self._members.add_left(channel, alone, [record]))
