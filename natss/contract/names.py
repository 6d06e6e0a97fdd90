"""The names of a channel in HTTP, NATS Streaming and Kubernetes.

They are those of the Go implementation (Knative eventing v0.5 and v0.6), so that its Services,
durables and stored events are still found.
"""

import base64
import hashlib
import re

PROVISIONER = "natss"
DEFAULT_CLIENT_ID = "knative-natss-dispatcher"
DEFAULT_CLUSTER_ID = "knative-nats-streaming"
DEFAULT_CLUSTER_DOMAIN = "cluster.local"
DEFAULT_SYSTEM_NAMESPACE = "knative-eventing"

CHANNEL_LABEL = "eventing.knative.dev/channel"
PROVISIONER_LABEL = "eventing.knative.dev/provisioner"
OLD_CHANNEL_LABEL = "channel"
OLD_PROVISIONER_LABEL = "provisioner"
"""Services of every release have the old labels."""

DISPATCHER_FINALIZER = "natss-dispatcher"
"""The finalizer of the Go implementation; keeps a Channel until nothing of it is left in NATS
Streaming.
"""

_MAX_SERVICE_NAME = 63
_MAX_LABEL_VALUE = 63


EPOCH_ANNOTATION = "natss-dispatcher/epoch"
"""The epoch of a Channel with a subject of its own: differs from those of earlier Channels of that
name.
"""


def channel_subject(namespace: str, name: str, epoch: str = "") -> str:
    """Return the NATS Streaming channel that stores the events of a Knative channel.

    With an epoch, which Go does not know, it contains ``_``: neither a namespace nor a name can.
    """
    return f"{name}.{namespace}._{epoch}" if epoch else f"{name}.{namespace}"


def channel_of_subject(subject: str) -> tuple[str, str]:
    """Return namespace and name of the channel that has a subject.

    A namespace has no dots, and the name of a Channel may have some. The epoch of a Channel that
    was created anew comes last.
    """
    *rest, last = subject.split(".")
    *name, namespace = rest if last.startswith("_") else (*rest, last)
    return namespace, ".".join(name)


def is_epoch(text: str) -> bool:
    """Return whether a text may be an epoch."""
    return _EPOCH.fullmatch(text) is not None


def epoch_of(uid: str) -> str:
    """Return the epoch of a new channel; without the uid it cannot be guessed."""
    return _digest(uid, 16)


def channel_host(namespace: str, name: str, cluster_domain: str) -> str:
    """Return the host of a channel besides that of its Service."""
    return f"{name}.{namespace}.channels.{cluster_domain}"


def durable_name(uid: str | None, ref_namespace: str, ref_name: str) -> str:
    """Return the name of the durable that keeps a subscriber's position.

    v0.6 uses the subscriber's uid; v0.5 had no uid and used ``<name>.<namespace>`` of the
    Subscription.
    """
    return uid or f"{ref_name}.{ref_namespace}"


def default_natss_url(cluster_domain: str = DEFAULT_CLUSTER_DOMAIN) -> str:
    """Return the URL of NATS Streaming that holds without a setting."""
    return f"nats://nats-streaming.natss.svc.{cluster_domain}:4222"


def normalise_host(host: str) -> str:
    """Return a Host header for comparison: lower case, without port and without the root's dot.

    An IPv6 literal keeps its brackets.
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].rstrip(".")


MAX_LABEL = 63
"""The most characters between two dots of a DNS name."""

MAX_NAME = 253
"""The most characters of a DNS name, and of a name in Kubernetes."""

_LABEL = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{MAX_LABEL - 2}}}[a-z0-9])?")
_EPOCH = re.compile(r"[a-z0-9]{1,32}")
_RESOURCE_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")

MAX_SUBJECT = 255
"""The FILE store keeps each channel in a folder of that name; file systems allow 255 bytes."""

RESERVED_SUBJECTS = frozenset({"server.dat", "clients.dat"})
"""The FILE store has these files beside those folders, and refuses channels of these names."""


def is_dns_label(text: str) -> bool:
    """Return whether a text may name a namespace (RFC 1123, lower case)."""
    return _LABEL.fullmatch(text) is not None


def is_dns_name(text: str) -> bool:
    """Return whether a text may name a resource: DNS labels joined by dots, at most 253 characters.

    Such a name contains nothing that NATS Streaming refuses in a channel (``*``, ``>``, ``/``,
    blanks, empty tokens).
    """
    return len(text) <= MAX_NAME and all(_LABEL.fullmatch(label) for label in text.split("."))


def is_resource_name(text: str) -> bool:
    """Return whether Kubernetes accepts a name: a DNS name whose labels may have any length."""
    return len(text) <= MAX_NAME and all(map(_RESOURCE_LABEL.fullmatch, text.split(".")))


def is_uid(text: str) -> bool:
    """Return whether a text may be a UID, which becomes the name of a durable."""
    return len(text) <= MAX_NAME and text.isascii() and text.isprintable() and " " not in text


def service_host(namespace: str, service: str, cluster_domain: str) -> str:
    """Return the DNS name of a Service in the cluster."""
    return f"{service}.{namespace}.svc.{cluster_domain}"


def namespace_of_host(host: str, cluster_domain: str) -> str | None:
    """Return the namespace of a host name of a Service or channel; None for other names.

    Args:
        host: The normalised host.
        cluster_domain: May be missing after ``svc``, because resolvers add it.
    """
    *labels, last = host.removesuffix(f".{cluster_domain}").split(".")
    in_cluster = last == "svc" or (last == "channels" and host.endswith(f".{cluster_domain}"))
    return labels[-1] if in_cluster and len(labels) > 1 else None


def dispatcher_service_name(provisioner: str = PROVISIONER) -> str:
    """Return the name of the dispatcher's Service for events, in the system namespace."""
    return f"{provisioner}-dispatcher"


def channel_service_name(namespace: str, name: str) -> str:
    """Return the name of the Service of a new channel.

    It looks like those of Go (``<channel>-channel-<random>``), but is the same each time: one
    channel never gets two Services, and a restored channel gets its old address. Names of Services
    are stricter than those of channels: no dots, a letter first, 63 characters.
    """
    suffix = f"-channel-{_digest(f'{namespace}/{name}', 8)}"
    base = name.replace(".", "-")
    if not base[0].isalpha():
        base = f"c-{base}"
    return base[: _MAX_SERVICE_NAME - len(suffix)].rstrip("-") + suffix


def channel_label_value(name: str) -> str:
    """Return the value of the labels for the channel: its name, shortened if it is too long."""
    if len(name) <= _MAX_LABEL_VALUE:
        return name
    suffix = f"-{_digest(name, 16)}"
    return name[: _MAX_LABEL_VALUE - len(suffix)].rstrip("-.") + suffix


def _digest(text: str, length: int) -> str:
    """Return a digest of a text, in small letters and digits."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]
