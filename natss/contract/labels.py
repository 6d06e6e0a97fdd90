"""How metrics and logs name a channel or a subscription, so that one can be found by the other.

``docs/metrics.md`` explains the names. Pure.
"""

from natss.contract.resources import ResourceName


def channel_labels(channel: ResourceName) -> dict[str, str]:
    """The labels of a Channel."""
    return {"namespace": channel.namespace, "channel": channel.name}


def object_labels(kind: str, name: str = "") -> dict[str, str]:
    """Those of an object by its kind and ``namespace/name``; of a file the name alone."""
    namespace, slash, short = name.partition("/")
    if kind == "Channel" and slash:
        return channel_labels(ResourceName(namespace, short))
    if kind == "Subscription" and slash:
        return {"namespace": namespace, "subscription": name}
    return {"object": f"{kind} {name}".strip()}


def subject_labels(subject: str) -> dict[str, str]:
    """Those of the Channel whose events have a subject (``Channel.subject``).

    A namespace has no dots in it, and the name of a Channel may have some. The epoch of a Channel
    that was made anew comes last, and is not told: people know the Channel by its name.
    """
    *rest, last = subject.split(".")
    *name, namespace = rest if last.startswith("_") else (*rest, last)
    return channel_labels(ResourceName(namespace, ".".join(name)))


def subscription_labels(channel: ResourceName, ref: ResourceName) -> dict[str, str]:
    """The labels of a Subscription to a Channel."""
    return {**channel_labels(channel), "subscription": str(ref)}
