"""Which object is to be reconciled when something was seen; the work itself is in handlers/."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract.names import OLD_CHANNEL_LABEL, PROVISIONER
from contract.resources import ResourceName
from kube import KubeError
from natss_provisioner.conditions import READY, is_true
from natss_provisioner.handlers import channel, provisioner
from natss_provisioner.handlers.context import Context
from natss_provisioner.resources import CHANNELS
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


Key = ProvisionerKey | ChannelKey


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
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, workers=settings.workers)

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
        return await channel.reconcile(self._context, key.name)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(self._resync)
            try:
                found = await self._context.client.list(CHANNELS)
            except KubeError as error:
                _log.info("channels could not be listed: %s", error)
                continue
            self._channels.clear()
            for document in found:
                self.on_channel(document, deleted=False)
            self._queue.add(ProvisionerKey(PROVISIONER))
