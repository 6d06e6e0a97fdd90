"""A subscriber of a channel with what works for it, and the plan that its URIs make.

Which members there are is decided by ``dispatcher.fanout``.
"""

import asyncio
from dataclasses import dataclass

from contract.resources import Channel, Problem, ResourceName, Subscriber
from dispatcher.attempts import Plan
from dispatcher.durable import Durable
from dispatcher.egress.target import InvalidTarget, Target
from dispatcher.subscription import Subscription


@dataclass(frozen=True, slots=True)
class MemberKey:
    """What stays the same when a Subscription is made anew: its channel and its name."""

    channel: ResourceName
    ref: ResourceName


class Member:
    """A subscriber of a channel with what works for it."""

    __slots__ = (
        "changed_at",
        "counted_as",
        "durable",
        "grace",
        "handover",
        "key",
        "subscriber",
        "subscription",
        "successor",
    )

    def __init__(
        self, key: MemberKey, subscriber: Subscriber, subscription: Subscription, durable: Durable
    ) -> None:
        self.key = key
        self.subscriber = subscriber
        self.counted_as = subscriber
        self.subscription = subscription
        self.durable = durable
        self.successor: Durable | None = None
        self.grace: asyncio.TimerHandle | None = None
        self.handover: asyncio.Task[None] | None = None
        self.changed_at = 0.0

    @property
    def durables(self) -> tuple[Durable, ...]:
        """One, or two while one hands over to another."""
        return (self.durable,) if self.successor is None else (self.durable, self.successor)


def make_plan(channel: Channel, subscriber: Subscriber) -> tuple[Plan, list[Problem]]:
    """Parse the URIs; a subscriber with a broken one keeps its events and gets none meanwhile."""
    problems: list[Problem] = []

    def target(uri: str | None, path: str) -> Target | None:
        if uri is None:
            return None
        try:
            return Target.parse(uri)
        except InvalidTarget as error:
            problems.append(Problem(f"Subscription {subscriber.ref}", path, str(error)))
            return None

    to_subscriber = target(subscriber.subscriber_uri, "subscriber")
    reply = target(subscriber.reply_uri, "reply")
    if problems:
        to_subscriber = reply = None
    dead_letter = target(channel.policy.dead_letter_uri, "spec.arguments.deadLetterURI")
    return Plan(to_subscriber, reply, dead_letter, channel.policy), problems
