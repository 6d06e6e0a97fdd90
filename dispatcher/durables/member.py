"""A member: a subscriber of a channel with its durables, its delivery and the plan of its URIs.

``dispatcher.durables.reconciler`` decides which members exist.
"""

import asyncio
from dataclasses import dataclass

from dispatcher.delivery.attempts import Plan
from dispatcher.delivery.subscription import SubscriptionDelivery
from dispatcher.durables.lifecycle import Life
from dispatcher.egress.target import InvalidTarget, Target
from dispatcher.stores.evidence import SharedDurable
from natss.contract.channel_id import ChannelId
from natss.contract.resources import Channel, Problem, ResourceName, Subscriber


@dataclass(frozen=True, slots=True)
class MemberKey:
    """What stays the same when a Subscription is created anew: its channel and its name."""

    channel: ChannelId
    ref: ResourceName


class Member:
    """A subscriber of a channel with its durables and its delivery.

    Args:
        key: Changes when the Subscription gets another name.
        subscriber: Changes when the Subscription is created anew.
        subscription: Delivers what the durables receive.
        durables: One, or several during a handover; the first one stays.
    """

    __slots__ = (
        "changed_at",
        "counted_as",
        "durables",
        "handover",
        "key",
        "life",
        "subscriber",
        "subscription",
    )

    def __init__(
        self,
        key: MemberKey,
        subscriber: Subscriber,
        subscription: SubscriptionDelivery,
        *durables: SharedDurable,
    ) -> None:
        self.key = key
        self.subscriber = subscriber
        self.counted_as = subscriber
        self.subscription = subscription
        self.life = Life.SERVED
        self.handover: asyncio.Task[None] | None = None
        self.changed_at = 0.0
        self.use(*durables)

    @property
    def durable(self) -> SharedDurable:
        return self.durables[0]

    @property
    def is_handed_over(self) -> bool:
        """Whether it has the durable of its subscriber, and no other."""
        return [each.name.durable for each in self.durables] == [self.subscriber.durable]

    @property
    def is_handing_over(self) -> bool:
        """Whether a handover from one of its durables to another is under way."""
        return self.handover is not None and not self.handover.done()

    def use(self, *durables: SharedDurable) -> None:
        """Replace the durables by these."""
        self.durables = durables
        self.subscription.durables = durables


def make_plan(channel: Channel, subscriber: Subscriber) -> tuple[Plan, list[Problem]]:
    """Parse the URIs; if one is invalid, keep the subscriber's events and deliver none."""
    problems: list[Problem] = []

    def target(uri: str | None, path: str) -> Target | None:
        if uri is None:
            return None
        try:
            return Target.parse(uri, channel.name.namespace)
        except InvalidTarget as error:
            problems.append(Problem(f"Subscription {subscriber.ref}", path, str(error)))
            return None

    to_subscriber = target(subscriber.subscriber_uri, "subscriber")
    reply = target(subscriber.reply_uri, "reply")
    if problems:
        to_subscriber = reply = None
    dead_letter = target(channel.policy.dead_letter_uri, "spec.arguments.deadLetterURI")
    return Plan(to_subscriber, reply, dead_letter, channel.policy), problems
