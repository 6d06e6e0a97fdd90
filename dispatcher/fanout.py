"""The subscriptions that there are: makes the actual ones follow the wanted ones.

A subscriber that goes is not delivered to from that moment on, but its durable is kept for a
grace: a Subscription is often deleted and made again under the same name, and then takes over the
position of its predecessor (``dispatcher.handover``). When its whole channel is deleted there is no
grace. What is to be removed is remembered over restarts (``dispatcher.removals``).
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from contract.resources import Channel, Problem, ResourceName, Subscriber
from dispatcher.attempts import Attempts, Plan
from dispatcher.broker import Broker
from dispatcher.durable import Durable, DurableName, DurableOptions
from dispatcher.egress.client import Egress
from dispatcher.flow import ByteBudget
from dispatcher.handover import hand_over
from dispatcher.member import Member, MemberKey, make_plan
from dispatcher.metrics import Metrics
from dispatcher.removals import Removal, Removals
from dispatcher.subscription import Subscription
from dispatcher.tasks import BackgroundTasks, cancel

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Applied:
    """A channel as it was applied last."""

    channel: Channel
    keys: tuple[MemberKey, ...]
    problems: tuple[Problem, ...]


class Fanout:
    """Applies desired states.

    Args:
        broker: Keeps the durables.
        egress: Posts the events.
        metrics: Gets an entry for each subscription.
        max_bytes: Of events that all subscriptions together hold in memory.
        removals: Durables that are not wanted any more, also those of a former process.
    """

    def __init__(
        self,
        broker: Broker,
        egress: Egress,
        metrics: Metrics,
        max_bytes: int,
        removals: Removals,
    ) -> None:
        self._broker = broker
        self._egress = egress
        self._metrics = metrics
        self._budget = ByteBudget(max_bytes)
        self._removals = removals
        self._is_restored = False
        self._applied: dict[ResourceName, _Applied] = {}
        self._deleted: set[ResourceName] = set()
        self._members: dict[MemberKey, Member] = {}
        self._tasks = BackgroundTasks()

    @property
    def members(self) -> Mapping[MemberKey, Member]:
        """Those in their grace included."""
        return self._members

    def apply(
        self,
        channels: Mapping[ResourceName, Channel],
        deleted: Mapping[ResourceName, Channel] | None = None,
    ) -> list[Problem]:
        """Make the subscriptions those of ``channels``; what could not be used is returned.

        Args:
            channels: A channel that is the same object as before is not looked at again.
            deleted: The durables of their subscribers are removed at once.
        """
        if not self._is_restored:
            self._is_restored = True
            self._restore()
        deleted = deleted or {}
        members: defaultdict[ResourceName, list[Member]] = defaultdict(list)
        for member in self._members.values():
            members[member.key.channel].append(member)
        applied = {
            name: self._apply_channel(channel, members[name]) for name, channel in channels.items()
        }
        self._applied = applied
        for name in deleted.keys() - self._deleted:
            self._take_over(deleted[name])
        self._deleted = set(deleted)
        wanted = {key for each in applied.values() for key in each.keys}
        for key, member in tuple(self._members.items()):
            if key in wanted:
                continue
            if key.channel in deleted:
                self._end_now(member)
            elif member.grace is None:
                self._begin_grace(member)
        return [problem for each in applied.values() for problem in each.problems]

    def _apply_channel(self, channel: Channel, members: list[Member]) -> _Applied:
        before = self._applied.get(channel.name)
        if before is not None and before.channel is channel:
            return before
        keys = tuple(MemberKey(channel.name, each.ref) for each in channel.subscribers)
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
                self._add(key, channel, subscriber, plan)
        return _Applied(channel, keys, tuple(problems))

    def _rename(self, channel: Channel, members: list[Member], wanted: set[MemberKey]) -> None:
        """Keep who has gone by one name and come by another with the same durable."""
        gone = {each.durable.name.durable: each for each in members if each.key not in wanted}
        for subscriber in channel.subscribers if gone else ():
            key = MemberKey(channel.name, subscriber.ref)
            member = gone.pop(subscriber.durable, None)
            if member is not None and key not in self._members:
                del self._members[member.key]
                member.key = key
                self._members[key] = member

    def _take_over(self, channel: Channel) -> None:
        """Know the durables of a channel that was deleted while nobody looked."""
        for subscriber in channel.subscribers:
            key = MemberKey(channel.name, subscriber.ref)
            if key not in self._members:
                self._add(key, channel, subscriber, make_plan(channel, subscriber)[0])

    def _restore(self) -> None:
        """Go on with the removals of a former process; those wanted again come back after this."""
        for removal in self._removals:
            subscriber = Subscriber(removal.ref, uid=removal.durable)
            key = MemberKey(removal.channel, removal.ref)
            if key in self._members:  # its second predecessor: of no more use
                key = MemberKey(
                    removal.channel, ResourceName(removal.ref.namespace, removal.durable)
                )
            channel = Channel(removal.channel, (), (subscriber,))
            member = self._add(key, channel, subscriber, make_plan(channel, subscriber)[0])
            self._begin_grace(member, removal.wait)

    def _add(self, key: MemberKey, channel: Channel, subscriber: Subscriber, plan: Plan) -> Member:
        name = f"{key.ref} of channel {key.channel}"
        metrics = self._metrics.subscription(channel.name, subscriber)
        attempts = Attempts(name, plan, self._egress, metrics)
        subscription = Subscription(name, attempts, metrics, self._budget)
        durable = self._broker.durable(
            DurableName(channel.subject, subscriber.durable),
            channel.policy.start,
            DurableOptions.of(channel.policy),
            subscription.receive,
        )
        subscription.durables = (durable,)
        member = self._members[key] = Member(key, subscriber, subscription, durable)
        log.info("subscription added", subscription=name, durable=subscriber.durable)
        return member

    def _update(self, member: Member, channel: Channel, subscriber: Subscriber, plan: Plan) -> None:
        subscription = member.subscription
        came_back = member.grace is not None
        if member.grace is not None:
            member.grace.cancel()
            member.grace = None
            self._removals.forget(member.key.channel, member.durable.name.durable)
            subscription.resume(plan)
            log.info("subscription is back within its grace", subscription=subscription.name)
        elif plan != subscription.plan:
            subscription.retarget(plan)
            log.info("subscription changed", subscription=subscription.name)
            came_back = subscription.window.has_released
        member.subscriber = subscriber
        for durable in member.durables:
            durable.change(DurableOptions.of(channel.policy))
            if came_back:
                durable.reopen()
        if member.durable.name.durable != subscriber.durable and (
            member.handover is None or member.handover.done()
        ):
            self._begin_handover(member)

    def _begin_handover(self, member: Member) -> None:
        member.changed_at = time.monotonic()
        self._remember(member, member.durable, 0.0)
        member.handover = self._tasks.start(
            self._hand_over(member), f"handover {member.subscription.name}"
        )

    async def _hand_over(self, member: Member) -> None:
        """Move the position to the durable of the present uid, until they are the same."""
        while member.durable.name.durable != member.subscriber.durable:
            old = member.durable.name
            name = DurableName(old.subject, member.subscriber.durable)
            await hand_over(self._broker, member, name)
            self._removals.forget(member.key.channel, old.durable)
            log.info(
                "durable handed over", subscription=member.subscription.name, durable=name.durable
            )

    def _remember(self, member: Member, durable: Durable, wait: float) -> None:
        self._removals.remember(
            Removal(
                member.key.channel, member.subscriber.ref, durable.name.durable, time.time() + wait
            )
        )

    def _begin_grace(self, member: Member, wait: float | None = None) -> None:
        """Keep the durable for so many seconds more; None for the usual grace."""
        grace = self._removals.grace if wait is None else wait
        member.subscription.pause()
        for durable in member.durables:
            self._remember(member, durable, grace)
        member.grace = asyncio.get_running_loop().call_later(grace, self._end_grace, member)
        log.info(
            "subscription removed, its durable is kept for a grace",
            subscription=member.subscription.name,
            grace_seconds=round(grace, 1),
        )

    def _end_now(self, member: Member) -> None:
        """Remove it without a grace, or without the rest of it."""
        if member.grace is not None:
            member.grace.cancel()
        member.subscription.pause()
        for durable in member.durables:
            self._remember(member, durable, 0.0)
        self._end_grace(member)

    def _end_grace(self, member: Member) -> None:
        del self._members[member.key]
        self._tasks.start(self._remove(member), f"removal {member.subscription.name}")

    async def _remove(self, member: Member) -> None:
        if member.handover is not None:
            await cancel(member.handover)
        member.subscription.close()
        self._metrics.forget_subscription(member.key.channel, member.counted_as)
        for durable in member.durables:
            if await self._broker.removed(durable):
                self._removals.forget(member.key.channel, durable.name.durable)
                log.info("durable unsubscribed", durable=str(durable.name))

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
