"""Which object is to be reconciled when something was seen; the work itself is in handlers/."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.channel_kinds import kinds
from natss.contract.labels import object_labels
from natss.contract.names import OLD_CHANNEL_LABEL, PROVISIONER, channel_label_value
from natss.contract.resources import ResourceName
from natss.document import Document
from natss.knative import PROVISIONERS, SUBSCRIPTIONS, channel_id, channel_resource, name_of
from natss.kube import SERVICES, Resource
from natss_provisioner import channels
from natss_provisioner.channel_kinds import HANDLERS
from natss_provisioner.conditions import READY, is_true
from natss_provisioner.dependents import DependentKind, Dependents, ObjectName
from natss_provisioner.handlers import provisioner, subscribers, subscription, targets
from natss_provisioner.handlers.context import Context, NeedsWrite, Seen
from natss_provisioner.references import References
from natss_provisioner.settings import ProvisionerSettings
from natss_provisioner.work import WorkQueue

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProvisionerKey:
    """A ClusterChannelProvisioner to be reconciled."""

    name: str

    def __str__(self) -> str:
        return f"ClusterChannelProvisioner {self.name}"


@dataclass(frozen=True, slots=True)
class ChannelKey:
    """A Channel to be reconciled."""

    name: ChannelId

    def __str__(self) -> str:
        return self.name.title


@dataclass(frozen=True, slots=True)
class SubscriptionKey:
    """A Subscription to be reconciled."""

    name: ResourceName

    def __str__(self) -> str:
        return f"Subscription {self.name}"


@dataclass(frozen=True, slots=True)
class SubscribersKey:
    """A Channel in whose list of subscribers something may be left over."""

    name: ChannelId

    def __str__(self) -> str:
        return f"subscribers of {self.name.title}"


Key = ProvisionerKey | ChannelKey | SubscriptionKey | SubscribersKey


class Controller:
    """What is to be reconciled when, from the first look to the end of the process.

    Args:
        context: What handlers work with.
        settings: Of the process.
    """

    def __init__(self, context: Context, settings: ProvisionerSettings) -> None:
        self._context = context
        self._seen = Seen()
        self._look = replace(context, seen=self._seen)
        self._resync = settings.resync
        self._channels: set[ChannelId] = set()  # ours
        self._ready: bool | None = None
        self._dependents = Dependents() if settings.subscription_controller else None
        self._references = References(context.client, self._named_kinds, self._on_moved)
        self._sights: dict[ChannelId, tuple[object, ...]] = {}
        self._queue: WorkQueue[Key] = WorkQueue(
            self._reconcile, workers=settings.workers, tenant_of=_namespace_of
        )

    @property
    def has_subscriptions(self) -> bool:
        """Whether ``on_subscription`` is to be called."""
        return self._dependents is not None

    @property
    def waiting(self) -> int:
        """How many objects are being looked at, or are to be."""
        return len(self._queue)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="work queue")
            group.create_task(self._look_again(), name="resync")
            group.create_task(self._references.run(), name="references")

    def on_provisioner(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """A ClusterChannelProvisioner; if it is ours, all channels depend on its ``Ready``."""
        name = body["metadata"]["name"]
        if name != PROVISIONER:
            return
        if deleted:
            self._seen.provisioners.pop(name, None)
        else:
            self._seen.provisioners[name] = dict(body)
        self._queue.add(ProvisionerKey(name))
        ready = not deleted and is_true(body.get("status"), READY)
        if ready != self._ready:
            self._ready = ready
            self._look_later(ChannelKey(each) for each in self._channels)

    def on_all_provisioners(self, bodies: Sequence[Document]) -> None:
        """All ClusterChannelProvisioners; one that is missing was deleted."""
        if not any(body["metadata"]["name"] == PROVISIONER for body in bodies):
            self.on_provisioner({"metadata": {"name": PROVISIONER}}, deleted=True)
        for body in bodies:
            self.on_provisioner(body, deleted=False)

    def on_channel(self, body: Document, *, deleted: bool) -> None:
        """A Channel of whatever provisioner."""
        with _left_aside_if_unreadable(body):
            for key in self._concerned_by_channel(body, deleted=deleted):
                self._queue.add(key)

    def on_all_channels(self, kind: ChannelKind, bodies: Sequence[Document]) -> None:
        """All channels of a kind; each is looked at, after what has just changed."""
        known = {name for name in self._sights if name.kind == kind}
        gone = known - {channel_id(body) for body in bodies}
        self._channels = {name for name in self._channels if name.kind != kind}
        self._seen.forget_channels(kind)
        self._context.claims.forget(kind)
        self._context.subjects.forget(kind)
        for name in known:
            del self._sights[name]  # so that Subscriptions look at all channels
        if self._dependents is not None:
            for name in gone:
                self._look_later(map(SubscriptionKey, self._dependents.on(name)))
        for body in bodies:
            with _left_aside_if_unreadable(body):
                self._look_later(self._concerned_by_channel(body, deleted=False))

    def on_subscription(self, body: Document, *, deleted: bool) -> None:
        """A Subscription to whatever channel."""
        with _left_aside_if_unreadable(body):
            for key in self._concerned_by_subscription(body, deleted=deleted):
                self._queue.add(key)

    def on_all_subscriptions(self, bodies: Sequence[Document]) -> None:
        """All Subscriptions; each is looked at, after what has just changed."""
        if self._dependents is None:
            return
        self._seen.subscriptions.clear()
        names = {name_of(body) for body in bodies}
        for name in self._dependents.names():
            if name not in names:
                seen = self._dependents.drop(name)
                if seen is not None and seen.channel is not None:
                    self._queue.add(SubscribersKey(seen.channel))
        for body in bodies:
            with _left_aside_if_unreadable(body):
                self._look_later(self._concerned_by_subscription(body, deleted=False))

    def on_service(self, body: Document, *, deleted: bool) -> None:
        """Have the owner of a Service of ours see to it, even if the Service lost its owner."""
        if deleted:
            self._context.services.drop(body)
        else:
            self._context.services.put(body)
        metadata = body["metadata"]
        namespace = metadata["namespace"]
        owners = {
            (reference["kind"], reference["name"])
            for reference in metadata.get("ownerReferences") or ()
        }
        label = (metadata.get("labels") or {}).get(OLD_CHANNEL_LABEL)
        concerned: set[ChannelId] = set()
        for kind in kinds():
            names = [name for owner, name in owners if owner == kind.kind]
            names += [label] if label else []
            concerned.update(ChannelId(kind, namespace, name) for name in names)
        concerned &= self._channels
        if label and not any(each.name == label for each in concerned):
            concerned.update(  # of a long name the label has a digest
                each
                for each in self._channels
                if each.namespace == namespace and channel_label_value(each.name) == label
            )
        for each in concerned:
            self._queue.add(ChannelKey(each))

    def on_all_services(self, bodies: Sequence[Document]) -> None:
        """All Services of channels; each channel is looked at, for some may have gone."""
        self._context.services.put_all(bodies)
        self._look_later(ChannelKey(each) for each in self._channels)

    def on_unseen(self, resource: Resource) -> None:
        """Objects of a kind may come and go without anybody noticing, until all are told again."""
        if resource == SERVICES:
            self._context.services.forget()
        elif resource == SUBSCRIPTIONS:
            self._seen.subscriptions.clear()
        elif resource == PROVISIONERS:
            self._seen.provisioners.clear()
        for kind in kinds():
            if resource == channel_resource(kind):
                self._seen.forget_channels(kind)

    def on_dispatcher_service(self) -> None:
        """The Service of the dispatcher may have changed or gone."""
        self._queue.add(ProvisionerKey(PROVISIONER))

    def _concerned_by_channel(self, body: Document, *, deleted: bool) -> Iterator[Key]:
        name = channel_id(body)
        if deleted:
            self._seen.channels.pop(name, None)
            self._context.claims.drop(name)
        else:
            self._seen.channels[name] = body
            self._context.claims.put(body)
        if deleted or not channels.is_for_us(body):
            self._channels.discard(name)
            rivals = self._context.subjects.drop(name)
        else:
            self._channels.add(name)
            rivals = self._context.subjects.put(body)
            yield ChannelKey(name)
        yield from map(ChannelKey, rivals)
        if self._dependents is not None:
            yield from self._dependents_of_channel(self._dependents, body, deleted=deleted)

    def _dependents_of_channel(
        self, dependents: Dependents, body: Document, *, deleted: bool
    ) -> Iterator[Key]:
        """Those Subscriptions that a change of a Channel concerns."""
        name = channel_id(body)
        sight = None if deleted else _sight(body)
        if sight != self._sights.get(name):
            yield from map(SubscriptionKey, dependents.on(name))
        if sight is None:
            self._sights.pop(name, None)
            return
        self._sights[name] = sight
        if name in self._channels:
            yield from map(SubscriptionKey, dependents.unlike(body))
            if dependents.has_unknown(body):
                yield SubscribersKey(name)

    def _concerned_by_subscription(self, body: Document, *, deleted: bool) -> Iterator[Key]:
        if self._dependents is None:
            return
        name = name_of(body)
        if deleted:
            self._seen.subscriptions.pop(name, None)
        else:
            self._seen.subscriptions[name] = body
        before = self._dependents.drop(name) if deleted else self._dependents.put(body)
        self._references.look()
        if before is not None and before.channel is not None:
            left = deleted or self._dependents.channel_of.get(before.uid) != before.channel
            if left:
                yield SubscribersKey(before.channel)
        if not deleted:
            yield SubscriptionKey(name)

    def _named_kinds(self) -> Sequence[DependentKind]:
        return self._dependents.kinds() if self._dependents is not None else ()

    def _on_moved(self, named: ObjectName) -> None:
        """An object has another address, or an address at last."""
        if self._dependents is not None:
            for name in self._dependents.naming(named):
                self._queue.add(SubscriptionKey(name))

    def _look_later(self, keys: Iterable[Key]) -> None:
        """Have many keys reconciled, none of which is known to have changed."""
        for key in keys:
            self._queue.add(key, urgent=False)

    async def _reconcile(self, key: Key) -> float | None:
        """Look whether anything is to be done, which is rare, before the API is asked for it."""
        try:
            return await self._handle(self._look, key)
        except NeedsWrite:
            return await self._handle(self._context, key)

    async def _handle(self, context: Context, key: Key) -> float | None:
        if isinstance(key, ProvisionerKey):
            return await provisioner.reconcile(context, key.name)
        if isinstance(key, SubscriptionKey):
            return await subscription.reconcile(context, key.name)
        if isinstance(key, SubscribersKey):
            known = self._dependents.channel_of if self._dependents else {}
            await subscribers.reconcile(context, key.name, known)
            return None
        return await HANDLERS[key.name.kind](context, key.name)

    async def _look_again(self) -> None:
        """For what is not watched, as the objects that Subscriptions name.

        Which objects there are, is for the watches alone to say: a list of now is old when it
        comes, and would undo what they have told meanwhile.
        """
        while True:
            await asyncio.sleep(self._resync)
            self._look_later(map(ChannelKey, self._channels))
            if self._dependents is not None:
                self._look_later(map(SubscriptionKey, self._dependents.names()))
            self._queue.add(ProvisionerKey(PROVISIONER))


def _namespace_of(key: Key) -> str | None:
    """Of the provisioner, which belongs to nobody, None."""
    return None if isinstance(key, ProvisionerKey) else key.name.namespace


@contextlib.contextmanager
def _left_aside_if_unreadable(body: Document) -> Iterator[None]:
    """Keep a mistake of ours with one object from harming the others."""
    try:
        yield
    except Exception:
        log.exception(
            "left aside, it could not be read",
            **object_labels(body["kind"], str(name_of(body))),
        )


def _sight(channel_document: Document) -> tuple[object, ...]:
    """All of a Channel that Subscriptions depend on, but its list of them."""
    metadata = channel_document["metadata"]
    return (
        metadata["uid"],
        bool(metadata.get("deletionTimestamp")),
        channels.is_for_us(channel_document),
        is_true(channel_document.get("status"), READY),
        targets.address_of(channel_document),
    )
