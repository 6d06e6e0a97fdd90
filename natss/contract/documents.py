"""Kubernetes documents as the state that they ask for.

Pure. It takes the ``Channel`` and ``Subscription`` documents (``eventing.knative.dev/v1alpha1``)
that go to kubectl, alone or in lists, and gives channels with all their subscribers. Other
resources and channels of other provisioners are passed over. A broken document never harms another
one. What is there but cannot be read stays as it was before: to remove a subscriber is to give up
its events, and that must not happen by a slip of the keyboard.

Where documents come from is the business of ``dispatcher.desired``.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from natss.contract.channel_documents import address, is_foreign, is_ours, read_channel
from natss.contract.fields import Refused
from natss.contract.metadata import KINDS, ResourceDocument, Unusable, flatten, identify
from natss.contract.places import RecordedDurable, choose, claim_of
from natss.contract.reports import Report, did_you_mean, shown
from natss.contract.resources import (
    Channel,
    Defaults,
    DesiredState,
    ResourceName,
    Subscriber,
    Unread,
    Unserved,
)
from natss.contract.subscription_documents import Addresses, channel_of, read_subscription

__all__ = ["Defaults", "RecordedOf", "desired_state", "none_recorded"]

_NOTHING = DesiredState(channels={})

RecordedOf = Callable[[ResourceName], Iterable[RecordedDurable]]
"""The durables of a channel that there may be."""


def none_recorded(_: ResourceName) -> Iterable[RecordedDurable]:
    """Where nobody keeps a record."""
    return ()


def desired_state(
    documents: Iterable[tuple[str, object]],
    defaults: Defaults | None = None,
    previous: DesiredState = _NOTHING,
    recorded: RecordedOf = none_recorded,
) -> DesiredState:
    """What the documents ask for; never raises, whatever they hold.

    Args:
        documents: Each with its origin for people, as ``channels.yaml, line 12``; may be empty.
        defaults: What they leave open.
        previous: The state before, from which comes what cannot be read now.
        recorded: Tells who is served of a channel that has too many subscribers.
    """
    reading = _Reading(defaults or Defaults(), previous, recorded)
    for origin, value in flatten(documents):
        reading.sort_in(identify(origin, value))
    reading.read_channels()
    reading.read_subscriptions()
    reading.keep()
    return reading.state()


class _Reading:
    """One reading of all documents: sorted in, then channels, then who subscribes to them."""

    def __init__(
        self, defaults: Defaults, previous: DesiredState, recorded: RecordedOf = none_recorded
    ) -> None:
        self._defaults = defaults
        self._previous = previous
        self._recorded = recorded
        self._reports: list[Report] = []
        self._documents: dict[tuple[str, ResourceName], ResourceDocument] = {}
        self._channels: dict[ResourceName, Channel] = {}
        self._subscribers: dict[ResourceName, dict[str, Subscriber]] = {}  # by durable
        self._listed: dict[tuple[ResourceName, ResourceName], list[Subscriber]] = {}  # by ref
        self._foreign: set[ResourceName] = set()
        self._refused: set[tuple[str, ResourceName]] = set()
        self._incomplete: set[ResourceName] = set()  # channels with a subscriber that is unreadable
        self._nameless = False  # there is a document of ours whose name is unreadable

    def sort_in(self, document: ResourceDocument | Unusable | None) -> None:
        """Keep documents by kind and name; of two with one name, the first."""
        if document is None:
            return
        if isinstance(document, Unusable) and document.channel and is_foreign(document.channel):
            if document.written is not None:
                self._foreign.add(document.written)
            return
        self._reports.append(document.report)
        if isinstance(document, Unusable):
            self._nameless |= document.ours and document.name is None
            if document.name is not None:
                self._refused |= {(kind, document.name) for kind in KINDS}
            return
        if document.deleted:
            return
        first = self._documents.setdefault((document.kind, document.name), document)
        if first is not document:
            where = first.report.origin or "before"
            document.report.add("metadata.name", f"is there already ({where}); this one is ignored")

    def read_channels(self) -> None:
        for document in self._of_kind("Channel"):
            try:
                if not is_ours(document.root):
                    self._foreign.add(document.name)
                    continue
                before = self._previous.channels.get(document.name)
                channel, complete = read_channel(
                    document, self._defaults, before, self._recorded(document.name)
                )
            except Refused as refused:
                self._refuse(document, refused)
                continue
            self._add(channel)
            if not complete:
                self._incomplete.add(channel.name)

    def read_subscriptions(self) -> None:
        addresses = Addresses(self._defaults.cluster_domain, self._addresses())
        for document in self._of_kind("Subscription"):
            try:
                channel = channel_of(document)
                if channel is None or channel in self._foreign:
                    continue
                if channel not in self._channels:
                    raise Refused("spec.channel.name", self._no_channel(channel))
                subscriber = read_subscription(document, addresses)
                self._subscribe(channel, subscriber, document.report)
            except Refused as refused:
                self._refuse(document, refused)

    def keep(self) -> None:
        """Take over what was there before and cannot be read now."""
        for name, channel in self._previous.channels.items():
            if name in self._channels:
                self._keep_subscribers(channel)
            elif self._nameless or ("Channel", name) in self._refused:
                self._add(channel)
                self._tell_kept("Channel", name)

    def state(self) -> DesiredState:
        channels = {name: self._served(channel) for name, channel in self._channels.items()}
        problems = [problem for report in self._reports for problem in report.problems]
        return DesiredState(channels, tuple(problems), unread=self._unread())

    def _served(self, channel: Channel) -> Channel:
        """The channel with its subscribers, but for those that have no place."""
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

    def _tell_too_many(self, name: ResourceName) -> None:
        report = Report(f"Channel {name}")
        most = self._defaults.max_subscribers
        report.refuse(
            "spec.subscribable.subscribers",
            f"the channel has more subscribers than the {most} that are served of one",
            "the others get no events until some of these are removed or --max-subscribers of the"
            " dispatcher is raised",
        )
        self._reports.append(report)

    def _unread(self) -> Unread:
        refused: dict[str, set[ResourceName]] = {kind: set() for kind in KINDS}
        for kind, name in self._refused:
            refused[kind].add(name)
        return Unread(
            self._nameless,
            frozenset(refused["Channel"] | self._incomplete),
            frozenset(refused["Subscription"]),
        )

    def _of_kind(self, kind: str) -> list[ResourceDocument]:
        return [document for key, document in self._documents.items() if key[0] == kind]

    def _refuse(self, document: ResourceDocument, refused: Refused) -> None:
        document.report.refuse(refused.path, refused.message)
        self._refused.add((document.kind, document.name))

    def _add(self, channel: Channel) -> None:
        self._channels[channel.name] = channel
        self._subscribers[channel.name] = {s.durable: s for s in channel.subscribers}
        for subscriber in channel.subscribers:
            self._listed.setdefault((channel.name, subscriber.ref), []).append(subscriber)

    def _addresses(self) -> dict[ResourceName, str]:
        """The host of every channel that may be the destination of a reply."""
        hosts = {name: channel.hosts[0] for name, channel in self._channels.items()}
        for document in self._of_kind("Channel"):
            host = _address(document) if document.name not in hosts else None
            if host is not None:
                hosts[document.name] = host
        return hosts

    def _no_channel(self, name: ResourceName) -> str:
        if ("Channel", name) in self._refused:
            return f"the document of channel {name} is refused"
        hint = did_you_mean(str(name), map(str, self._channels))
        return f"there is no channel {name}{hint}"

    def _subscribe(self, channel: ResourceName, new: Subscriber, report: Report) -> None:
        """Add a Subscription's subscriber, which the channel's own list may hold as well.

        The list knows best which uid the durable is named by, the Subscription where events go.
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
            refused = ("Subscription", subscriber.ref) in self._refused
            if subscriber.ref not in refs and (unclear or refused):
                subscribers[subscriber.durable] = subscriber
                self._tell_kept("Subscription", subscriber.ref)

    def _tell_kept(self, kind: str, name: ResourceName) -> None:
        report = Report(f"{kind} {name}")
        report.add("", "stays as it was, until its document can be read or is gone")
        self._reports.append(report)


def _compare(listed: Subscriber, new: Subscriber, report: Report) -> None:
    """Tell how a Subscription differs from what has its durable already.

    Raises:
        Refused: that is the subscriber of another Subscription.
    """
    if listed.ref not in {new.ref, ResourceName(new.ref.namespace, listed.durable)}:
        raise Refused("metadata.uid", f"{shown(new.durable)} is that of {listed.ref} already")
    if (listed.subscriber_uri, listed.reply_uri) != (new.subscriber_uri, new.reply_uri):
        report.add("spec", "differs from the channel's list of subscribers; this one is used")


def _address(document: ResourceDocument) -> str | None:
    try:
        return address(document)
    except Refused:  # told where the channel is read
        return None
