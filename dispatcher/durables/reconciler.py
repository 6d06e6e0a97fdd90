"""The subscriptions that there are: makes the actual ones follow the wanted ones.

A subscriber that goes is not delivered to from that moment on, but its durable is kept for a
grace: a Subscription is often deleted and made again under the same name, and then takes over the
position of its predecessor (``dispatcher.durables.handover``). When its whole channel is deleted
there is no grace. Every durable is recorded from the moment when it is wanted until the server has
forgotten it (``dispatcher.durables.ledger``), so that any process goes on where another one ended.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import structlog

from dispatcher.delivery.attempts import Attempts, Plan
from dispatcher.delivery.subscription import DeliveryState, SubscriptionDelivery
from dispatcher.durables.applied import Applied, wanted_again, without_a_place
from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.durables.member import Member, MemberKey, make_plan
from dispatcher.durables.succession import Succession
from dispatcher.egress.client import Egress
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.fair_share import FairShares
from dispatcher.runtime.metrics import Metrics
from dispatcher.runtime.tasks import BackgroundTasks, cancel
from dispatcher.runtime.turns import Turns
from dispatcher.stores.interface import DurableName, DurableOptions, StartPosition
from dispatcher.stores.nats_streaming.store import NatsStreamingStore
from natss.contract.resources import (
    Channel,
    DesiredState,
    Problem,
    ResourceName,
    Start,
    Subscriber,
)

log = structlog.get_logger(__name__)


class Fanout:
    """Applies desired states.

    Args:
        broker: Keeps the durables.
        egress: Posts the events.
        metrics: Gets an entry for each subscription.
        budget: Memory for events that all subscriptions share.
        records: Every durable that there may be, those of former and of other processes included.
        lanes: Each subscription has one of its own.
    """

    def __init__(
        self,
        broker: NatsStreamingStore,
        egress: Egress,
        metrics: Metrics,
        budget: ByteBudget,
        records: Ledger,
        lanes: FairShares,
    ) -> None:
        self._broker = broker
        self._egress = egress
        self._metrics = metrics
        self._budget = budget
        self._records = records
        self._lanes = lanes
        self._state = DesiredState({})
        self._applied: dict[ResourceName, Applied] = {}
        self._deleted: set[ResourceName] = set()
        self._members: dict[MemberKey, Member] = {}
        self._left: set[tuple[ResourceName, str]] = set()
        """Durables that were never open, and are to be removed once this process may."""
        self._tasks = BackgroundTasks()
        self._succession = Succession(broker, records, self._tasks)

    @property
    def members(self) -> Mapping[MemberKey, Member]:
        """Those in their grace included."""
        return self._members

    async def apply(self, state: DesiredState) -> list[Problem]:
        """Make the subscriptions the wanted ones; what could not be used is returned.

        A channel that is the same object as before is not looked at again. Others get their turn
        now and then, so it must have returned before it is called again.
        """
        channels, deleted = state.channels, state.deleted
        turns = Turns()
        self._state = state
        for member in wanted_again(self._members.values(), state):
            if member.grace is not None:  # before any other task has its turn
                member.grace.cancel()
        news = {**without_a_place(self._applied, state), **self._records.take_news()}
        for name, given_up in news.items():
            await self._take_news(channels.get(name) or Channel(name, ()), given_up, turns)
            await turns.piece_done()
        members: defaultdict[ResourceName, list[Member]] = defaultdict(list)
        for member in self._members.values():
            members[member.key.channel].append(member)
        applied = {}
        for name, channel in channels.items():
            before = self._applied.get(name)
            if before is None or before.channel is not channel:
                before = await self._apply_channel(channel, members[name], turns)
            applied[name] = before
        self._applied = applied
        for name in deleted.keys() - self._deleted:
            await self._take_over(deleted[name], turns)
        self._deleted = set(deleted)
        wanted = {key for each in applied.values() for key in each.keys}
        for member in tuple(self._members.values()):
            if member.key not in wanted and self._members.get(member.key) is member:
                self._dispense_with(member, state)
                await turns.piece_done()
        return [problem for each in applied.values() for problem in each.problems]

    def _dispense_with(self, member: Member, state: DesiredState) -> None:
        """Have no more of a member than is wanted: nothing, or only its durables."""
        key = member.key
        if key.channel in state.deleted:
            self._end_now(member)
        elif state.has_no_place(key.channel, key.ref):
            self._set_aside(member)
        elif member.grace is None and not state.may_want(key.channel, key.ref):
            self._begin_grace(member, self._records.grace)

    def _set_aside(self, member: Member) -> None:
        """Keep the durables of a member whose place another one has."""
        if member.grace is not None:
            member.grace.cancel()
            member.grace = None
        for durable in member.durables:
            subject, name = durable.name.subject, durable.name.durable
            self._records.want(member.key.channel, member.key.ref, name, time.time(), subject)
        if member.subscription.state is not DeliveryState.PAUSED:
            member.subscription.pause()
            log.warning(
                "subscription is not served: its channel has too many",
                **member.subscription.metrics.labels,
            )

    async def _take_news(self, channel: Channel, given_up: set[str], turns: Turns) -> None:
        """Go on where another process ended: with what it has done, and with what it has not."""
        if given_up:
            self._take_removals(channel, given_up)
        left: defaultdict[ResourceName, list[DurableRecord]] = defaultdict(list)
        for record in self._left_of(channel):
            if record.subject != channel.subject and channel.name in self._state.channels:
                if self._is_left(channel, record):
                    self._end_left(channel, record)
                    await turns.piece_done()
            else:
                left[record.ref].append(record)
        for ref, records in left.items():
            still = [each for each in records if self._is_left(channel, each)]
            if still:
                self._keep_left(channel, ref, still)
            await turns.piece_done()

    def _take_removals(self, channel: Channel, given_up: set[str]) -> None:
        """Know what another process has unsubscribed."""
        wanted = {subscriber.durable for subscriber in channel.subscribers}
        keys = {MemberKey(channel.name, subscriber.ref) for subscriber in channel.subscribers}
        for durable in given_up - wanted - self._heirs(keys):
            record = self._records.get(channel.name, durable)
            subject = record.subject if record is not None else channel.subject
            if not self._broker.give_up(DurableName(subject, durable)):
                self._records.forget(channel.name, durable)
        for member in tuple(self._members.values()):
            is_wanted = member.key in keys or member.key.channel != channel.name
            if member.grace is None and is_wanted:
                continue
            if all(each.is_leaving for each in member.durables):
                self._end_now(member)

    def _left_of(self, channel: Channel) -> list[DurableRecord]:
        """The durables of a channel that are on record, and that nobody here has or wants."""
        wanted = {subscriber.durable for subscriber in channel.subscribers}
        left = []
        for record in self._records.of(channel.name):
            name = DurableName(record.subject, record.durable)
            is_of_this = record.subject == channel.subject
            if record.since is None:
                self._broker.note_known(name)
            if is_of_this and record.ref in channel.unserved.durables:
                now, subject = time.time(), record.subject
                self._records.want(channel.name, record.ref, record.durable, now, subject)
            elif not (
                (is_of_this and record.durable in wanted)
                or self._broker.has(name)
                or self._awaits_its_turn(record)
            ):
                left.append(record)
        return left

    def _is_left(self, channel: Channel, record: DurableRecord) -> bool:
        """Whether a durable is on record still, and nobody has it."""
        is_recorded = self._records.get(channel.name, record.durable) is not None
        return is_recorded and not self._broker.has(DurableName(record.subject, record.durable))

    def _awaits_its_turn(self, record: DurableRecord) -> bool:
        """Whether a handover under way will see to a durable that was never open."""
        member = self._members.get(MemberKey(record.channel, record.ref))
        return (
            record.since is not None
            and member is not None
            and member.handover is not None
            and not member.handover.done()
        )

    def _heirs(self, keys: set[MemberKey]) -> set[str]:
        """The durables that handovers wait for: they are opened before they are succeeded."""
        return {
            durable.name.durable
            for key in keys
            if (member := self._members.get(key)) is not None
            and member.handover is not None
            and not member.handover.done()
            for durable in member.durables
            if (record := self._records.get(key.channel, durable.name.durable)) is not None
            and record.due is None
        }

    def _keep_left(self, channel: Channel, ref: ResourceName, records: list[DurableRecord]) -> None:
        """Keep what is left of a Subscription, for it may come back and inherit the backlog.

        Several durables are left if it came back before, more than once, and that was cut short.
        Together those that were ever open have everything; without any, the first one has.
        """
        heirless = [each for each in records if each.since is None] or records[:1]
        present = self._members.get(MemberKey(channel.name, ref))
        if present is None:
            member = self._add_left(channel, ref, heirless)
            if self._state.may_want(channel.name, ref):
                self._hold(member)
            else:
                dues = [each.due for each in heirless if each.due is not None]
                wait = max(0.0, max(dues) - time.time()) if dues else self._records.grace
                self._begin_grace(member, wait)
        elif heirless[0].since is None:
            self._succession.take_recorded(present)
        else:
            heirless = []
        for record in records:
            left = (channel.name, record.durable)
            if record not in heirless and left not in self._left:
                self._left.add(left)
                removal = self._end_left_when_open(channel, record)
                self._tasks.start(removal, f"removal {record.durable}")

    async def _end_left_when_open(self, channel: Channel, record: DurableRecord) -> None:
        """Remove what was never open, unless another process opens it before this one may."""
        await self._broker.session()
        self._left.discard((channel.name, record.durable))
        name = DurableName(record.subject, record.durable)
        current = self._records.get(channel.name, record.durable)
        members = [each for each in self._members.values() if each.key.channel == channel.name]
        is_wanted = any(each.subscriber.durable == record.durable for each in members)
        is_left = current is not None and current.since is not None
        if is_left and not is_wanted and not self._broker.has(name):
            self._end_left(channel, record)

    def _end_left(self, channel: Channel, record: DurableRecord) -> None:
        """Remove a durable that nobody here has, by a member that goes by the durable's name."""
        alone = ResourceName(record.ref.namespace, record.durable)
        self._end_now(self._add_left(channel, alone, [record]))

    def _add_left(
        self, channel: Channel, ref: ResourceName, records: list[DurableRecord]
    ) -> Member:
        key = MemberKey(channel.name, ref)
        if key in self._members:
            key = MemberKey(channel.name, ResourceName(ref.namespace, records[0].durable))
        subscriber = Subscriber(ref, uid=records[0].durable)
        left = replace(channel, policy=replace(channel.policy, start=Start()))
        member = self._add(key, left, subscriber, make_plan(left, subscriber)[0], *records)
        for durable in member.durables:
            durable.forgo_beginning(is_latest=durable is member.durables[-1])
        return member

    async def _apply_channel(
        self, channel: Channel, members: list[Member], turns: Turns
    ) -> Applied:
        keys = tuple(MemberKey(channel.name, each.ref) for each in channel.subscribers)
        for each in members:
            if self._end_if_of_another(channel, each):
                await turns.piece_done()
        self._rename(channel, members, set(keys))
        problems: list[Problem] = []
        for key, subscriber in zip(keys, channel.subscribers, strict=True):
            plan, faults = make_plan(channel, subscriber)
            problems += faults
            member = self._members.get(key)
            if member is not None:
                self._update(member, channel, subscriber, plan)
            elif self._broker.is_taken(DurableName(channel.subject, subscriber.durable)):
                message = f"its uid {subscriber.durable} is that of another subscriber"
                problems.append(Problem(f"Subscription {subscriber.ref}", "metadata.uid", message))
            else:
                self._add(key, channel, subscriber, plan, self._want(channel, subscriber))
            await turns.piece_done()
        return Applied(channel, keys, tuple(problems))

    def _end_if_of_another(self, channel: Channel, member: Member) -> bool:
        """Nobody inherits what is owed to subscribers of an earlier channel of that name."""
        is_of_another = any(each.name.subject != channel.subject for each in member.durables)
        if is_of_another:
            self._end_now(member)
        return is_of_another

    def _rename(self, channel: Channel, members: list[Member], wanted: set[MemberKey]) -> None:
        """Keep who has gone by one name and come by another with the same durable."""
        gone = {
            each.durable.name.durable: each
            for each in members
            if each.key not in wanted and self._members.get(each.key) is each
        }
        for subscriber in channel.subscribers if gone else ():
            key = MemberKey(channel.name, subscriber.ref)
            member = gone.pop(subscriber.durable, None)
            if member is not None and key not in self._members:
                del self._members[member.key]
                member.key = key
                self._members[key] = member

    async def _take_over(self, channel: Channel, turns: Turns) -> None:
        """Know the durables of a channel that was deleted while nobody looked.

        One that is known by another name goes with that.
        """
        for subscriber in channel.subscribers:
            key = MemberKey(channel.name, subscriber.ref)
            name = DurableName(channel.subject, subscriber.durable)
            if key not in self._members and not self._broker.is_taken(name):
                plan, _ = make_plan(channel, subscriber)
                self._add(key, channel, subscriber, plan, self._want(channel, subscriber))
            await turns.piece_done()

    def _want(self, channel: Channel, subscriber: Subscriber) -> DurableRecord:
        since = time.time()
        if channel.subscribed_at is not None:
            since = min(since, channel.subscribed_at)
        return self._records.want(
            channel.name, subscriber.ref, subscriber.durable, since, channel.subject
        )

    def _add(
        self,
        key: MemberKey,
        channel: Channel,
        subscriber: Subscriber,
        plan: Plan,
        *records: DurableRecord,
    ) -> Member:
        name = f"{key.ref} of channel {key.channel}"
        metrics = self._metrics.subscription(channel.name, subscriber)
        attempts = Attempts(plan, self._egress, metrics, self._budget)
        lane = self._lanes.delivering(channel.name)
        subscription = SubscriptionDelivery(name, attempts, metrics, self._budget, lane)
        durables = [
            self._broker.durable(
                DurableName(record.subject, record.durable),
                StartPosition(
                    channel.policy.start,
                    _monotonic(record.since),
                    record.since is None,
                    partial(self._records.note_open, channel.name, record.durable),
                    self._records.is_former(channel.name, record.durable),
                    self._records.are_shared,
                ),
                DurableOptions.of(channel.policy),
                subscription.receive,
            )
            for record in records
        ]
        member = self._members[key] = Member(key, subscriber, subscription, *durables)
        log.debug("subscription added", **metrics.labels, durable=subscriber.durable)
        return member

    def _update(self, member: Member, channel: Channel, subscriber: Subscriber, plan: Plan) -> None:
        subscription = member.subscription
        came_back = subscription.state is DeliveryState.PAUSED
        record = self._want(channel, subscriber)
        if member.grace is not None:
            member.grace.cancel()
            member.grace = None
        if came_back:
            subscription.resume(plan)
            log.info("subscription is back", **subscription.metrics.labels)
        elif plan != subscription.plan:
            subscription.retarget(plan)
            log.info("subscription changed", **subscription.metrics.labels)
            came_back = subscription.window.has_released
        member.subscriber = subscriber
        member.durable.change(DurableOptions.of(channel.policy))
        for durable in member.durables if came_back else ():
            durable.reopen()
        self._succession.forgo(member)
        if not member.is_handed_over:
            self._succession.begin(member, _monotonic(record.since))

    def _hold(self, member: Member) -> None:
        """Keep the durable until documents can be read that may want it."""
        member.subscription.pause()
        log.warning(
            "a durable is kept as it is: a document that cannot be read may want it",
            **member.subscription.metrics.labels,
        )

    def _begin_grace(self, member: Member, grace: float) -> None:
        """Keep the durable for so many seconds more."""
        member.subscription.pause()
        self._dismiss(member, grace)
        member.grace = asyncio.get_running_loop().call_later(grace, self._end_grace, member)
        log.info(
            "subscription removed, its durable is kept for a grace",
            **member.subscription.metrics.labels,
            grace_seconds=round(grace, 1),
        )

    def _end_now(self, member: Member) -> None:
        """Remove it without a grace, or without the rest of it, unless that was done."""
        if self._members.get(member.key) is not member:
            return
        if member.grace is not None:
            member.grace.cancel()
        member.subscription.pause()
        self._dismiss(member, 0.0)
        self._end_grace(member)

    def _dismiss(self, member: Member, grace: float) -> None:
        for durable in member.durables:
            self._records.dismiss(member.key.channel, durable.name.durable, grace)

    def _end_grace(self, member: Member) -> None:
        del self._members[member.key]
        if member.handover is not None:
            member.handover.cancel()
        for durable in member.durables:
            durable.remove()  # now, for it may be wanted again before the task runs
        self._tasks.start(self._remove(member), f"removal {member.subscription.name}")

    async def _remove(self, member: Member) -> None:
        if member.handover is not None:
            await cancel(member.handover)
        member.subscription.close()
        self._metrics.forget_subscription(member.key.channel, member.counted_as)
        for durable in member.durables:
            if await self._broker.removed(durable):
                record = self._records.get(member.key.channel, durable.name.durable)
                if record is not None and record.subject == durable.name.subject:
                    self._records.forget(record.channel, record.durable)
                if not durable.is_given_up:
                    labels = member.subscription.metrics.labels
                    log.info("durable unsubscribed", **labels, durable=durable.name.durable)
        self._succession.forget_passed_over(member)

    async def drain(self) -> None:
        """Let what is being attempted end; nothing new begins. Cancel this to leave the rest."""
        self._stop_graces()
        await asyncio.gather(*(member.subscription.drain() for member in self._members.values()))

    async def close(self) -> None:
        """Stop delivering. Never unsubscribes: whoever comes next goes on from here."""
        self._stop_graces()
        await self._tasks.close()
        for member in self._members.values():
            member.subscription.close()

    def _stop_graces(self) -> None:
        for member in self._members.values():
            if member.grace is not None:
                member.grace.cancel()


def _monotonic(epoch: float | None) -> float:
    """A moment on the clock that does not jump; None is now."""
    ago = 0.0 if epoch is None else time.time() - epoch
    return time.monotonic() - max(0.0, ago)
