"""Decides which objects to reconcile when something is seen; handlers/ do the work."""

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
    """A ClusterChannelProvisioner to reconcile."""

    name: str

    def __str__(self) -> str:
        return f"ClusterChannelProvisioner {self.name}"


@dataclass(frozen=True, slots=True)
class ChannelKey:
    """A Channel to reconcile."""

    name: ChannelId

    def __str__(self) -> str:
        return self.name.title


@dataclass(frozen=True, slots=True)
class SubscriptionKey:
    """A Subscription to reconcile."""

    name: ResourceName

    def __str__(self) -> str:
        return f"Subscription {self.name}"


@dataclass(frozen=True, slots=True)
class SubscribersKey:
    """A Channel whose list of subscribers may have entries to remove."""

    name: ChannelId

    def __str__(self) -> str:
        return f"subscribers of {self.name.title}"


Key = ProvisionerKey | ChannelKey | SubscriptionKey | SubscribersKey


class Controller:
    """Decides what to reconcile, and when, until the process ends.

    Args:
        context: The context of all handlers.
        settings: The settings of the process.
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
        """Whether Subscriptions have to be watched."""
        return self._dependents is not None

    @property
    def waiting(self) -> int:
        """How many objects are being reconciled or wait for it."""
        return len(self._queue)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="work queue")
            group.create_task(self._look_again(), name="resync")
            group.create_task(self._references.run(), name="references")

    def on_provisioner(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """Handle a ClusterChannelProvisioner; all channels depend on ``Ready`` of ours."""
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
        """Handle a list of all ClusterChannelProvisioners; a missing one was deleted."""
        if not any(body["metadata"]["name"] == PROVISIONER for body in bodies):
            self.on_provisioner({"metadata": {"name": PROVISIONER}}, deleted=True)
        for body in bodies:
            self.on_provisioner(body, deleted=False)

    def on_channel(self, body: Document, *, deleted: bool) -> None:
        """Handle a Channel of any provisioner."""
        with _left_aside_if_unreadable(body):
            for key in self._concerned_by_channel(body, deleted=deleted):
                self._queue.add(key)

    def on_all_channels(self, kind: ChannelKind, bodies: Sequence[Document]) -> None:
        """Handle a list of all channels of a kind; reconcile each, after urgent keys."""
        known = {name for name in self._sights if name.kind == kind}
        gone = known - {channel_id(body) for body in bodies}
        self._channels = {name for name in self._channels if name.kind != kind}
        self._seen.forget_channels(kind)
        self._context.claims.forget(kind)
        self._context.subjects.forget(kind)
        for name in known:
            del self._sights[name]  # so that the Subscriptions of all channels are reconciled
        if self._dependents is not None:
            for name in gone:
                self._look_later(map(SubscriptionKey, self._dependents.on(name)))
        for body in bodies:
            with _left_aside_if_unreadable(body):
                self._look_later(self._concerned_by_channel(body, deleted=False))

    def on_subscription(self, body: Document, *, deleted: bool) -> None:
        """Handle a Subscription to any channel."""
        with _left_aside_if_unreadable(body):
            for key in self._concerned_by_subscription(body, deleted=deleted):
                self._queue.add(key)

    def on_all_subscriptions(self, bodies: Sequence[Document]) -> None:
        """Handle a list of all Subscriptions; reconcile each, after urgent keys."""
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
        """Reconcile the owner of a Service of ours, even if the Service lost its owner."""
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
            concerned.update(  # the label of a long name has a digest
                each
                for each in self._channels
                if each.namespace == namespace and channel_label_value(each.name) == label
            )
        for each in concerned:
            self._queue.add(ChannelKey(each))

    def on_all_services(self, bodies: Sequence[Document]) -> None:
        """Handle a list of all Services of channels; reconcile each channel: its may be gone."""
        self._context.services.put_all(bodies)
        self._look_later(ChannelKey(each) for each in self._channels)

    def on_unseen(self, resource: Resource) -> None:
        """Forget the objects of a kind: they change unobserved until all are listed again."""
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
        """Reconcile the provisioner: the Service of the dispatcher may have changed or be gone."""
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
        """Yield the Subscriptions that a change of a Channel concerns."""
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
        """Reconcile the Subscriptions that name an object whose address has changed."""
        if self._dependents is not None:
            for name in self._dependents.naming(named):
                self._queue.add(SubscriptionKey(name))

    def _look_later(self, keys: Iterable[Key]) -> None:
        """Queue many keys of objects that are not known to have changed."""
        for key in keys:
            self._queue.add(key, urgent=False)

    async def _reconcile(self, key: Key) -> float | None:
        """Check without the API whether anything has to be done, which is rare; then do it."""
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
        """Reconcile all objects at intervals, for changes that are not watched.

        An example is an object that a Subscription names. Only the watches say which objects exist:
        a list requested here would be outdated when it arrives, and undo what they have reported
        meanwhile.
        """
        while True:
            await asyncio.sleep(self._resync)
            self._look_later(map(ChannelKey, self._channels))
            if self._dependents is not None:
                self._look_later(map(SubscriptionKey, self._dependents.names()))
            self._queue.add(ProvisionerKey(PROVISIONER))


def _namespace_of(key: Key) -> str | None:
    """Return the namespace of a key; None for the provisioner, which has none."""
    return None if isinstance(key, ProvisionerKey) else key.name.namespace


@contextlib.contextmanager
def _left_aside_if_unreadable(body: Document) -> Iterator[None]:
    """Keep a bug that one object triggers from harming the others."""
    try:
        yield
    except Exception:
        log.exception(
            "left aside, it could not be read",
            **object_labels(body["kind"], str(name_of(body))),
        )


def _sight(channel_document: Document) -> tuple[object, ...]:
    """Return all that Subscriptions depend on in a Channel, except its list of subscribers."""
    metadata = channel_document["metadata"]
    return (
        metadata["uid"],
        bool(metadata.get("deletionTimestamp")),
        channels.is_for_us(channel_document),
        is_true(channel_document.get("status"), READY),
        targets.address_of(channel_document),
    )
