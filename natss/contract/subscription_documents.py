"""Reads a Subscription document (``eventing.knative.dev/v1alpha1``).

Pure, and the only place where Subscriptions are read. The control plane asks the cluster for the
objects that a Subscription names. Without a cluster, ``read_subscription`` resolves what Knative's
Subscription controller of v0.6 resolved, as far as possible.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from natss.contract.channel_documents import OBJECT_REFERENCE, completed
from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import kind_of
from natss.contract.eventing import API_VERSION, CHANNEL
from natss.contract.fields import Fields, Refused
from natss.contract.names import is_dns_name, is_resource_name, service_host
from natss.contract.reports import did_you_mean, shown
from natss.contract.resource_document import ResourceDocument
from natss.contract.resources import Subscriber

_API_VERSIONS = {"Service": "v1", CHANNEL.kind: API_VERSION}
"""The kinds whose ``apiVersion`` a reference may omit."""


@dataclass(frozen=True, slots=True)
class SubscriberTarget:
    """An object in the Subscription's namespace that events go to."""

    path: str
    """The field that names it, such as ``spec.subscriber.ref``."""

    api_version: str
    kind: str
    name: str

    @property
    def is_service(self) -> bool:
        return (self.api_version, self.kind) == (_API_VERSIONS["Service"], "Service")

    def channel(self, namespace: str) -> ChannelId | None:
        """Return the channel that it is; None if it is another kind of object.

        Args:
            namespace: The namespace of the Subscription.
        """
        kind = kind_of(self.api_version, self.kind)
        return None if kind is None else ChannelId(kind, namespace, self.name)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a Subscription asks for: a subscriber, a reply, or both."""

    subscriber: str | SubscriberTarget | None
    """A URI as it is written, or an object to resolve."""

    reply: SubscriberTarget | None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Resolves names to hosts."""

    cluster_domain: str
    channels: Mapping[ChannelId, str]
    """The host of every known channel, whatever its provisioner."""


def channel_of(document: ResourceDocument) -> ChannelId | None:
    """Return the channel that a Subscription is for; None if it is another kind of channel.

    Raises:
        Refused: The Subscription cannot be read.
    """
    channel = document.root.nested("spec").nested("channel")
    channel.tell_unknown(OBJECT_REFERENCE)
    namespace = document.name.namespace
    api_version, kind = channel.text("apiVersion"), channel.text("kind")
    if not _is_channel(api_version, kind):
        if api_version == API_VERSION and did_you_mean(str(kind), [CHANNEL.kind]):
            raise _not_a_channel(channel)
        return None
    return ChannelId(CHANNEL, namespace, _name(channel, namespace))


def read_wish(document: ResourceDocument, cluster_domain: str) -> Wish:
    """Return what a Subscription asks for; of ``uri``, ``dnsName`` and ``ref`` the first counts.

    Raises:
        Refused: The Subscription cannot be read, or asks for nothing.
    """
    spec, namespace = document.root.nested("spec"), document.name.namespace
    spec.tell_unknown(("channel", "subscriber", "reply", "generation"))
    wish = Wish(
        subscriber=_subscriber(spec.nested("subscriber"), namespace, cluster_domain),
        reply=_reply(spec.nested("reply"), namespace),
    )
    if wish.subscriber is None and wish.reply is None:
        raise Refused("spec", "has neither a subscriber nor a reply")
    return wish


def read_subscription(
    document: ResourceDocument, channel: ChannelId, addresses: Addresses
) -> Subscriber:
    """Return the subscriber that a Subscription to a channel asks for.

    Raises:
        Refused: The Subscription cannot be read, has neither subscriber nor reply, or needs a
            cluster to be resolved.
    """
    namespace = document.name.namespace
    wish = read_wish(document, addresses.cluster_domain)
    subscriber, reply = wish.subscriber, wish.reply
    if isinstance(subscriber, SubscriberTarget):
        subscriber = _resolved(subscriber, namespace, addresses)
    elif subscriber is not None:
        subscriber = completed(subscriber, "spec.subscriber", namespace, addresses.cluster_domain)
    return Subscriber(
        ref=document.name,
        uid=document.uid,
        subscriber_uri=subscriber,
        reply_uri=None if reply is None else _resolved(reply, namespace, addresses),
        names_durable=channel.kind.names.durable,
    )


def _subscriber(
    subscriber: Fields, namespace: str, cluster_domain: str
) -> str | SubscriberTarget | None:
    """Return ``uri``, else ``dnsName``, else ``ref``, in the order of v0.6."""
    subscriber.tell_unknown(("uri", "dnsName", "ref"))
    given = [key for key in ("uri", "dnsName", "ref") if subscriber.has(key)]
    if len(given) > 1:
        subscriber.report.add(
            subscriber.path,
            f"has {' and '.join(given)}, of which one is enough",
            f"{given[0]} is used",
        )
    for key in ("uri", "dnsName"):
        text = subscriber.text(key)
        if text is not None:
            completed(text, subscriber.path_of(key), namespace, cluster_domain)
            return text
    return _target(subscriber.nested("ref"), namespace) if subscriber.has("ref") else None


def _reply(reply: Fields, namespace: str) -> SubscriberTarget | None:
    reply.tell_unknown(("channel",))
    if not reply.has("channel"):
        return None
    channel = reply.nested("channel")
    channel.tell_unknown(OBJECT_REFERENCE)
    if not _is_channel(channel.text("apiVersion"), channel.text("kind")):
        raise _not_a_channel(channel)
    name = _name(channel, namespace)
    return SubscriberTarget(channel.path, API_VERSION, CHANNEL.kind, name)


def _target(ref: Fields, namespace: str) -> SubscriberTarget:
    ref.tell_unknown(OBJECT_REFERENCE)
    kind = ref.required_text("kind")
    api_version = ref.text("apiVersion") or _API_VERSIONS.get(kind)
    if api_version is None:
        api_version = ref.required_text("apiVersion")
    if (
        api_version.count("/") > 1  # more of them would lead elsewhere in the API
        or not is_dns_name(api_version.replace("/", "."))
        or not kind.isascii()
        or not kind.isalnum()
    ):
        raise Refused(ref.path, f"{shown(f'{api_version} {kind}')}; must be a kind of object")
    return SubscriberTarget(ref.path, api_version, kind, _name(ref, namespace))


def _resolved(target: SubscriberTarget, namespace: str, addresses: Addresses) -> str:
    """Return the URI of an object: a Service by its name, a Channel by its host."""
    if target.is_service:
        return f"http://{service_host(namespace, target.name, addresses.cluster_domain)}/"
    channel = target.channel(namespace)
    if channel is None:
        raise Refused(
            target.path,
            f"{shown(f'{target.api_version} {target.kind}')} can only be resolved by a cluster;"
            " write its URL as spec.subscriber.uri",
        )
    host = addresses.channels.get(channel)
    if host is None:
        hint = did_you_mean(str(channel), map(str, addresses.channels))
        raise Refused(target.path, f"there is no channel {channel} with an address{hint}")
    return f"http://{host}/"


def _is_channel(api_version: str | None, kind: str | None) -> bool:
    return api_version in {None, API_VERSION} and kind in {None, CHANNEL.kind}


def _not_a_channel(reference: Fields) -> Refused:
    given = f"{reference.text('apiVersion')} {reference.text('kind')}"
    return Refused(reference.path, f"{shown(given)}; must be a Channel of {API_VERSION}")


def _name(reference: Fields, namespace: str) -> str:
    """Return the name of an object in the Subscription's own namespace, as in Knative."""
    given = reference.text("namespace")
    if given not in {None, namespace}:
        raise Refused(
            reference.path_of("namespace"),
            f"{shown(given)}; must be the Subscription's own namespace, or left out",
        )
    name = reference.required_text("name")
    if not is_resource_name(name):
        raise Refused(reference.path_of("name"), f"{shown(name)}; must be a DNS name")
    return name
