"""What was applied last, compared with what is wanted now. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dispatcher.durables.member import Member, MemberKey
from natss.contract.resources import Channel, DesiredState, Problem, ResourceName


@dataclass(frozen=True, slots=True)
class Applied:
    """A channel as it was applied last."""

    channel: Channel
    keys: tuple[MemberKey, ...]
    problems: tuple[Problem, ...]


def without_a_place(
    applied: Mapping[ResourceName, Applied], state: DesiredState
) -> dict[ResourceName, set[str]]:
    """The channels of which durables may be wanted no more that no member has."""
    return {
        name: set()
        for name, before in applied.items()
        if before.channel.unserved.number and state.channels.get(name) is not before.channel
    }


def wanted_again(members: Iterable[Member], state: DesiredState) -> list[Member]:
    """Those in their grace that are wanted, by their name or by their durable."""
    found: list[Member] = []
    known: dict[ResourceName, set[str | ResourceName]] = {}
    for member in members:
        channel = state.channels.get(member.key.channel)
        if member.grace is None or channel is None:
            continue
        if channel.name not in known:
            known[channel.name] = _known_by(channel)
        if not known[channel.name].isdisjoint((member.key.ref, member.durable.name.durable)):
            found.append(member)
    return found


def _known_by(channel: Channel) -> set[str | ResourceName]:
    """The Subscriptions and durables that a channel wants or holds."""
    known: set[str | ResourceName] = set(channel.unserved.durables)
    for subscriber in channel.subscribers:
        known |= {subscriber.ref, subscriber.durable}
    return known
