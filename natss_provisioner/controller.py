"""Which object is to be reconciled when something was seen; the work itself is in handlers/."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from contract.names import OLD_CHANNEL_LABEL, PROVISIONER
from contract.resources import ResourceName
from kube import KubeError
from natss_provisioner.conditions import READY, is_true
from natss_provisioner.dependents import Dependents
from natss_provisioner.handlers import channel, provisioner, subscribers, subscription, targets
from natss_provisioner.handlers.context import Context
from natss_provisioner.resources import CHANNELS, SUBSCRIPTIONS
from natss_provisioner.settings import Settings
from natss_provisioner.work import WorkQueue

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProvisionerKey:
    """A ClusterChannelProvisioner to be reconciled."""

    name: str

    def __str__(self) -> str:
        return f"ClusterChannelProvisioner {self.name}"


@dataclass(frozen=True, slots=True)
class ChannelKey:
    """A Channel to be reconciled."""

    name: ResourceName

    def __str__(self) -> str:
        return f"Channel {self.name}"


@dataclass(frozen=True, slots=True)
class SubscriptionKey:
    """A Subscription to be reconciled."""

    name: ResourceName

    def __str__(self) -> str:
        return f"Subscription {self.name}"


@dataclass(frozen=True, slots=True)
class SubscribersKey:
    """A Channel in whose list of subscribers something may be left over."""

    name: ResourceName

    def __str__(self) -> str:
        return f"subscribers of Channel {self.name}"


Key = ProvisionerKey | ChannelKey | SubscriptionKey | SubscribersKey


class Controller:
    """What is to be reconciled when, from the first look to the end of the process.

    Args:
        context: What handlers work with.
        settings: Of the process.
    """

    def __init__(self, context: Context, settings: Settings) -> None:
        self._context = context
        self._resync = settings.resync
        self._channels: set[ResourceName] = set()  # ours
        self._ready: bool | None = None
        self._dependents = Dependents() if settings.subscription_controller else None
        self._sights: dict[ResourceName, tuple[object, ...]] = {}
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, workers=settings.workers)

    @property
    def has_subscriptions(self) -> bool:
        """Whether ``on_subscription`` is to be called."""
        return self._dependents is not None

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="work queue")
            group.create_task(self._look_again(), name="resync")

    def on_provisioner(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """A ClusterChannelProvisioner; if it is ours, all channels depend on its ``Ready``."""
        name = body["metadata"]["name"]
        if name != PROVISIONER:
            return
        self._queue.add(ProvisionerKey(name))
        ready = not deleted and is_true(body.get("status"), READY)
        if ready != self._ready:
            self._ready = ready
            for each in self._channels:
                self._queue.add(ChannelKey(each))

    def on_channel(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """A Channel of whatever provisioner."""
        metadata = body["metadata"]
        name = ResourceName(metadata["namespace"], metadata["name"])
        if deleted or not channel.is_for_us(dict(body)):
            self._channels.discard(name)
        else:
            self._channels.add(name)
            self._queue.add(ChannelKey(name))
        if self._dependents is not None:
            self._tell_dependents(self._dependents, dict(body), deleted=deleted)

    def on_subscription(self, body: dict[str, Any], *, deleted: bool) -> None:
        """A Subscription to whatever channel."""
        if self._dependents is None:
            return
        name = ResourceName(body["metadata"]["namespace"], body["metadata"]["name"])
        before = self._dependents.drop(name) if deleted else self._dependents.put(body)
        if before is not None and before.channel is not None:
            left = deleted or self._dependents.channel_of.get(before.uid) != before.channel
            if left:
                self._queue.add(SubscribersKey(before.channel))
        if not deleted:
            self._queue.add(SubscriptionKey(name))

    def _tell_dependents(
        self, dependents: Dependents, body: dict[str, Any], *, deleted: bool
    ) -> None:
        """Have those Subscriptions reconciled that a change of a Channel concerns."""
        name = ResourceName(body["metadata"]["namespace"], body["metadata"]["name"])
        sight = None if deleted else _sight(body)
        if sight != self._sights.get(name):
            self._queue_all(dependents.on(name))
        if sight is None:
            self._sights.pop(name, None)
            return
        self._sights[name] = sight
        if name in self._channels:
            self._queue_all(dependents.unlike(body))
            if dependents.has_unknown(body):
                self._queue.add(SubscribersKey(name))

    def _queue_all(self, subscriptions: Iterable[ResourceName]) -> None:
        for name in subscriptions:
            self._queue.add(SubscriptionKey(name))

    def on_service(self, metadata: Mapping[str, Any]) -> None:
        """Have the owner of a Service of ours see to it, even if the Service lost its owner."""
        namespace = metadata["namespace"]
        names = {
            reference["name"]
            for reference in metadata.get("ownerReferences") or ()
            if reference["kind"] == CHANNELS.kind
        }
        label = (metadata.get("labels") or {}).get(OLD_CHANNEL_LABEL)
        names.update([label] if label else [])
        for name in names:
            if ResourceName(namespace, name) in self._channels:
                self._queue.add(ChannelKey(ResourceName(namespace, name)))
        if not names:
            self._queue.add(ProvisionerKey(PROVISIONER))

    async def _reconcile(self, key: Key) -> float | None:
        if isinstance(key, ProvisionerKey):
            return await provisioner.reconcile(self._context, key.name)
        if isinstance(key, SubscriptionKey):
            return await subscription.reconcile(self._context, key.name)
        if isinstance(key, SubscribersKey):
            known = self._dependents.channel_of if self._dependents else {}
            await subscribers.reconcile(self._context, key.name, known)
            return None
        return await channel.reconcile(self._context, key.name)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(self._resync)
            try:
                found = await self._context.client.list(CHANNELS)
                await self._look_at_subscriptions()
            except KubeError as error:
                _log.info("not all could be listed: %s", error)
                continue
            self._channels.clear()
            self._sights.clear()  # so that Subscriptions look at all Channels
            for document in found:
                self.on_channel(document, deleted=False)
            self._queue.add(ProvisionerKey(PROVISIONER))

    async def _look_at_subscriptions(self) -> None:
        if self._dependents is None:
            return
        found = await self._context.client.list(SUBSCRIPTIONS)
        names = set()
        for document in found:
            names.add(ResourceName(document["metadata"]["namespace"], document["metadata"]["name"]))
            self.on_subscription(document, deleted=False)
        for name in self._dependents.names():
            if name not in names:
                seen = self._dependents.drop(name)
                if seen is not None and seen.channel is not None:
                    self._queue.add(SubscribersKey(seen.channel))


def _sight(channel_document: dict[str, Any]) -> tuple[object, ...]:
    """All of a Channel that Subscriptions depend on, but its list of them."""
    metadata = channel_document["metadata"]
    return (
        metadata["uid"],
        bool(metadata.get("deletionTimestamp")),
        channel.is_for_us(channel_document),
        is_true(channel_document.get("status"), READY),
        targets.address_of(channel_document),
    )
