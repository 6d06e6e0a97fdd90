"""The context that every handler works with."""

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
"""In seconds: when to check again whether somebody else's Service, which is not watched, is gone.
"""


def utc_now() -> str:
    """Return the time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Locks:
    """A lock for each requested name, as long as a task holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[ChannelId, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: ChannelId) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


class NeedsWrite(Exception):
    """Something has to be written, but what was seen may be outdated: ask the API first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The objects as last seen; none of a kind that is not watched for now."""

    channels: dict[ChannelId, Document] = field(default_factory=dict)
    subscriptions: dict[ResourceName, Document] = field(default_factory=dict)
    provisioners: dict[str, Document] = field(default_factory=dict)

    def forget_channels(self, kind: ChannelKind) -> None:
        """Forget all channels of a kind."""
        for name in [each for each in self.channels if each.kind == kind]:
            del self.channels[name]


@dataclass(frozen=True, slots=True)
class Context:
    """The API, with what this program has seen of it, and the place of the dispatcher."""

    client: KubeClient
    events: EventRecorder
    place: DispatcherPlace
    creates_provisioner: bool = False
    """Whether the ClusterChannelProvisioner is created when there is none."""
    now: Callable[[], str] = utc_now
    locks: Locks = field(default_factory=Locks)
    """Locks of Channels whose list of subscribers is being changed."""

    claims: Claims = field(default_factory=Claims)
    """The addresses of all Channels, as last seen."""

    subjects: SubjectClaims = field(default_factory=SubjectClaims)
    """The subjects of all channels of NATS Streaming, as last seen."""

    services: SeenServices = field(default_factory=SeenServices)
    """The Services of channels, as last seen."""

    seen: Seen | None = None
    """In a first pass, the objects as last seen: it only decides whether anything has to be done,
    with next to no requests. None in the pass that does it.
    """

    @property
    def writer(self) -> KubeClient:
        """The client to write with.

        Raises:
            NeedsWrite: This is a first pass.
        """
        if self.seen is not None:
            raise NeedsWrite
        return self.client

    async def channel(self, name: ChannelId) -> Document:
        """Return a Channel.

        Raises:
            NotFound: It does not exist.
            KubeError: Another failure.
        """
        seen = self.seen.channels.get(name) if self.seen else None
        resource = channel_resource(name.kind)
        return seen or await self.client.get(resource, name.name, name.namespace)

    async def subscription(self, name: ResourceName) -> Document:
        """Return a Subscription; raise as ``channel`` does."""
        seen = self.seen.subscriptions.get(name) if self.seen else None
        return seen or await self.client.get(SUBSCRIPTIONS, name.name, name.namespace)

    async def provisioner(self, name: str) -> Document:
        """Return a ClusterChannelProvisioner; raise as ``channel`` does."""
        seen = self.seen.provisioners.get(name) if self.seen else None
        return seen or await self.client.get(PROVISIONERS, name)

    async def write_status(
        self,
        resource: Resource,
        document: Document,
        conditions: tuple[Condition, ...],
        fields: dict[str, Any],
    ) -> bool:
        """Write ``status`` if anything in it has to change; return whether it was written.

        Args:
            resource: The kind of the object.
            document: The object as it was read.
            conditions: All conditions that this program writes on it.
            fields: Further fields of the status; None, at any depth, removes a field.

        Raises:
            NeedsWrite: This is a first pass, and something has to change.
            Conflict: The object has been changed meanwhile.
            KubeError: Another failure.
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
    """Return whether a merge patch would change nothing."""
    if not isinstance(patch, dict):
        return existing == patch
    if not isinstance(existing, dict):
        return existing is None and all(value is None for value in patch.values())
    return all(_is_merged(existing.get(key), value) for key, value in patch.items())
