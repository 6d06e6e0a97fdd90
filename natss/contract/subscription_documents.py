"""A Subscription document (``eventing.knative.dev/v1alpha1``) as a subscriber of a channel.

Pure. It resolves what Knative's Subscription controller of v0.6 resolved, as far as that is
possible without asking a cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from natss.contract.channel_documents import OBJECT_REFERENCE, completed
from natss.contract.eventing import API_VERSION, CHANNEL
from natss.contract.fields import Fields, Refused
from natss.contract.kinds import ChannelId
from natss.contract.names import is_resource_name
from natss.contract.reports import did_you_mean, shown
from natss.contract.resource_document import ResourceDocument
from natss.contract.resources import Subscriber


@dataclass(frozen=True, slots=True)
class Addresses:
    """How names become hosts."""

    cluster_domain: str
    channels: Mapping[ChannelId, str]
    """The host of every channel that is known, whoever provides it."""


def channel_of(document: ResourceDocument) -> ChannelId | None:
    """The channel that a Subscription is for; None if that is not one of our kind.

    Raises:
        Refused: it cannot be read.
    """
    channel = document.root.nested("spec").nested("channel")
    return _channel_reference(channel, document.name.namespace, foreign_allowed=True)


def read_subscription(document: ResourceDocument, addresses: Addresses) -> Subscriber:
    """The subscriber that a Subscription asks for.

    Raises:
        Refused: it cannot be read, has neither subscriber nor reply, or would have to be resolved
            by a cluster.
    """
    spec = document.root.nested("spec")
    spec.tell_unknown(("channel", "subscriber", "reply", "generation"))
    namespace = document.name.namespace
    subscriber = Subscriber(
        ref=document.name,
        uid=document.uid,
        subscriber_uri=_subscriber_uri(spec.nested("subscriber"), namespace, addresses),
        reply_uri=_reply_uri(spec.nested("reply"), namespace, addresses),
    )
    if subscriber.subscriber_uri is None and subscriber.reply_uri is None:
        raise Refused("spec", "has neither a subscriber nor a reply")
    return subscriber


def _subscriber_uri(subscriber: Fields, namespace: str, addresses: Addresses) -> str | None:
    """``uri``, else ``dnsName``, else ``ref``: the order in which v0.6 looked."""
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
            path = subscriber.path_of(key)
            return completed(text, path, namespace, addresses.cluster_domain)
    if subscriber.has("ref"):
        return _referenced(subscriber.nested("ref"), namespace, addresses)
    return None


def _referenced(ref: Fields, namespace: str, addresses: Addresses) -> str:
    """The URI of an object: a Service by its name, a Channel by its host."""
    ref.tell_unknown(OBJECT_REFERENCE)
    kind, api_version = ref.required_text("kind"), ref.text("apiVersion")
    if kind == "Service" and api_version in {"v1", None}:
        _own_namespace(ref, namespace)
        host = f"{_name(ref)}.{namespace}.svc.{addresses.cluster_domain}"
        return f"http://{host}/"
    if kind == "Channel" and api_version in {API_VERSION, None}:
        return _channel_uri(ref, namespace, addresses)
    raise Refused(
        ref.path,
        f"{shown(f'{api_version} {kind}')} can only be resolved by a cluster; write its URL as"
        " spec.subscriber.uri",
    )


def _reply_uri(reply: Fields, namespace: str, addresses: Addresses) -> str | None:
    reply.tell_unknown(("channel",))
    if not reply.has("channel"):
        return None
    channel = reply.nested("channel")
    channel.tell_unknown(OBJECT_REFERENCE)
    return _channel_uri(channel, namespace, addresses)


def _channel_uri(reference: Fields, namespace: str, addresses: Addresses) -> str:
    name = _channel_reference(reference, namespace, foreign_allowed=False)
    host = addresses.channels.get(name) if name else None
    if name is None or host is None:
        hint = did_you_mean(str(name), map(str, addresses.channels))
        raise Refused(reference.path, f"there is no channel {name} with an address{hint}")
    return f"http://{host}/"


def _channel_reference(
    reference: Fields, namespace: str, *, foreign_allowed: bool
) -> ChannelId | None:
    reference.tell_unknown(OBJECT_REFERENCE)
    api_version = reference.text("apiVersion")
    kind = reference.text("kind")
    if api_version not in {None, API_VERSION} or kind not in {None, "Channel"}:
        if foreign_allowed and not (
            api_version == API_VERSION and did_you_mean(str(kind), ["Channel"])
        ):
            return None
        raise Refused(
            reference.path,
            f"{shown(f'{api_version} {kind}')}; must be a Channel of {API_VERSION}",
        )
    _own_namespace(reference, namespace)
    return ChannelId(CHANNEL, namespace, _name(reference))


def _own_namespace(reference: Fields, namespace: str) -> None:
    """A Subscription may only name objects of its namespace, as in Knative."""
    given = reference.text("namespace")
    if given not in {None, namespace}:
        raise Refused(
            reference.path_of("namespace"),
            f"{shown(given)}; must be the Subscription's own namespace, or left out",
        )


def _name(reference: Fields) -> str:
    name = reference.required_text("name")
    if not is_resource_name(name):
        raise Refused(reference.path_of("name"), f"{shown(name)}; must be a DNS name")
    return name
