"""The members: all subscribers, each with its durables and its delivery.

Acts as ``dispatcher.durables.lifecycle`` decides: serves a subscriber, or keeps its durables for a
while, or unsubscribes them. Every durable stays on record until the server has forgotten it.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import structlog

from dispatcher.delivery.attempts import Attempts, Plan
from dispatcher.delivery.subscription import SubscriptionDelivery
from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.durables.lifecycle import Facts, Life, next_life
from dispatcher.durables.member import Member, MemberKey, make_plan
from dispatcher.durables.succession import Succession
from dispatcher.egress.client import Egress
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.fair_share import FairShares
from dispatcher.runtime.metrics import Metrics
from dispatcher.runtime.tasks import BackgroundTasks, cancel
from dispatcher.stores.evidence import SharedDurable, SharedStore
from dispatcher.stores.interface import DurableName, DurableOptions, StartPosition
from natss.contract.resources import Channel, ResourceName, Start, Subscriber

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """The parts that all deliveries share.

    Args:
        egress: Posts the events.
        metrics: Gets an entry for each subscription.
        budget: Memory for events.
        shares: Gives each subscription a fair share.
    """

    egress: Egress
    metrics: Metrics
    budget: ByteBudget
    shares: FairShares


class Members(Mapping[MemberKey, Member]):
    """Adds, changes and ends members.

    Args:
        store: Keeps the durables.
        ledger: Every durable that may exist.
        parts: For the delivery to each member.
        tasks: Owns removals and handovers.
    """

    def __init__(
        self,
        store: SharedStore,
        ledger: Ledger,
        parts: DeliveryParts,
        tasks: BackgroundTasks,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._parts = parts
        self._tasks = tasks
        self.succession = Succession(store, ledger, tasks)
        self._members: dict[MemberKey, Member] = {}
        self._graces: dict[Member, asyncio.TimerHandle] = {}

    def __getitem__(self, key: MemberKey) -> Member:
        return self._members[key]

    def __iter__(self) -> Iterator[MemberKey]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def has(self, member: Member) -> bool:
        """Return whether a member is still one of these, by its present key."""
        return self._members.get(member.key) is member

    def add(self, key: MemberKey, channel: Channel, subscriber: Subscriber, plan: Plan) -> Member:
        """Serve a subscriber that has no member yet; return its member."""
        return self._make(key, channel, subscriber, plan, self._want(channel, subscriber))

    def add_left(self, channel: Channel, ref: ResourceName, records: list[DurableRecord]) -> Member:
        """Add a member for durables on record that no member has; return it.

        It is retained and nothing is delivered to it; call ``go_on`` to decide its next state.
        """
        key = MemberKey(channel.name, ref)
        if key in self._members:
            key = MemberKey(channel.name, ResourceName(ref.namespace, records[0].durable))
        subscriber = Subscriber(ref, uid=records[0].durable)
        left = replace(channel, policy=replace(channel.policy, start=Start()))
        member = self._make(key, left, subscriber, make_plan(left, subscriber)[0], *records)
        member.life = Life.RETAINED
        member.subscription.pause()
        for durable in member.durables:
            durable.forgo_beginning(is_latest=durable is member.durables[-1])
        return member

    def _make(
        self,
        key: MemberKey,
        channel: Channel,
        subscriber: Subscriber,
        plan: Plan,
        *records: DurableRecord,
    ) -> Member:
        parts = self._parts
        metrics = parts.metrics.subscription(channel.name, subscriber)
        attempts = Attempts(plan, parts.egress, metrics, parts.budget)
        share = parts.shares.delivering(channel.name)
        name = f"{key.ref} of channel {key.channel}"
        subscription = SubscriptionDelivery(name, attempts, metrics, parts.budget, share)
        durables = [
            self._store.durable(
                DurableName(record.subject, record.durable),
                StartPosition(
                    channel.policy.start,
                    monotonic(record.since),
                    record.since is None,
                    partial(self._ledger.note_open, channel.name, record.durable),
                    self._ledger.is_former(channel.name, record.durable),
                    self._ledger.are_shared,
                ),
                DurableOptions.of(channel.policy),
                subscription.receive,
            )
            for record in records
        ]
        member = self._members[key] = Member(key, subscriber, subscription, *durables)
        log.debug("subscription added", **metrics.labels, durable=subscriber.durable)
        return member

    def _want(self, channel: Channel, subscriber: Subscriber) -> DurableRecord:
        since = time.time()
        if channel.subscribed_at is not None:
            since = min(since, channel.subscribed_at)
        return self._ledger.want(
            channel.name, subscriber.ref, subscriber.durable, since, channel.subject
        )

    def serve(self, member: Member, channel: Channel, subscriber: Subscriber, plan: Plan) -> None:
        """Serve a member as it is wanted now, whatever its state was."""
        subscription = member.subscription
        comes_again = member.life is not Life.SERVED
        record = self._want(channel, subscriber)
        self.stop_grace(member)
        if comes_again:
            member.life = Life.SERVED
            subscription.resume(plan)
            log.info("subscription is back", **subscription.metrics.labels)
        elif plan != subscription.plan:
            subscription.retarget(plan)
            log.info("subscription changed", **subscription.metrics.labels)
            comes_again = subscription.window.has_released
        member.subscriber = subscriber
        member.durable.change(DurableOptions.of(channel.policy))
        for durable in member.durables if comes_again else ():
            durable.reopen()
        self.succession.forgo(member)
        if not member.is_handed_over:
            self.succession.begin(member, monotonic(record.since))

    def rename(self, member: Member, key: MemberKey) -> None:
        """Give a member another name; it keeps its durable."""
        del self._members[member.key]
        member.key = key
        self._members[key] = member

    def go_on(self, member: Member, facts: Facts, grace: float | None = None) -> None:
        """Move a member to the next state of its life.

        Args:
            member: If it is not one of these, nothing is done.
            facts: What is known of it.
            grace: In seconds: how long it is retained, if it is; None for the ledger's grace.
        """
        life = next_life(member.life, facts)
        is_as_before = life is member.life and (
            life is not Life.RETAINED or self.is_in_grace(member)
        )
        if is_as_before or not self.has(member):
            return
        member.life = life
        self.stop_grace(member)
        member.subscription.pause()
        match life:
            case Life.RETAINED:
                self._retain(member, self._ledger.grace if grace is None else grace)
            case Life.HELD | Life.SET_ASIDE:
                self._keep(member)
            case Life.RELEASING:
                self._release(member)

    def end(self, member: Member) -> None:
        """Unsubscribe the durables of a member without a grace: its subscriber never comes back."""
        self.go_on(member, Facts(is_channel_deleted=True))

    def stop_grace(self, member: Member) -> None:
        """Stop the grace from ending; the member is retained until its life goes on."""
        timer = self._graces.pop(member, None)
        if timer is not None:
            timer.cancel()

    def is_in_grace(self, member: Member) -> bool:
        """Return whether a member's durables are unsubscribed when its grace ends."""
        return member in self._graces

    def in_grace(self) -> list[Member]:
        """Return the members whose durables are unsubscribed when their grace ends."""
        return list(self._graces)

    def _keep(self, member: Member) -> None:
        """Record the durables of a member as wanted, so that no process unsubscribes them yet."""
        for durable in member.durables:
            if durable.is_leaving:  # another process has unsubscribed it, or a handover does
                continue
            subject, name = durable.name.subject, durable.name.durable
            self._ledger.want(member.key.channel, member.key.ref, name, time.time(), subject)
        why = (
            "a durable is kept as it is: a document that cannot be read may want it"
            if member.life is Life.HELD
            else "subscription is not served: its channel has too many"
        )
        log.warning(why, **member.subscription.metrics.labels)

    def _retain(self, member: Member, grace: float) -> None:
        self._dismiss(member, grace)
        loop = asyncio.get_running_loop()
        self._graces[member] = loop.call_later(grace, self._end_grace, member)
        log.info(
            "subscription removed, its durable is kept for a grace",
            **member.subscription.metrics.labels,
            grace_seconds=round(grace, 1),
        )

    def _end_grace(self, member: Member) -> None:
        self.go_on(member, Facts(is_grace_over=True))

    def _dismiss(self, member: Member, grace: float) -> None:
        for durable in member.durables:
            self._ledger.dismiss(member.key.channel, durable.name.durable, grace)

    def _release(self, member: Member) -> None:
        self._dismiss(member, 0.0)
        del self._members[member.key]
        if member.handover is not None:
            member.handover.cancel()
        for durable in member.durables:
            durable.remove()  # now, because it may be wanted again before the task runs
        self._tasks.start(self._unsubscribe(member), f"removal {member.subscription.name}")

    async def _unsubscribe(self, member: Member) -> None:
        if member.handover is not None:
            await cancel(member.handover)
        member.subscription.close()
        self._parts.metrics.forget_subscription(member.key.channel, member.counted_as)
        if all([await self._has_gone(member, durable) for durable in member.durables]):
            member.life = next_life(member.life, Facts(is_unsubscribed=True))
        self.succession.forget_passed_over(member)

    async def _has_gone(self, member: Member, durable: SharedDurable) -> bool:
        """Wait until a durable is removed, and forget it; return False if it is wanted again."""
        if not await self._store.removed(durable):
            return False
        record = self._ledger.get(member.key.channel, durable.name.durable)
        if record is not None and record.subject == durable.name.subject:
            self._ledger.forget(record.channel, record.durable)
        if not durable.is_released_elsewhere:
            labels = member.subscription.metrics.labels
            log.info("durable unsubscribed", **labels, durable=durable.name.durable)
        return True

    def stop_graces(self) -> None:
        """Unsubscribe nothing more: the next process continues from here."""
        for member in tuple(self._graces):
            self.stop_grace(member)


def monotonic(epoch: float | None) -> float:
    """Return a time of the system clock on the monotonic clock, at most now; None is now."""
    ago = 0.0 if epoch is None else time.time() - epoch
    return time.monotonic() - max(0.0, ago)
