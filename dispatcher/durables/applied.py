"""The state applied last, compared with what is wanted now. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from dispatcher.durables.member import Member, MemberKey
from natss.contract.channel_id import ChannelId
from natss.contract.resources import Channel, DesiredState, Problem, ResourceName


@dataclass(frozen=True, slots=True)
class Applied:
    """A channel as it was applied last."""

    channel: Channel
    keys: tuple[MemberKey, ...]
    problems: tuple[Problem, ...]
    is_deleted: bool = False
    """Whether it was deleted for good then."""


def wanted_again(in_grace: Iterable[Member], state: DesiredState) -> list[Member]:
    """Return the members in their grace that are or may be wanted again, by name or by durable."""
    found: list[Member] = []
    known: dict[ChannelId, set[str | ResourceName]] = {}
    for member in in_grace:
        if state.may_want(member.key.channel, member.key.ref):
            found.append(member)
            continue
        channel = state.channels.get(member.key.channel)
        if channel is None:
            continue
        if channel.name not in known:
            known[channel.name] = _known_by(channel)
        if not known[channel.name].isdisjoint((member.key.ref, member.durable.name.durable)):
            found.append(member)
    return found


def _known_by(channel: Channel) -> set[str | ResourceName]:
    """Return the Subscriptions and durables that a channel wants or holds."""
    known: set[str | ResourceName] = set(channel.unserved.durables)
    for subscriber in channel.subscribers:
        known |= {subscriber.ref, subscriber.durable}
    return known
