"""A dispatcher process in a cluster: it takes Channels from the API as the manifests' account."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dispatcher.cluster.annotation import DURABLES
from natss.contract.names import channel_host
from natss.document import Document
from tests.support.kubernetes import KubernetesServer
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

NAMESPACE = "knative-eventing"
ACCOUNT = "natss-dispatcher"
CHANNELS = "/apis/eventing.knative.dev/v1alpha1/namespaces/{}/channels"


class ClusterDispatcher(ObservedDispatcher):
    """Takes its Channels from a Kubernetes API; tests look at those of one namespace.

    Args:
        kubernetes: The API, with the manifests applied.
        server: Where events are stored.
        folder: For log, credentials and state.
        flags: Further flags, as for the command.
    """

    def __init__(
        self,
        kubernetes: KubernetesServer,
        server: NatsStreamingServer,
        folder: Path,
        flags: Sequence[str] = (),
    ) -> None:
        super().__init__(server, folder / "channels.yaml", flags)
        self.kubernetes = kubernetes
        self.state_dir = folder / "state"
        self.kubeconfig = kubernetes.kubeconfig_of(NAMESPACE, ACCOUNT)
        self._command = [
            *(each for each in self._command if not each.startswith("--channels=")),
            "--kubernetes=on",
            "--egress-deny=none",  # the subscribers of tests are on loopback
            f"--state-dir={self.state_dir}",
        ]

    @property
    def environ(self) -> Mapping[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def forget_state(self) -> None:
        """Start in another pod the next time: nothing is in its folder."""
        shutil.rmtree(self.state_dir, ignore_errors=True)

    @asynccontextmanager
    async def behind_proxy(self) -> AsyncIterator[Proxy]:
        """Have it reach the API through a proxy that can be cut; enter this before ``start``."""
        async with Proxy(self.kubernetes.port) as proxy:
            direct = self.kubeconfig.read_text()
            self.kubeconfig = self.state_dir.with_name("proxied.kubeconfig")
            url = f"https://127.0.0.1:{proxy.port}"
            self.kubeconfig.write_text(direct.replace(self.kubernetes.url, url))
            yield proxy

    async def post_to(self, namespace: str, channel: str, event_id: str) -> int:
        """Post one event by the channel's host; return the status, 0 without an answer."""
        return await self.post_to_host(channel_host(namespace, channel, "cluster.local"), event_id)


class ChannelsOf:
    """The Channels of one namespace as users and Knative's controllers handle them.

    Args:
        kubernetes: The API.
        namespace: One that exists already.
    """

    def __init__(self, kubernetes: KubernetesServer, namespace: str) -> None:
        self.kubernetes = kubernetes
        self.namespace = namespace
        self.path = CHANNELS.format(namespace)

    async def apply(
        self, name: str, *subscribers: Mapping[str, Any], finalizers: Sequence[str] = ()
    ) -> None:
        """Apply a Channel with these subscribers, as ``kubectl apply`` does."""
        document = self.document(name, *subscribers)
        if finalizers:
            document["metadata"]["finalizers"] = list(finalizers)
        text = json.dumps(document)
        await asyncio.to_thread(self.kubernetes.kubectl, "apply", "-f", "-", text=text)

    def document(self, name: str, *subscribers: Mapping[str, Any]) -> Document:
        return {
            "apiVersion": "eventing.knative.dev/v1alpha1",
            "kind": "Channel",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "provisioner": {"name": "natss"},
                "arguments": {"ackWait": "2s"},
                "subscribable": {"subscribers": list(subscribers)},
            },
        }

    def entry(self, name: str, url: str, uid: str) -> Document:
        """Return an entry of ``spec.subscribable.subscribers``."""
        ref = {"name": name, "namespace": self.namespace, "uid": uid}
        return {"uid": uid, "ref": ref, "subscriberURI": url}

    async def get(self, name: str) -> Document | None:
        """Return the Channel; None if there is none."""
        listed = await asyncio.to_thread(self.kubernetes.get, self.path)
        found: list[Document] = [
            each for each in listed["items"] if each["metadata"]["name"] == name
        ]
        return found[0] if found else None

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(self.kubernetes.delete, f"{self.path}/{name}")

    async def patch(self, name: str, body: Document) -> None:
        await asyncio.to_thread(self.kubernetes.patch, f"{self.path}/{name}", body)

    async def finalizers(self, name: str) -> list[str]:
        """Return the finalizers; empty if there are none, or the Channel was deleted."""
        channel = await self.get(name)
        return list(channel["metadata"].get("finalizers") or ()) if channel else []

    async def recorded(self, name: str) -> dict[str, Any]:
        """Return the durable records of a Channel; empty if it has no ledger."""
        channel = await self.get(name) or {"metadata": {}}
        text = (channel["metadata"].get("annotations") or {}).get(DURABLES, "{}")
        found: dict[str, Any] = json.loads(text)
        return found

    async def is_gone(self, name: str) -> bool:
        return await self.get(name) is None

    def subject(self, name: str) -> str:
        return f"{name}.{self.namespace}"


async def taken(
    dispatcher: ClusterDispatcher, channels: ChannelsOf, event_id: str, channel: str = "orders"
) -> None:
    """Post an event as soon as the channel is served."""

    async def is_taken() -> bool:
        return await dispatcher.post_to(channels.namespace, channel, event_id) == 202

    await eventually(is_taken)
