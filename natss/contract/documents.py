"""Reads Kubernetes documents into the desired state.

Pure. Accepts the documents of channels (of the kinds in ``natss.contract.channel_kinds``) and of
Subscriptions that kubectl accepts, alone or in lists; returns channels with all their subscribers.
Other resources and channels of other provisioners are ignored. A broken document never harms
another one. If a document exists but cannot be read, its previous state holds: removing a
subscriber abandons its events, and a typing mistake must not do that.

``dispatcher.desired`` decides where documents come from.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.channel_kinds import api_of, kinds
from natss.contract.fields import Fields, Refused, fields
from natss.contract.metadata import Unusable, flatten, identify
from natss.contract.places import RecordedDurable, choose, claim_of
from natss.contract.reports import Report, did_you_mean, shown
from natss.contract.resource_document import ResourceDocument
from natss.contract.resources import (
    Channel,
    Defaults,
    DesiredState,
    ResourceName,
    Subscriber,
    Unread,
    Unserved,
)
from natss.contract.subjects import losers
from natss.contract.subscription_documents import Addresses, channel_of, read_subscription

__all__ = ["Defaults", "RecordedOf", "desired_state", "none_recorded"]

_NOTHING = DesiredState(channels={})

RecordedOf = Callable[[ChannelId], Iterable[RecordedDurable]]
"""Returns the durables of a channel that may exist."""


def none_recorded(_: ChannelId) -> Iterable[RecordedDurable]:
    """Return nothing: for callers without a record of durables."""
    return ()


def desired_state(
    documents: Iterable[tuple[str, object]],
    defaults: Defaults | None = None,
    previous: DesiredState = _NOTHING,
    recorded: RecordedOf = none_recorded,
) -> DesiredState:
    """Return the state that the documents ask for; never raises, whatever they contain.

    Args:
        documents: Each with its origin for people, such as ``channels.yaml, line 12``, or empty.
        defaults: The values that they omit.
        previous: The previous state, which replaces what cannot be read now.
        recorded: Decides which subscribers of a channel are served if it has too many.
    """
    reading = _Reading(defaults or Defaults(), previous, recorded)
    for origin, value in flatten(documents):
        reading.sort_in(identify(origin, value))
    reading.read_channels()
    reading.read_subscriptions()
    reading.keep()
    return reading.state()


class _Reading:
    """One reading of all documents: sorts them, then reads channels, then Subscriptions."""

    def __init__(
        self, defaults: Defaults, previous: DesiredState, recorded: RecordedOf = none_recorded
    ) -> None:
        self._defaults = defaults
        self._previous = previous
        self._recorded = recorded
        self._reports: list[Report] = []
        self._documents: dict[ChannelId, ResourceDocument] = {}
        self._subscriptions: dict[ResourceName, ResourceDocument] = {}
        self._channels: dict[ChannelId, Channel] = {}
        self._subscribers: dict[ChannelId, dict[str, Subscriber]] = {}  # by durable
        self._listed: dict[tuple[ChannelId, ResourceName], list[Subscriber]] = {}  # by ref
        self._foreign: set[ChannelId] = set()
        self._refused: set[ChannelId] = set()
        self._refused_subscriptions: set[ResourceName] = set()
        self._incomplete: set[ChannelId] = set()  # channels with an unreadable subscriber
        self._nameless = False  # whether a document of ours has an unreadable name

    def sort_in(self, document: ResourceDocument | Unusable | None) -> None:
        """Keep documents by kind and name; of two with the same name, the first."""
        if document is None:
            return
        if isinstance(document, Unusable) and document.channel and _is_foreign(*document.channel):
            if document.written is not None:
                self._foreign.add(_channel_id(document.channel[0], document.written))
            return
        self._reports.append(document.report)
        if isinstance(document, Unusable):
            self._nameless |= document.ours and document.name is None
            if document.name is not None:
                self._refused |= {_channel_id(kind, document.name) for kind in kinds()}
                self._refused_subscriptions.add(document.name)
            return
        if document.deleted:
            return
        if document.channel_kind is None:
            first = self._subscriptions.setdefault(document.name, document)
        else:
            first = self._documents.setdefault(document.channel, document)
        if first is not document:
            where = first.report.origin or "before"
            document.report.add("metadata.name", f"is there already ({where}); this one is ignored")

    def read_channels(self) -> None:
        for name, document in self._documents.items():
            api = api_of(name.kind)
            try:
                if not api.is_ours(document.root):
                    self._foreign.add(name)
                    continue
                before = self._previous.channels.get(name)
                channel, complete = api.read(document, self._defaults, before, self._recorded(name))
            except Refused as refused:
                document.report.refuse(refused.path, refused.message)
                self._refused.add(name)
                continue
            self._add(channel)
            if not complete:
                self._incomplete.add(channel.name)

    def read_subscriptions(self) -> None:
        addresses = Addresses(self._defaults.cluster_domain, self._addresses())
        for document in self._subscriptions.values():
            try:
                channel = channel_of(document)
                if channel is None or channel in self._foreign:
                    continue
                if channel not in self._channels:
                    raise Refused("spec.channel.name", self._no_channel(channel))
                subscriber = read_subscription(document, channel, addresses)
                self._subscribe(channel, subscriber, document.report)
            except Refused as refused:
                document.report.refuse(refused.path, refused.message)
                self._refused_subscriptions.add(document.name)

    def keep(self) -> None:
        """Keep what existed before and cannot be read now."""
        for name, channel in self._previous.channels.items():
            if name in self._channels:
                self._keep_subscribers(channel)
            elif self._nameless or name in self._refused:
                self._add(channel)
                self._tell_kept(name.title)

    def state(self) -> DesiredState:
        channels = {name: self._served(channel) for name, channel in self._channels.items()}
        problems = [problem for report in self._reports for problem in report.problems]
        rivals = losers(channels)
        return DesiredState(
            {name: channel for name, channel in channels.items() if name not in rivals},
            (*problems, *rivals.values()),
            unread=self._unread(),
            without_subject=frozenset(rivals),
        )

    def _served(self, channel: Channel) -> Channel:
        """Return the channel with its subscribers, except those that have no place."""
        name, subscribers = channel.name, tuple(self._subscribers[channel.name].values())
        claims = [claim_of(subscriber) for subscriber in subscribers]
        before = self._previous.channels.get(name)
        served_before = map(claim_of, before.subscribers) if before is not None else ()
        recorded = self._recorded(name)
        choice = choose(claims, self._defaults.max_subscribers, served_before, recorded)
        served = tuple(subscribers[index] for index in choice.served)
        refs = {subscriber.ref for subscriber in served}
        more = choice.unserved(claims)
        durables = {**channel.unserved.durables, **more.durables}
        unserved = Unserved(
            channel.unserved.number + more.number,
            {ref: durable for ref, durable in durables.items() if ref not in refs},
        )
        if unserved.number:
            self._tell_too_many(name)
        return replace(channel, subscribers=served, unserved=unserved)

    def _tell_too_many(self, name: ChannelId) -> None:
        report = Report(name.title)
        most = self._defaults.max_subscribers
        report.refuse(
            "spec.subscribable.subscribers",
            f"the channel has more subscribers than the {most} that are served of one",
            "the others get no events until some of these are removed or --max-subscribers of the"
            " dispatcher is raised",
        )
        self._reports.append(report)

    def _unread(self) -> Unread:
        return Unread(
            self._nameless,
            frozenset(self._refused | self._incomplete),
            frozenset(self._refused_subscriptions),
        )

    def _add(self, channel: Channel) -> None:
        self._channels[channel.name] = channel
        self._subscribers[channel.name] = {s.durable: s for s in channel.subscribers}
        for subscriber in channel.subscribers:
            self._listed.setdefault((channel.name, subscriber.ref), []).append(subscriber)

    def _addresses(self) -> dict[ChannelId, str]:
        """Return the host of every channel that may be the destination of a reply."""
        hosts = {name: channel.hosts[0] for name, channel in self._channels.items()}
        for name, document in self._documents.items():
            host = _address(document) if name not in hosts else None
            if host is not None:
                hosts[name] = host
        return hosts

    def _no_channel(self, name: ChannelId) -> str:
        if name in self._refused:
            return f"the document of channel {name} is refused"
        hint = did_you_mean(str(name), map(str, self._channels))
        return f"there is no channel {name}{hint}"

    def _subscribe(self, channel: ChannelId, new: Subscriber, report: Report) -> None:
        """Add a Subscription's subscriber, which the channel's own list may contain as well.

        The uid of the list counts for the name of the durable, the URIs of the Subscription for
        delivery.
        """
        subscribers = self._subscribers[channel]
        for listed in self._listed.get((channel, new.ref), ()):
            if None not in (listed.uid, new.uid) and listed.uid != new.uid:
                report.add("metadata.uid", f"replaces {shown(listed.uid)} in the channel's list")
                del subscribers[listed.durable]
            else:
                new = replace(new, uid=listed.uid)
        same = subscribers.get(new.durable)
        if same is not None:
            _compare(same, new, report)
        subscribers[new.durable] = new

    def _keep_subscribers(self, before: Channel) -> None:
        subscribers = self._subscribers[before.name]
        refs = {subscriber.ref for subscriber in subscribers.values()}
        unclear = self._nameless or before.name in self._incomplete
        for subscriber in before.subscribers:
            refused = subscriber.ref in self._refused_subscriptions
            if subscriber.ref not in refs and (unclear or refused):
                subscribers[subscriber.durable] = subscriber
                self._tell_kept(f"Subscription {subscriber.ref}")

    def _tell_kept(self, resource: str) -> None:
        report = Report(resource)
        report.add("", "stays as it was, until its document can be read or is gone")
        self._reports.append(report)


def _compare(listed: Subscriber, new: Subscriber, report: Report) -> None:
    """Report how a Subscription differs from the subscriber that has its durable already.

    Raises:
        Refused: That subscriber belongs to another Subscription.
    """
    if listed.ref not in {new.ref, ResourceName(new.ref.namespace, listed.durable)}:
        raise Refused("metadata.uid", f"{shown(new.durable)} is that of {listed.ref} already")
    if (listed.subscriber_uri, listed.reply_uri) != (new.subscriber_uri, new.reply_uri):
        report.add("spec", "differs from the channel's list of subscribers; this one is used")


def _address(document: ResourceDocument) -> str | None:
    try:
        return api_of(document.channel.kind).address(document)
    except Refused:  # reported where the channel is read
        return None


def _is_foreign(kind: ChannelKind, root: Fields) -> bool:
    """Return whether a channel is certainly another provisioner's; report nothing, never raise."""
    try:
        return not api_of(kind).is_ours(fields(root.value, "", Report("")))
    except Refused:
        return False


def _channel_id(kind: ChannelKind, name: ResourceName) -> ChannelId:
    return ChannelId(kind, name.namespace, name.name)
