"""What a Subscription asks for, and its entry in the list of subscribers of its Channel.

Pure: documents in, values and documents out. ``natss.contract.subscription_documents`` reads a
Subscription; ``handlers/targets.py`` finds the address of an object that it names. Entries are
those of Knative eventing v0.6; entries that somebody else wrote into the list stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from natss.contract.channel_id import ChannelId
from natss.contract.eventing import API_VERSION, CHANNEL
from natss.contract.fields import Refused, fields, object_at, text_at
from natss.contract.names import is_resource_name
from natss.contract.reports import Report
from natss.contract.resource_document import ResourceDocument
from natss.contract.resources import Problem, ResourceName
from natss.contract.subscription_documents import SubscriberTarget, Wish, channel_of
from natss.contract.subscription_documents import read_wish as wish_of
from natss.document import Document
from natss.knative import name_of

FINALIZER = "subscription-controller"
"""The finalizer of Knative's controller: the controller in charge removes the entry first."""

HELD_BY = "channelName"
"""The field of ``status`` with the name of the Channel that has the entry. ``spec`` may have been
changed while no controller was running.
"""

_GROUP = API_VERSION.partition("/")[0]
_KIND = "Subscription"


@dataclass(frozen=True, slots=True)
class Physical:
    """The URIs that events and replies are posted to."""

    subscriber_uri: str | None
    reply_uri: str | None

    @property
    def fields(self) -> dict[str, str | None]:
        """The fields of ``status.physicalSubscription`` and of an entry."""
        return {"subscriberURI": self.subscriber_uri, "replyURI": self.reply_uri}


def read_channel_name(subscription: Document) -> ChannelId | None:
    """Return the Channel that a Subscription is for; None if it is another kind of channel.

    Raises:
        Refused: The Subscription cannot be read.
    """
    return channel_of(_read(subscription))


def read_wish(subscription: Document, cluster_domain: str) -> Wish:
    """Call ``natss.contract.subscription_documents.read_wish`` for an object of the API."""
    return wish_of(_read(subscription), cluster_domain)


def problems_of(subscription: Document, cluster_domain: str) -> tuple[Problem, ...]:
    """Return mistakes of a Subscription to a Channel, and hints; never raise."""
    document = _read(subscription)
    try:
        channel_of(document)
        wish_of(document, cluster_domain)
    except Refused as refused:
        document.report.refuse(refused.path, refused.message)
    return tuple(document.report.problems)


def held_by(subscription: Document) -> ChannelId | None:
    """Return the Channel that the entry of a Subscription was last written to; None if unknown.

    Return None also if the field has something else than a name, which this program never writes.
    """
    name = text_at(subscription, "status", HELD_BY)
    if name is None or not is_resource_name(name):
        return None
    return ChannelId(CHANNEL, subscription["metadata"]["namespace"], name)


def channels_named(subscription: Document) -> frozenset[ChannelId]:
    """Return all Channels whose change may concern a Subscription, as far as it can be read."""
    names: set[ChannelId | None] = set()
    try:
        names.add(held_by(subscription))
        names.add(read_channel_name(subscription))
        wish = read_wish(subscription, "cluster.local")
    except Refused:
        return frozenset(name for name in names if name)
    namespace = subscription["metadata"]["namespace"]
    for target in (wish.subscriber, wish.reply):
        if isinstance(target, SubscriberTarget):
            names.add(target.channel(namespace))
    return frozenset(name for name in names if name)


def object_named(subscription: Document) -> SubscriberTarget | None:
    """Return the object that is the subscriber; None for a URI, a Channel and a Service."""
    try:
        subscriber = read_wish(subscription, "cluster.local").subscriber
    except Refused:
        return None
    if not isinstance(subscriber, SubscriberTarget):
        return None
    is_channel = subscriber.channel(subscription["metadata"]["namespace"]) is not None
    return None if subscriber.is_service or is_channel else subscriber


def entries(channel: Mapping[str, Any]) -> list[Document]:
    """Return the list of subscribers of a Channel."""
    found = object_at(channel, "spec", "subscribable").get("subscribers")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def with_entry(
    channel: Document, subscription: Document, physical: Physical
) -> list[Document] | None:
    """Return the list with one correct entry of a Subscription; None if it is so already.

    An entry of an earlier Subscription of that name is replaced in its place.
    """
    before = entries(channel)
    places = [i for i, each in enumerate(before) if _is_of_name(each, subscription)]
    places += [i for i, each in enumerate(before) if is_of(each, subscription) and i not in places]
    own = next((before[i] for i in places if is_of(before[i], subscription)), None)
    entry = _entry(own, subscription, physical)
    if not places:
        return [*before, entry]
    first, rest = min(places), set(places)
    after = [
        entry if i == first else each
        for i, each in enumerate(before)
        if i == first or i not in rest
    ]
    return None if after == before else after


def without_entry(channel: Document, subscription: Document) -> list[Document] | None:
    """Return the list without the entries of a Subscription; None if it has none.

    An entry of another Subscription of that name, earlier or later, stays.
    """
    before = entries(channel)
    after = [each for each in before if not is_of(each, subscription)]
    return None if after == before else after


def is_of(entry: Mapping[str, Any], subscription: Document) -> bool:
    """Return whether an entry was created for a Subscription, not for an earlier one of its name.

    An entry of v0.5 may have no uid.
    """
    uid = uid_of(entry)
    if uid is None:
        return _is_of_name(entry, subscription)
    return bool(uid == subscription["metadata"]["uid"])


def uid_of(entry: Mapping[str, Any]) -> str | None:
    """Return the uid of the Subscription that an entry was created for, if the entry has it."""
    return text_at(entry, "uid") or text_at(entry, "ref", "uid")


def claimant(entry: Mapping[str, Any], channel: Mapping[str, Any]) -> ResourceName | None:
    """Return the Subscription that an entry names with a uid; None for entries written by hand.

    Only an entry with name and uid can be recognised as left over. Subscriptions of another
    namespace than the Channel's are ignored: its owner may not learn about them.
    """
    ref = object_at(entry, "ref")
    name, own = text_at(ref, "name"), channel["metadata"]["namespace"]
    if name is None or uid_of(entry) is None or not _names_a_subscription(ref):
        return None
    if not is_resource_name(name) or (text_at(ref, "namespace") or own) != own:
        return None
    return ResourceName(own, name)


def _names_a_subscription(ref: Mapping[str, Any]) -> bool:
    group = str(ref.get("apiVersion") or API_VERSION).partition("/")[0]
    return group == _GROUP and ref.get("kind") in (None, "", _KIND)


def _is_of_name(entry: Mapping[str, Any], subscription: Document) -> bool:
    ref, metadata = object_at(entry, "ref"), subscription["metadata"]
    return (
        _names_a_subscription(ref)
        and ref.get("name") == metadata["name"]
        and (ref.get("namespace") or metadata["namespace"]) == metadata["namespace"]
    )


def _entry(own: Document | None, subscription: Document, physical: Physical) -> Document:
    """Return the entry; one of v0.5 stays without uid: its durable is named after the reference."""
    metadata = subscription["metadata"]
    entry: Document = {key: own[key] for key in own} if own else {}
    if own is None or own.get("uid"):
        entry["uid"] = metadata["uid"]
    entry["ref"] = {
        **object_at(entry, "ref"),
        "apiVersion": API_VERSION,
        "kind": _KIND,
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "uid": metadata["uid"],
    }
    for key, uri in physical.fields.items():
        entry.pop(key, None)
        if uri is not None:
            entry[key] = uri
    return entry


def _read(subscription: Document) -> ResourceDocument:
    name = name_of(subscription)
    return ResourceDocument(None, name, None, False, fields(subscription, "", Report(str(name))))
