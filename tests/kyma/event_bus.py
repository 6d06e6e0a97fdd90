"""Kyma's Event Bus, as far as a provisioner of channels can tell.

What its controllers create, await, post and delete, and in which order; after kyma-project/kyma
0.7 to 1.5. It acts as a user with all rights, and reaches the dispatcher as the cluster's DNS would
lead it there.
"""

import asyncio
import base64
import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import aiohttp

from natss.document import Document
from tests.support.installation import Installation
from tests.support.kubernetes import ApiAnswer

API = "eventing.knative.dev/v1alpha1"
_PATH = "/apis/eventing.knative.dev/v1alpha1/namespaces/{}/{}"

_POLL = 0.1
"""Seconds between two looks at a Channel that is to become ready."""

_NOT_FOUND_POLL = 0.2
_NOT_FOUND_SECONDS = 10.0
"""How long 404 is taken for a channel that is not there yet."""

PUBLISHERS = 400
"""Twice 200 requests at once: what its publisher has at most."""

OF_1_0: Mapping[str, Any] = {"name": "natss"}
OF_1_2: Mapping[str, Any] = {
    "apiVersion": API,
    "kind": "ClusterChannelProvisioner",
    "name": "natss",
}
"""``spec.provisioner`` as these releases wrote it; since 1.3 a webhook fills in the longer one."""


class Outcome(enum.Enum):
    """The answer to the application that published an event."""

    PUBLISHED = "published"
    IGNORED = "ignored"  # nobody is subscribed, it thinks: the event is dropped in silence
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class EventType:
    """What events are told apart by; each has a channel of its own."""

    source: str
    name: str
    version: str

    @property
    def channel(self) -> str:
        """The name of its channel."""
        text = "--".join(_escaped(part) for part in (self.source, self.name, self.version))
        digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
        return "k" + base64.b32encode(digest).decode().lower()


@dataclass(frozen=True, slots=True)
class KymaSubscription:
    """A Subscription of Kyma's own kind, in the namespace of an application."""

    name: str
    namespace: str
    events: EventType
    endpoint: str
    """Where events go: a whole URL."""

    @property
    def knative_name(self) -> str:
        """Of the Subscription that is made for it beside the channel."""
        return f"{self.name}--{_escaped(self.namespace)}"


def _escaped(text: str) -> str:
    return text.replace("-", "-d").replace(".", "-p")


class EventBus:
    """Its two controllers; ``async with`` for the connections of the publisher.

    Args:
        installation: What is under test.
        namespace: Where channels are: ``kyma-system`` in Kyma.
        provisioner: As it is written into channels.
    """

    def __init__(
        self,
        installation: Installation,
        namespace: str,
        provisioner: Mapping[str, Any] | None = OF_1_0,
    ) -> None:
        self.installation = installation
        self.namespace = namespace
        self.provisioner = provisioner
        self.patience = 30.0
        """Seconds until a channel must be ready. Kyma waits for 10; machines may be slow."""
        self.durables_have_uids = True
        """Before v0.6 of Knative they had the name of the Subscription."""
        self._kubernetes = installation.kubernetes
        self._channels = _PATH.format(namespace, "channels")
        self._subscriptions = _PATH.format(namespace, "subscriptions")
        self._reached: set[str] = set()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connections = aiohttp.TCPConnector(limit=PUBLISHERS, force_close=True)
        self._http = aiohttp.ClientSession(connector=connections)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._http is not None
        await self._http.close()

    async def activate(self, subscription: KymaSubscription) -> None:
        """Make the channel if there is none, await it, then subscribe to it."""
        await self.ensure_channel(subscription.events)
        await self._subscribe(subscription)

    async def deactivate(self, subscription: KymaSubscription) -> None:
        """Unsubscribe; delete the channel too if it has no other subscription."""
        await self._delete(f"{self._subscriptions}/{subscription.knative_name}")
        name = subscription.events.channel
        others = [
            each
            for each in (await self._get(self._subscriptions) or {})["items"]
            if each["spec"]["channel"]["name"] == name
            and "deletionTimestamp" not in each["metadata"]
        ]
        if not others:
            await self._delete(f"{self._channels}/{name}")

    async def move(self, subscription: KymaSubscription, endpoint: str) -> KymaSubscription:
        """Change the endpoint: delete the Subscription and create it anew under its name."""
        await self._delete(f"{self._subscriptions}/{subscription.knative_name}")
        moved = replace(subscription, endpoint=endpoint)
        await self._subscribe(moved)
        return moved

    async def delivers(self, subscription: KymaSubscription) -> Document:
        """Wait until events are delivered; return the Knative Subscription. Kyma does not wait."""
        path = f"{self._subscriptions}/{subscription.knative_name}"
        document = await self._ready(path)
        name = f"{self.namespace}/{subscription.knative_name}"
        uid = document["metadata"]["uid"] if self.durables_have_uids else None
        await self.installation.delivers_to(name, uid)
        return document

    async def ensure_channel(self, events: EventType) -> Document:
        """Return the channel of these events when it is ready; create it if there is none."""
        if await self.channel(events) is None:
            labels = {
                "kyma-source-id": events.source,
                "kyma-event-type": events.name,
                "kyma-event-type-version": events.version,
            }
            await self._create(
                self._channels,
                {
                    "apiVersion": API,
                    "kind": "Channel",
                    "metadata": {"name": events.channel, "labels": labels},
                    "spec": {"provisioner": self.provisioner} if self.provisioner else {},
                },
            )
        return await self._ready(f"{self._channels}/{events.channel}")

    async def channel(self, events: EventType) -> Document | None:
        """Return the channel; None if there is none."""
        return await self._get(f"{self._channels}/{events.channel}")

    async def publish(self, events: EventType, event_id: str, data: bytes = b"{}") -> Outcome:
        """Take an event of an application, as release 1.4 does."""
        headers = {
            "Content-Type": "application/json",
            "ce-source": events.source,
            "ce-type": events.name,
            "ce-eventtypeversion": events.version,
            "ce-specversion": "0.3",
            "ce-id": event_id,
            "ce-time": "2019-08-01T12:00:00Z",
        }
        return await self.publish_with(events, headers, data)

    async def publish_with(
        self, events: EventType, headers: Mapping[str, str], data: bytes
    ) -> Outcome:
        """Take an event with these headers."""
        channel = await self.channel(events)
        if channel is None or not _is_ready(channel):
            return Outcome.IGNORED
        hostname = channel["status"]["address"]["hostname"]
        loop = asyncio.get_running_loop()
        end = loop.time() + _NOT_FOUND_SECONDS
        wait = 0.0
        while (status := await self.post(hostname, headers, data)) == 404 and loop.time() < end:
            await asyncio.sleep(wait)
            wait = _NOT_FOUND_POLL
        return Outcome.PUBLISHED if status == 202 else Outcome.FAILED

    async def post(self, host: str, headers: Mapping[str, str], data: bytes) -> int:
        """Make one request on a connection of its own; return the status, or 0 for none."""
        assert self._http is not None
        await self._reach(host)
        url = self.installation.dispatcher.url
        try:
            async with self._http.post(url, data=data, headers={"Host": host, **headers}) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def _reach(self, host: str) -> None:
        """Make sure that the DNS would lead from a channel's address to the dispatcher."""
        if host in self._reached:
            return
        name, _, rest = host.partition(".")
        assert rest == f"{self.namespace}.svc.cluster.local", host
        alias = await self._get(f"/api/v1/namespaces/{self.namespace}/services/{name}")
        assert alias is not None, f"no Service has the address {host}"
        assert alias["spec"]["type"] == "ExternalName"
        target, _, rest = alias["spec"]["externalName"].partition(".")
        assert rest == "knative-eventing.svc.cluster.local"
        service = await self._get(f"/api/v1/namespaces/knative-eventing/services/{target}")
        assert service is not None, f"{host} leads to {target}, which is not there"
        (port,) = service["spec"]["ports"]
        assert (port["port"], port["targetPort"]) == (80, 8080)
        self._reached.add(host)

    async def _subscribe(self, subscription: KymaSubscription) -> None:
        body: Document = {
            "apiVersion": API,
            "kind": "Subscription",
            "metadata": {"name": subscription.knative_name},
            "spec": {
                "channel": {
                    "apiVersion": API,
                    "kind": "Channel",
                    "name": subscription.events.channel,
                },
                "subscriber": {"dnsName": subscription.endpoint},
                "reply": {},
            },
        }
        await self._create(self._subscriptions, body)

    async def _ready(self, path: str) -> Document:
        """Ask for an object until it is ready, as Kyma does."""
        async with asyncio.timeout(self.patience):
            while not _is_ready(document := await self._get(path)):  # noqa: ASYNC110  it polls
                await asyncio.sleep(_POLL)
        assert document is not None
        return document

    async def _create(self, path: str, body: Document) -> None:
        """Create an object, as soon as an earlier one of its name is gone."""
        async with asyncio.timeout(self.patience):
            while True:
                try:
                    await asyncio.to_thread(self._kubernetes.create, path, body)
                except ApiAnswer as answer:
                    if answer.code != 409:
                        raise
                    await asyncio.sleep(_POLL)
                else:
                    return

    async def _get(self, path: str) -> Document | None:
        try:
            return await asyncio.to_thread(self._kubernetes.get, path)
        except ApiAnswer as answer:
            if answer.code != 404:
                raise
            return None

    async def _delete(self, path: str) -> None:
        try:
            await asyncio.to_thread(self._kubernetes.delete, path)
        except ApiAnswer as answer:
            if answer.code != 404:
                raise


def _is_ready(document: Document | None) -> bool:
    if document is None or document["metadata"].get("deletionTimestamp"):
        return False
    conditions = (document.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
