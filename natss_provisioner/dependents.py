"""Which Subscriptions a change of a Channel concerns, from what was seen of them.

Pure, and only a hint of what to look at: what is true is asked of the API.
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
"""What a condition says of delivery."""


@dataclass(frozen=True, slots=True)
class DependentKind:
    """Of objects that Subscriptions name."""

    api_version: str
    kind: str


@dataclass(frozen=True, slots=True)
class ObjectName:
    """One of them."""

    kind: DependentKind
    name: ResourceName


@dataclass(frozen=True, slots=True)
class SeenObjects:
    """A Subscription as it was seen last."""

    uid: str
    channel: ChannelId | None
    """The one that has its entry, or is to have it."""

    concerned: frozenset[ChannelId]
    """All Channels that it names."""

    uris: tuple[object, object]
    """What its status says of subscriber and reply."""

    named: ObjectName | None
    """What it names as subscriber, if that is neither a Channel nor a Service."""

    delivering: Mapping[str, object]
    """What its status says of its delivery; empty if it says nothing."""


class Dependents:
    """All Subscriptions that were seen, by name and by Channel."""

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
        """Note a Subscription; returns what was known of that name before."""
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
        """Forget a Subscription; returns what was known of it."""
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
        """The Subscriptions that name a Channel, for whatever."""
        return tuple(self._by_channel.get(channel, ()))

    def naming(self, named: ObjectName) -> tuple[ResourceName, ...]:
        """The Subscriptions that name an object as their subscriber."""
        return tuple(self._by_object.get(named, ()))

    def kinds(self) -> list[DependentKind]:
        """Of all objects that Subscriptions name, but for Channels and Services; of most first."""
        return [kind for kind, _ in self._kinds.most_common()]

    def unlike(self, channel: Document) -> Iterator[ResourceName]:
        """The Subscriptions to a Channel in which their entry, or its delivery, is another one.

        Another one than their status says.
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
        """Whether a Channel has an entry of a Subscription that was not seen, or is not for it."""
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
    """What is compared of a condition that is to be told."""
    if condition is None:
        return {}
    told = (condition.status.value, condition.reason, condition.message)
    return {key: text for key, text in zip(_SAID, told, strict=True) if text}


def _said(condition: Mapping[str, object]) -> Mapping[str, object]:
    """The same of one that was told."""
    return {key: condition[key] for key in _SAID if condition.get(key)}


def _uris(fields: Mapping[str, object]) -> tuple[object, object]:
    return fields.get("subscriberURI"), fields.get("replyURI")
