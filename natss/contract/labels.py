"""The labels of channels and subscriptions, equal in metrics and logs: each leads to the other.

``docs/metrics.md`` explains the names. Pure.
"""

from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import channel_of_subject, kind_called
from natss.contract.resources import ResourceName


def channel_labels(channel: ChannelId) -> dict[str, str]:
    """Return the labels of a channel, with its kind if that has a mark."""
    labels = {"namespace": channel.namespace, "channel": channel.name}
    return {**labels, "kind": channel.kind.mark} if channel.kind.mark else labels


def object_labels(kind: str, name: str = "") -> dict[str, str]:
    """Return the labels of an object from its kind and ``namespace/name``; a file has no kind."""
    namespace, slash, short = name.partition("/")
    channel_kind = kind_called(kind)
    if channel_kind is not None and slash:
        return channel_labels(ChannelId(channel_kind, namespace, short))
    if kind == "Subscription" and slash:
        return {"namespace": namespace, "subscription": name}
    return {"object": f"{kind} {name}".strip()}


def subject_labels(subject: str) -> dict[str, str]:
    """Return the labels of the channel whose events have a subject (``Channel.subject``).

    The epoch is left out: people know the channel by its name.
    """
    channel = channel_of_subject(subject)
    return {"object": subject} if channel is None else channel_labels(channel)


def subscription_labels(channel: ChannelId, ref: ResourceName) -> dict[str, str]:
    """Return the labels of a Subscription to a Channel."""
    return {**channel_labels(channel), "subscription": str(ref)}
