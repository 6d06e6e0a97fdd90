"""Knative's own controller of Subscriptions, as Kyma had it: ours is switched off beside it.

It writes the whole list of subscribers of a channel, from all Subscriptions to it. Before v0.6 the
entries had no uid.
"""

import asyncio
import enum
from types import TracebackType
from typing import Any, Self

from dispatcher.runtime.tasks import cancel
from natss.document import Document
from tests.kyma.event_bus import API
from tests.support.kubernetes import ApiAnswer, KubernetesServer

_FINALIZER = "subscription-controller"
_EVERY = 0.05


class Release(enum.Enum):
    """Of Knative eventing."""

    V0_5 = "v0.5"
    V0_6 = "v0.6"


class KnativeCore:
    """Its controller for one namespace; works while ``async with`` lasts.

    Args:
        kubernetes: The API.
        namespace: Of channels and Subscriptions.
        release: Decides what an entry has.
    """

    def __init__(self, kubernetes: KubernetesServer, namespace: str, release: Release) -> None:
        self._kubernetes = kubernetes
        self._channels = f"/apis/{API}/namespaces/{namespace}/channels"
        self._subscriptions = f"/apis/{API}/namespaces/{namespace}/subscriptions"
        self._release = release
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="Knative's core")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        if self._task.done():
            self._task.result()  # it ends by a fault only
        await cancel(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._reconcile)
            except ApiAnswer as answer:
                if answer.code not in {404, 409}:  # somebody was faster
                    raise
            await asyncio.sleep(_EVERY)

    def _reconcile(self) -> None:
        subscriptions = self._kubernetes.get(self._subscriptions)["items"]
        for channel in self._kubernetes.get(self._channels)["items"]:
            mine = [
                each
                for each in subscriptions
                if each["spec"]["channel"]["name"] == channel["metadata"]["name"]
                and "deletionTimestamp" not in each["metadata"]
            ]
            self._write_list(channel, [self._entry(each) for each in mine])
            for each in mine:
                self._tell(each, channel)
        for each in subscriptions:
            if "deletionTimestamp" in each["metadata"]:
                self._put_finalizers(each, None)

    def _entry(self, subscription: Document) -> Document:
        metadata = subscription["metadata"]
        ref = {
            "apiVersion": API,
            "kind": "Subscription",
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        }
        entry = {"ref": ref, "subscriberURI": subscription["spec"]["subscriber"]["dnsName"]}
        return entry if self._release is Release.V0_5 else {**entry, "uid": metadata["uid"]}

    def _write_list(self, channel: Document, entries: list[Document]) -> None:
        before = (channel["spec"].get("subscribable") or {}).get("subscribers") or []
        if entries != before:
            patch = {"spec": {"subscribable": {"subscribers": entries}}}
            self._kubernetes.patch(f"{self._channels}/{channel['metadata']['name']}", patch)

    def _tell(self, subscription: Document, channel: Document) -> None:
        if subscription["metadata"].get("finalizers") is None:
            self._put_finalizers(subscription, [_FINALIZER])
        conditions = (channel.get("status") or {}).get("conditions") or ()
        ready = next((each["status"] for each in conditions if each["type"] == "Ready"), "Unknown")
        told = [
            {"type": "ChannelReady", "status": ready},
            {"type": "Ready", "status": ready},
            {"type": "Resolved", "status": "True"},
        ]
        status: dict[str, Any] = {
            "conditions": told,
            "physicalSubscription": {
                "subscriberURI": subscription["spec"]["subscriber"]["dnsName"]
            },
        }
        if subscription.get("status") != status:
            path = f"{self._subscriptions}/{subscription['metadata']['name']}"
            self._kubernetes.patch(f"{path}/status", {"status": status})

    def _put_finalizers(self, subscription: Document, finalizers: list[str] | None) -> None:
        path = f"{self._subscriptions}/{subscription['metadata']['name']}"
        self._kubernetes.patch(path, {"metadata": {"finalizers": finalizers}})
