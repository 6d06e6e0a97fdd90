"""Names that a channel has in HTTP, NATS Streaming and Kubernetes.

They are those of the Go implementation (Knative eventing v0.5 and v0.6), so that its Services,
durables and stored events go on to be found.
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
"""The old labels are the ones that the Services of every release have."""

DISPATCHER_FINALIZER = "natss-dispatcher"
"""Go's name for what keeps a Channel until nothing of it is left in NATS Streaming."""

_MAX_SERVICE_NAME = 63
_MAX_LABEL_VALUE = 63


EPOCH_ANNOTATION = "natss-dispatcher/epoch"
"""Of a Channel that has a subject of its own: what tells it from those of the same name before."""


def channel_subject(namespace: str, name: str, epoch: str = "") -> str:
    """The NATS Streaming channel in which the events of a Knative channel are stored.

    With an epoch, which Go does not know, it has ``_`` in it: neither a namespace nor a name can.
    """
    return f"{name}.{namespace}._{epoch}" if epoch else f"{name}.{namespace}"


def channel_of_subject(subject: str) -> tuple[str, str]:
    """Namespace and name of the channel that has a subject.

    A namespace has no dots in it, and the name of a Channel may have some. The epoch of a Channel
    that was made anew comes last.
    """
    *rest, last = subject.split(".")
    *name, namespace = rest if last.startswith("_") else (*rest, last)
    return namespace, ".".join(name)


def is_epoch(text: str) -> bool:
    """Whether it may tell one channel from another of the same name."""
    return _EPOCH.fullmatch(text) is not None


def epoch_of(uid: str) -> str:
    """The epoch of a new channel; who knows neither it nor the uid does not guess it."""
    return _digest(uid, 16)


def channel_host(namespace: str, name: str, cluster_domain: str) -> str:
    """The host under which a channel is known besides its Service."""
    return f"{name}.{namespace}.channels.{cluster_domain}"


def durable_name(uid: str | None, ref_namespace: str, ref_name: str) -> str:
    """The durable that keeps a subscriber's position.

    v0.6 names it by the subscriber's uid; v0.5 had no uid and took ``<name>.<namespace>`` of the
    Subscription.
    """
    return uid or f"{ref_name}.{ref_namespace}"


def default_natss_url(cluster_domain: str = DEFAULT_CLUSTER_DOMAIN) -> str:
    """Where NATS Streaming is found unless a setting says otherwise."""
    return f"nats://nats-streaming.natss.svc.{cluster_domain}:4222"


def normalise_host(host: str) -> str:
    """A Host header as it is compared: lower case, without port and without the root's dot.

    An IPv6 literal keeps its brackets.
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].rstrip(".")


MAX_LABEL = 63
"""Characters between two dots of a DNS name."""

MAX_NAME = 253
"""Characters of a DNS name, and of a name in Kubernetes."""

_LABEL = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{MAX_LABEL - 2}}}[a-z0-9])?")
_EPOCH = re.compile(r"[a-z0-9]{1,32}")
_RESOURCE_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")

MAX_SUBJECT = 255
"""The FILE store keeps each channel in a folder of its name; file systems allow 255 bytes."""

RESERVED_SUBJECTS = frozenset({"server.dat", "clients.dat"})
"""Beside those folders it has files of its own, and takes no channel of their names."""


def is_dns_label(text: str) -> bool:
    """Whether it may name a namespace (RFC 1123, lower case)."""
    return _LABEL.fullmatch(text) is not None


def is_dns_name(text: str) -> bool:
    """Whether it may name a resource: DNS labels with dots between, 253 characters at most.

    What passes has none of the characters that NATS Streaming refuses in a channel (``*``, ``>``,
    ``/``, blanks, empty tokens).
    """
    return len(text) <= MAX_NAME and all(_LABEL.fullmatch(label) for label in text.split("."))


def is_resource_name(text: str) -> bool:
    """Whether Kubernetes takes it as a name: a DNS name but for the length of its labels."""
    return len(text) <= MAX_NAME and all(map(_RESOURCE_LABEL.fullmatch, text.split(".")))


def is_uid(text: str) -> bool:
    """Whether a text may be a UID, which becomes the name of a durable."""
    return len(text) <= MAX_NAME and text.isascii() and text.isprintable() and " " not in text


def service_host(namespace: str, service: str, cluster_domain: str) -> str:
    """The name by which the cluster's DNS knows a Service."""
    return f"{service}.{namespace}.svc.{cluster_domain}"


def namespace_of_host(host: str, cluster_domain: str) -> str | None:
    """The namespace that a name of the cluster's Services or channels lies in; None for others.

    Args:
        host: Normalised.
        cluster_domain: It may be missing after ``svc``, for resolvers add it.
    """
    *labels, last = host.removesuffix(f".{cluster_domain}").split(".")
    in_cluster = last == "svc" or (last == "channels" and host.endswith(f".{cluster_domain}"))
    return labels[-1] if in_cluster and len(labels) > 1 else None


def dispatcher_service_name(provisioner: str = PROVISIONER) -> str:
    """The Service, in the system namespace, behind which the dispatcher takes events."""
    return f"{provisioner}-dispatcher"


def channel_service_name(namespace: str, name: str) -> str:
    """How the Service of a new channel is called.

    It looks like those of Go (``<channel>-channel-<random>``), but is the same each time: so two
    are never made for one channel, and a channel that is restored has its old address. Names of
    Services are stricter than those of channels: no dots, a letter first, 63 characters.
    """
    suffix = f"-channel-{_digest(f'{namespace}/{name}', 8)}"
    base = name.replace(".", "-")
    if not base[0].isalpha():
        base = f"c-{base}"
    return base[: _MAX_SERVICE_NAME - len(suffix)].rstrip("-") + suffix


def channel_label_value(name: str) -> str:
    """The value of the labels that tell the channel; the name itself unless it is too long."""
    if len(name) <= _MAX_LABEL_VALUE:
        return name
    suffix = f"-{_digest(name, 16)}"
    return name[: _MAX_LABEL_VALUE - len(suffix)].rstrip("-.") + suffix


def _digest(text: str, length: int) -> str:
    """Small letters and digits that stand for a text."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]
