"""Finds the Subscriptions that a change of a Channel concerns, from what was seen of them.

Pure, and only a hint of what to reconcile: the API says what is true.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from natss.contract.channel_id import ChannelId
from natss.contract.fields import Refused, object_at
from natss.contract.resources import ResourceName
from natss.document import Document
from natss.knative import channel_id, name_of
from natss_provisioner import delivery, subscribers
from natss_provisioner.conditions import DELIVERING, Condition, find

_Key = TypeVar("_Key")

_SAID = ("status", "reason", "message")
"""The fields of a condition that describe delivery."""


@dataclass(frozen=True, slots=True)
class DependentKind:
    """A kind of objects that Subscriptions name."""

    api_version: str
    kind: str


@dataclass(frozen=True, slots=True)
class ObjectName:
    """An object that Subscriptions name."""

    kind: DependentKind
    name: ResourceName


@dataclass(frozen=True, slots=True)
class SeenObjects:
    """A Subscription as last seen."""

    uid: str
    channel: ChannelId | None
    """The Channel that has its entry, or should have it."""

    concerned: frozenset[ChannelId]
    """All Channels that it names."""

    uris: tuple[object, object]
    """The URIs of subscriber and reply in its status."""

    named: ObjectName | None
    """The object that it names as subscriber, if that is neither a Channel nor a Service."""

    delivering: Mapping[str, object]
    """The condition of its delivery in its status; empty if there is none."""


class Dependents:
    """All seen Subscriptions, by name and by Channel."""

    def __init__(self) -> None:
        self._seen: dict[ResourceName, SeenObjects] = {}
        self._by_channel: dict[ChannelId, set[ResourceName]] = {}
        self._channel_of: dict[str, ChannelId] = {}
        self._by_object: dict[ObjectName, set[ResourceName]] = {}
        self._kinds: Counter[DependentKind] = Counter()  # of the objects

    @property
    def channel_of(self) -> Mapping[str, ChannelId]:
        """The Channel of each Subscription, by uid."""
        return self._channel_of

    def put(self, subscription: Document) -> SeenObjects | None:
        """Note a Subscription; return what was known under that name before."""
        name = name_of(subscription)
        before = self.drop(name)
        try:
            named = subscribers.read_channel_name(subscription)
        except Refused:
            named = None
        channel = subscribers.held_by(subscription) or named
        physical = object_at(subscription, "status", "physicalSubscription")
        seen = SeenObjects(
            uid=subscription["metadata"]["uid"],
            channel=channel,
            concerned=subscribers.channels_named(subscription),
            uris=_uris(physical),
            named=_object_of(subscription),
            delivering=_said(find(subscription.get("status"), DELIVERING)),
        )
        self._seen[name] = seen
        for each in seen.concerned:
            self._by_channel.setdefault(each, set()).add(name)
        if channel is not None:
            self._channel_of[seen.uid] = channel
        if seen.named is not None:
            if seen.named not in self._by_object:
                self._kinds[seen.named.kind] += 1
            self._by_object.setdefault(seen.named, set()).add(name)
        return before

    def drop(self, name: ResourceName) -> SeenObjects | None:
        """Forget a Subscription; return what was known of it."""
        seen = self._seen.pop(name, None)
        if seen is None:
            return None
        self._channel_of.pop(seen.uid, None)
        for each in seen.concerned:
            _discard(self._by_channel, each, name)
        if seen.named is not None:
            _discard(self._by_object, seen.named, name)
            if seen.named not in self._by_object:
                self._kinds[seen.named.kind] -= 1
                if not self._kinds[seen.named.kind]:
                    del self._kinds[seen.named.kind]
        return seen

    def names(self) -> tuple[ResourceName, ...]:
        return tuple(self._seen)

    def on(self, channel: ChannelId) -> tuple[ResourceName, ...]:
        """Return the Subscriptions that name a Channel, for any purpose."""
        return tuple(self._by_channel.get(channel, ()))

    def naming(self, named: ObjectName) -> tuple[ResourceName, ...]:
        """Return the Subscriptions that name an object as their subscriber."""
        return tuple(self._by_object.get(named, ()))

    def kinds(self) -> list[DependentKind]:
        """Return the kinds of named objects, except Channels and Services; most frequent first."""
        return [kind for kind, _ in self._kinds.most_common()]

    def unlike(self, channel: Document) -> Iterator[ResourceName]:
        """Yield the Subscriptions whose status differs from the Channel.

        The status has other URIs than the entry in the Channel, or another state of its delivery.
        """
        name = channel_id(channel)
        listed = {subscribers.uid_of(entry): _uris(entry) for entry in subscribers.entries(channel)}
        told = delivery.told(channel)
        for each in self.on(name):
            seen = self._seen[each]
            if seen.channel != name:
                continue
            delivers = delivery.condition(told.get(seen.uid, {}))
            if listed.get(seen.uid) != seen.uris or _fields(delivers) != seen.delivering:
                yield each

    def has_unknown(self, channel: Document) -> bool:
        """Return whether a Channel has an entry of a Subscription that is unseen or not for it."""
        name = channel_id(channel)
        return any(
            subscribers.claimant(entry, channel) is not None
            and self._channel_of.get(subscribers.uid_of(entry) or "") != name
            for entry in subscribers.entries(channel)
        )


def _object_of(subscription: Document) -> ObjectName | None:
    target = subscribers.object_named(subscription)
    if target is None:
        return None
    namespace = subscription["metadata"]["namespace"]
    kind = DependentKind(target.api_version, target.kind)
    return ObjectName(kind, ResourceName(namespace, target.name))


def _discard(index: dict[_Key, set[ResourceName]], key: _Key, name: ResourceName) -> None:
    names = index[key]
    names.discard(name)
    if not names:
        del index[key]


def _fields(condition: Condition | None) -> Mapping[str, object]:
    """Return the compared fields of a condition to be written."""
    if condition is None:
        return {}
    told = (condition.status.value, condition.reason, condition.message)
    return {key: text for key, text in zip(_SAID, told, strict=True) if text}


def _said(condition: Mapping[str, object]) -> Mapping[str, object]:
    """Return the compared fields of a condition in a status."""
    return {key: condition[key] for key in _SAID if condition.get(key)}


def _uris(fields: Mapping[str, object]) -> tuple[object, object]:
    return fields.get("subscriberURI"), fields.get("replyURI")
