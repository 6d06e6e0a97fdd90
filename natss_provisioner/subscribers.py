"""What a Subscription asks for, and its entry in the list of subscribers of its Channel.

Pure: documents in, values and documents out. A Subscription is read in
``natss.contract.subscription_documents``; what an object that is named has for an address is found
out in ``handlers/targets.py``. Entries are those of Knative eventing v0.6; what somebody else
wrote into the list stays.
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
"""Of Knative's controller: whoever finds it on a Subscription removes the entry first."""

HELD_BY = "channelName"
"""In ``status``: the name of the Channel that has the entry. ``spec`` may have been changed while
nobody looked."""

_GROUP = API_VERSION.partition("/")[0]
_KIND = "Subscription"


@dataclass(frozen=True, slots=True)
class Physical:
    """Where events and answers are posted to."""

    subscriber_uri: str | None
    reply_uri: str | None

    @property
    def fields(self) -> dict[str, str | None]:
        """As in ``status.physicalSubscription`` and in an entry."""
        return {"subscriberURI": self.subscriber_uri, "replyURI": self.reply_uri}


def read_channel_name(subscription: Document) -> ChannelId | None:
    """The Channel that a Subscription is for; None if that is another kind of channel.

    Raises:
        Refused: it cannot be read.
    """
    return channel_of(_read(subscription))


def read_wish(subscription: Document, cluster_domain: str) -> Wish:
    """``natss.contract.subscription_documents.read_wish`` of an object of the API."""
    return wish_of(_read(subscription), cluster_domain)


def problems_of(subscription: Document, cluster_domain: str) -> tuple[Problem, ...]:
    """What is wrong with a Subscription to a Channel, and hints; never raises."""
    document = _read(subscription)
    try:
        channel_of(document)
        wish_of(document, cluster_domain)
    except Refused as refused:
        document.report.refuse(refused.path, refused.message)
    return tuple(document.report.problems)


def held_by(subscription: Document) -> ChannelId | None:
    """The Channel that the entry of a Subscription was written to last; None if there is none.

    Also if there is something else in its place than a name, which this program never wrote.
    """
    name = text_at(subscription, "status", HELD_BY)
    if name is None or not is_resource_name(name):
        return None
    return ChannelId(CHANNEL, subscription["metadata"]["namespace"], name)


def channels_named(subscription: Document) -> frozenset[ChannelId]:
    """All Channels whose change may concern a Subscription, as far as it can be read."""
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
    """What a Subscription names as its subscriber; None for a URI, a Channel and a Service."""
    try:
        subscriber = read_wish(subscription, "cluster.local").subscriber
    except Refused:
        return None
    if not isinstance(subscriber, SubscriberTarget):
        return None
    is_channel = subscriber.channel(subscription["metadata"]["namespace"]) is not None
    return None if subscriber.is_service or is_channel else subscriber


def entries(channel: Mapping[str, Any]) -> list[Document]:
    """The list of subscribers of a Channel."""
    found = object_at(channel, "spec", "subscribable").get("subscribers")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def with_entry(
    channel: Document, subscription: Document, physical: Physical
) -> list[Document] | None:
    """The list with the right entry of a Subscription, once; None if it is so already.

    An entry of an earlier Subscription of that name is replaced where it stands.
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
    """The list without what belongs to a Subscription; None if there is nothing of it.

    An entry of another Subscription of that name, earlier or later, stays.
    """
    before = entries(channel)
    after = [each for each in before if not is_of(each, subscription)]
    return None if after == before else after


def is_of(entry: Mapping[str, Any], subscription: Document) -> bool:
    """Whether an entry was made for a Subscription, and not for an earlier one of its name.

    Of v0.5 it may have no uid.
    """
    uid = uid_of(entry)
    if uid is None:
        return _is_of_name(entry, subscription)
    return bool(uid == subscription["metadata"]["uid"])


def uid_of(entry: Mapping[str, Any]) -> str | None:
    """The uid of the Subscription that an entry was made for, if it says so."""
    return text_at(entry, "uid") or text_at(entry, "ref", "uid")


def claimant(entry: Mapping[str, Any], channel: Mapping[str, Any]) -> ResourceName | None:
    """The Subscription that an entry names with a uid; None for entries that somebody made freely.

    Only an entry with both can be told to be left over. Subscriptions of another namespace than the
    Channel's are nothing that its owner could find out about.
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
    """An entry; one of v0.5 stays without uid, for its durable is named by the reference."""
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
