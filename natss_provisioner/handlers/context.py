"""What every handler works with."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.fields import object_at
from natss.contract.resources import ResourceName
from natss.document import Document
from natss.knative import PROVISIONERS, SUBSCRIPTIONS, channel_resource
from natss.kube import EventRecorder, KubeClient, NotFound, Resource
from natss_provisioner.children import DispatcherPlace
from natss_provisioner.claims import Claims
from natss_provisioner.conditions import Condition, written
from natss_provisioner.seen_services import SeenServices
from natss_provisioner.subject_claims import SubjectClaims

LOOK_AGAIN = 2.0
"""Seconds after which to look whether somebody else's Service, which is not watched, is gone."""


def utc_now() -> str:
    """The time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Locks:
    """A lock for each name that is asked for, as long as somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[ChannelId, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: ChannelId) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


class NeedsWrite(Exception):
    """Something is to be written, which what was seen is no ground for: it may be late."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Objects as they were seen last; of a kind that nobody watches for now, none."""

    channels: dict[ChannelId, Document] = field(default_factory=dict)
    subscriptions: dict[ResourceName, Document] = field(default_factory=dict)
    provisioners: dict[str, Document] = field(default_factory=dict)

    def forget_channels(self, kind: ChannelKind) -> None:
        """Have seen no channel of a kind."""
        for name in [each for each in self.channels if each.kind == kind]:
            del self.channels[name]


@dataclass(frozen=True, slots=True)
class Context:
    """The API, as this program may use it, and where the dispatcher is."""

    client: KubeClient
    events: EventRecorder
    place: DispatcherPlace
    creates_provisioner: bool = False
    """Whether the ClusterChannelProvisioner is created when there is none."""
    now: Callable[[], str] = utc_now
    locks: Locks = field(default_factory=Locks)
    """Of Channels whose list of subscribers is being changed."""

    claims: Claims = field(default_factory=Claims)
    """The addresses of all Channels, as they were seen last."""

    subjects: SubjectClaims = field(default_factory=SubjectClaims)
    """Of all channels of NATS Streaming, as they were seen last."""

    services: SeenServices = field(default_factory=SeenServices)
    """Those of channels."""

    seen: Seen | None = None
    """For a look at whether anything is to be done, which asks the API for next to nothing; None to
    do it."""

    @property
    def writer(self) -> KubeClient:
        """The client to write with.

        Raises:
            NeedsWrite: this is only a look.
        """
        if self.seen is not None:
            raise NeedsWrite
        return self.client

    async def channel(self, name: ChannelId) -> Document:
        """A Channel.

        Raises:
            NotFound: there is none.
            KubeError: other failures.
        """
        seen = self.seen.channels.get(name) if self.seen else None
        resource = channel_resource(name.kind)
        return seen or await self.client.get(resource, name.name, name.namespace)

    async def subscription(self, name: ResourceName) -> Document:
        """As ``channel``."""
        seen = self.seen.subscriptions.get(name) if self.seen else None
        return seen or await self.client.get(SUBSCRIPTIONS, name.name, name.namespace)

    async def provisioner(self, name: str) -> Document:
        """As ``channel``."""
        seen = self.seen.provisioners.get(name) if self.seen else None
        return seen or await self.client.get(PROVISIONERS, name)

    async def write_status(
        self,
        resource: Resource,
        document: Document,
        conditions: tuple[Condition, ...],
        fields: dict[str, Any],
    ) -> bool:
        """Write ``status`` if anything in it is to change; whether that was so.

        Args:
            resource: The kind.
            document: The object as it was read.
            conditions: All that this program writes on it.
            fields: Further fields of the status; None, at any depth, for what is not to be there.

        Raises:
            NeedsWrite: this is only a look, and something is to change.
            Conflict: the object is another one by now.
            KubeError: other failures.
        """
        metadata = document["metadata"]
        status = object_at(document, "status")
        wanted = {
            "observedGeneration": metadata.get("generation", 0),
            "conditions": written(status.get("conditions"), conditions, self.now()),
            **fields,
        }
        if _is_merged(status, wanted):
            return False
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": wanted}
        namespace = metadata.get("namespace")
        try:
            await self.writer.patch_status(resource, metadata["name"], body, namespace)
        except NotFound:
            return False  # deleted since it was read
        return True


def _is_merged(existing: object, patch: object) -> bool:
    """Whether a merge patch would change nothing."""
    if not isinstance(patch, dict):
        return existing == patch
    if not isinstance(existing, dict):
        return existing is None and all(value is None for value in patch.values())
    return all(_is_merged(existing.get(key), value) for key, value in patch.items())
