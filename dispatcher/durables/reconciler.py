"""The reconciler: makes the members match the wanted subscribers, level-triggered.

A removed subscriber gets no more events, but its durable is kept for a grace: a Subscription is
often deleted and created again under the same name, and then takes over the position of its
predecessor (``dispatcher.durables.handover``). If the whole channel is deleted there is no grace.
Every durable is on record from the moment it is wanted until the server has forgotten it
(``dispatcher.durables.ledger``), so that any process can continue where another one ended.
"""

import asyncio
from collections import defaultdict

from dispatcher.durables.applied import Applied, wanted_again
from dispatcher.durables.ledger import Ledger
from dispatcher.durables.leftovers import Leftovers
from dispatcher.durables.lifecycle import Facts
from dispatcher.durables.member import Member, MemberKey, make_plan
from dispatcher.durables.members import DeliveryParts, Members
from dispatcher.runtime.tasks import BackgroundTasks
from dispatcher.runtime.turns import Turns
from dispatcher.stores.evidence import SharedStore
from dispatcher.stores.interface import DurableName
from natss.contract.channel_id import ChannelId
from natss.contract.resources import Channel, DesiredState, Problem


class Reconciler:
    """Applies desired states.

    Args:
        store: Keeps the durables.
        ledger: Every durable that may exist, those of former and of other processes included.
        parts: For the delivery of each subscription.
    """

    def __init__(self, store: SharedStore, ledger: Ledger, parts: DeliveryParts) -> None:
        self._store = store
        self._ledger = ledger
        self._applied: dict[ChannelId, Applied] = {}
        self._seen: dict[ChannelId, int] = {}
        """By channel, the version of the merged records whose leftovers are taken care of."""
        self._tasks = BackgroundTasks()
        self.members = Members(store, ledger, parts, self._tasks)
        """Members in their grace are included."""
        self._leftovers = Leftovers(store, ledger, self.members, self._tasks)

    async def apply(self, state: DesiredState) -> list[Problem]:
        """Reconcile the members with a desired state; return what could not be used.

        A channel that is the same object as before is skipped. Other tasks get their turn in
        between, so do not call this again before it has returned.
        """
        turns = Turns()
        for member in wanted_again(self.members.in_grace(), state):
            self.members.stop_grace(member)  # before any other task has its turn
        await self._see_to_leftovers(state, turns)
        members: defaultdict[ChannelId, list[Member]] = defaultdict(list)
        for member in self.members.values():
            members[member.key.channel].append(member)
        applied = {}
        for name, channel in state.channels.items():
            before = self._applied.get(name)
            if before is None or before.is_deleted or before.channel is not channel:
                before = await self._apply_channel(channel, members[name], turns)
            applied[name] = before
        for name, channel in state.deleted.items():
            before = self._applied.get(name)
            if before is None or not before.is_deleted:
                before = await self._take_deleted(channel, turns)
            applied[name] = before
        self._applied = applied
        wanted = {key for name in state.channels for key in applied[name].keys}
        for member in tuple(self.members.values()):
            if member.key not in wanted:
                facts = Facts.of(state, member.key.channel, member.key.ref)
                self.members.go_on(member, facts)
                await turns.piece_done()
        return [problem for each in applied.values() for problem in each.problems]

    async def _see_to_leftovers(self, state: DesiredState, turns: Turns) -> None:
        """Take care of leftovers of channels whose merged records or places may have changed."""
        merged = self._ledger.merged()
        changed = {name: None for name, seen in merged.items() if self._seen.get(name) != seen}
        without_a_place = {
            name: None
            for name, before in self._applied.items()
            if before.channel.unserved.number and state.channels.get(name) is not before.channel
        }
        self._seen = merged
        for name in without_a_place | changed:
            channel = state.channels.get(name) or Channel(name, ())
            await self._leftovers.see_to(channel, state, turns)
            await turns.piece_done()

    async def _apply_channel(
        self, channel: Channel, members: list[Member], turns: Turns
    ) -> Applied:
        keys = tuple(MemberKey(channel.name, each.ref) for each in channel.subscribers)
        for each in members:
            if any(durable.name.subject != channel.subject for durable in each.durables):
                self.members.end(each)  # nobody inherits from an earlier channel of that name
                await turns.piece_done()
        self._rename(channel, members, set(keys))
        problems: list[Problem] = []
        for key, subscriber in zip(keys, channel.subscribers, strict=True):
            plan, faults = make_plan(channel, subscriber)
            problems += faults
            member = self.members.get(key)
            if member is not None:
                self.members.serve(member, channel, subscriber, plan)
            elif self._store.is_taken(DurableName(channel.subject, subscriber.durable)):
                message = f"its uid {subscriber.durable} is that of another subscriber"
                problems.append(Problem(f"Subscription {subscriber.ref}", "metadata.uid", message))
            else:
                self.members.add(key, channel, subscriber, plan)
            await turns.piece_done()
        return Applied(channel, keys, tuple(problems))

    def _rename(self, channel: Channel, members: list[Member], wanted: set[MemberKey]) -> None:
        """Keep a member that has disappeared under one name and is wanted under another one."""
        gone = {
            each.durable.name.durable: each
            for each in members
            if each.key not in wanted and self.members.has(each)
        }
        for subscriber in channel.subscribers if gone else ():
            key = MemberKey(channel.name, subscriber.ref)
            member = gone.pop(subscriber.durable, None)
            if member is not None and key not in self.members:
                self.members.rename(member, key)

    async def _take_deleted(self, channel: Channel, turns: Turns) -> Applied:
        """Add members for the durables of a channel that was deleted while no process watched.

        A durable that belongs to a member of another name is removed with that member. Call it once
        for each deletion, or what is unsubscribed is opened again.
        """
        for subscriber in channel.subscribers:
            key = MemberKey(channel.name, subscriber.ref)
            name = DurableName(channel.subject, subscriber.durable)
            if key not in self.members and not self._store.is_taken(name):
                plan, _ = make_plan(channel, subscriber)
                member = self.members.add(key, channel, subscriber, plan)
                self.members.end(member)  # before it is open, and delivers
            await turns.piece_done()
        return Applied(channel, (), (), is_deleted=True)

    async def drain(self) -> None:
        """Wait for the attempts under way and begin no new ones. Cancel to abandon the rest."""
        self.members.stop_graces()
        await asyncio.gather(*(each.subscription.drain() for each in self.members.values()))

    async def close(self) -> None:
        """Stop delivering. Never unsubscribe: the next process continues from here."""
        self.members.stop_graces()
        await self._tasks.close()
        for member in self.members.values():
            member.subscription.close()
