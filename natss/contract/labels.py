"""How metrics and logs name a channel or a subscription, so that one can be found by the other.

``docs/metrics.md`` explains the names. Pure.
"""

from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import channel_of_subject, kind_called
from natss.contract.resources import ResourceName


def channel_labels(channel: ChannelId) -> dict[str, str]:
    """The labels of a channel; a kind that has a mark is told, too."""
    labels = {"namespace": channel.namespace, "channel": channel.name}
    return {**labels, "kind": channel.kind.mark} if channel.kind.mark else labels


def object_labels(kind: str, name: str = "") -> dict[str, str]:
    """Those of an object by its kind and ``namespace/name``; of a file the name alone."""
    namespace, slash, short = name.partition("/")
    channel_kind = kind_called(kind)
    if channel_kind is not None and slash:
        return channel_labels(ChannelId(channel_kind, namespace, short))
    if kind == "Subscription" and slash:
        return {"namespace": namespace, "subscription": name}
    return {"object": f"{kind} {name}".strip()}


def subject_labels(subject: str) -> dict[str, str]:
    """Those of the channel whose events have a subject (``Channel.subject``).

    Its epoch is not told: people know the channel by its name.
    """
    channel = channel_of_subject(subject)
    return {"object": subject} if channel is None else channel_labels(channel)


def subscription_labels(channel: ChannelId, ref: ResourceName) -> dict[str, str]:
    """The labels of a Subscription to a Channel."""
    return {**channel_labels(channel), "subscription": str(ref)}
