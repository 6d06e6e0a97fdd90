"""Decides which of several channels has a subject that all of them want. Pure.

Channels of one kind never want the same subject: it contains namespace and name. Channels of two
kinds might, and would get each other's events.
"""

from collections.abc import Mapping

from natss.contract.channel_id import ChannelId
from natss.contract.resources import Channel, Problem


def first(created: Mapping[ChannelId, str]) -> ChannelId:
    """Return the channel that has the subject: the oldest, and of equally old ones the first.

    Args:
        created: When each channel that wants the subject was created, as the API writes it.
    """
    return min(created, key=lambda channel: (created[channel], channel))


def taken(subject: str, owner: ChannelId) -> str:
    """Return why a channel does not have the subject that it wants, for people."""
    return (
        f"its events would be stored under the subject {subject}, which the older {owner.title}"
        " has: delete one of the two"
    )


def losers(channels: Mapping[ChannelId, Channel]) -> dict[ChannelId, Problem]:
    """Return the channels that do not have the subject that they want, and why."""
    one = next(iter(channels), None)
    if one is None or all(name.kind is one.kind for name in channels):
        return {}
    wanted: dict[str, dict[ChannelId, str]] = {}
    for name, channel in channels.items():
        wanted.setdefault(channel.subject, {})[name] = channel.created
    found: dict[ChannelId, Problem] = {}
    for subject, created in wanted.items():
        owner = first(created)
        for name in created:
            if name != owner:
                found[name] = Problem(
                    resource=name.title,
                    path="metadata.name",
                    message=taken(subject, owner),
                    consequence="until then it takes no events",
                    refused=True,
                )
    return found
