"""What Knative eventing v0.6 with Go's natss left in a cluster and in NATS Streaming.

Written by hand from what those programs did: nothing here was made by ours.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from natss import nats_streaming
from natss.document import Document
from natss.nats_streaming import Message, StartAt, SubscriptionOptions
from tests.support.data_plane import connection_options, durables
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import Changes, eventually

API = "eventing.knative.dev/v1alpha1"
GROUP = f"/apis/{API}"
SYSTEM = "knative-eventing"
CLIENT_ID = "knative-natss-dispatcher"
LONG_AGO = "2019-06-01T10:00:00Z"

_PROVISIONER = {"apiVersion": API, "kind": "ClusterChannelProvisioner", "name": "natss"}
_KINDS = {
    "clusterchannelprovisioners": ("ClusterChannelProvisioner", "Cluster", "ccp"),
    "channels": ("Channel", "Namespaced", "chan"),
    "subscriptions": ("Subscription", "Namespaced", "sub"),
}


@dataclass(frozen=True, slots=True)
class GoSubscriber:
    """A Subscription with its URI; of v0.5, its entry in the Channel has no uid."""

    name: str
    url: str
    of_v05: bool = False


class GoState:
    """Writes it, as an administrator.

    Args:
        kubernetes: An API without anything of ours.
        namespace: For Channels.
    """

    def __init__(self, kubernetes: KubernetesServer, namespace: str) -> None:
        self.kubernetes = kubernetes
        self.namespace = namespace
        self.channels = f"{GROUP}/namespaces/{namespace}/channels"
        self.subscriptions = f"{GROUP}/namespaces/{namespace}/subscriptions"
        self.services = f"/api/v1/namespaces/{namespace}/services"

    def define(self) -> None:
        """Define the kinds as Knative did, carried over to v1; they had no schema."""
        for plural, (kind, scope, short) in _KINDS.items():
            schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            version = {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
            }
            names = {
                "kind": kind,
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["all", "knative", "eventing"],
            }
            self._apply(
                {
                    "apiVersion": "apiextensions.k8s.io/v1",
                    "kind": "CustomResourceDefinition",
                    "metadata": {"name": f"{plural}.eventing.knative.dev"},
                    "spec": {
                        "group": "eventing.knative.dev",
                        "scope": scope,
                        "names": names,
                        "versions": [version],
                    },
                }
            )
        established = ("--for=condition=Established", "--timeout=20s", "crd", "--all")
        self.kubernetes.kubectl("wait", *established)

    def provisioner(self) -> None:
        """Create the ClusterChannelProvisioner, ready, and the dispatcher's Service."""
        for name in (SYSTEM, self.namespace):
            self._apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        path = f"{GROUP}/clusterchannelprovisioners"
        body = {"apiVersion": API, "kind": "ClusterChannelProvisioner", "spec": {}}
        self._apply({**body, "metadata": {"name": "natss"}})
        status = {"conditions": _conditions("Ready")}
        provisioner = self.kubernetes.patch(f"{path}/natss/status", {"status": status})
        labels = {"clusterChannelProvisioner": "natss", "role": "dispatcher"}
        service = {
            "metadata": {
                "name": "natss-dispatcher",
                "labels": labels,
                "ownerReferences": [_owner(provisioner)],
            },
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        }
        self.kubernetes.create(f"/api/v1/namespaces/{SYSTEM}/services", service)

    def _apply(self, document: Document) -> None:
        """Apply as people installed Knative: by client-side ``kubectl apply``."""
        self.kubernetes.kubectl("apply", "-f", "-", text=json.dumps(document))

    def channel(self, name: str, suffix: str, subscribers: Sequence[GoSubscriber]) -> None:
        """Create a Channel that was served, its Service, and its Subscriptions.

        Args:
            name: That of the Channel.
            suffix: What the API appended to the name of the Service.
            subscribers: In the order of the Channel's list.
        """
        entries = [self._subscription(name, each) for each in subscribers]
        hostname = f"{name}-channel-{suffix}.{self.namespace}.svc.cluster.local"
        body = {
            "kind": "Channel",
            "metadata": {"name": name, "finalizers": ["natss-dispatcher"]},
            "spec": {
                "generation": 2,
                "provisioner": _PROVISIONER,
                "subscribable": {"subscribers": entries},
            },
        }
        parts = ("Addressable", "Provisioned", "ProvisionerInstalled", "Ready")
        status = {"address": {"hostname": hostname}, "conditions": _conditions(*parts)}
        channel = self._create(self.channels, body, status)
        service = {
            "metadata": {
                "name": f"{name}-channel-{suffix}",
                "generateName": f"{name}-channel-",
                "labels": {
                    "channel": name,
                    "provisioner": "natss",
                    "eventing.knative.dev/channel": name,
                    "eventing.knative.dev/provisioner": "natss",
                },
                "ownerReferences": [_owner(channel)],
            },
            "spec": {
                "type": "ExternalName",
                "externalName": f"natss-dispatcher.{SYSTEM}.svc.cluster.local",
                "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
            },
        }
        self.kubernetes.create(self.services, service)

    def uid(self, subscription: str) -> str:
        """Return the uid of a Subscription."""
        return str(self.kubernetes.get(f"{self.subscriptions}/{subscription}")["metadata"]["uid"])

    def hostname(self, channel: str) -> str:
        """Return the address of a Channel."""
        status = self.kubernetes.get(f"{self.channels}/{channel}")["status"]
        return str(status["address"]["hostname"])

    def _subscription(self, channel: str, subscriber: GoSubscriber) -> Document:
        """Create a Subscription that is ready; return its entry in the Channel."""
        reference = {"apiVersion": API, "kind": "Channel", "name": channel}
        body = {
            "kind": "Subscription",
            "metadata": {"name": subscriber.name, "finalizers": ["subscription-controller"]},
            "spec": {"channel": reference, "subscriber": {"dnsName": subscriber.url}, "reply": {}},
        }
        status = {
            "conditions": _conditions("ChannelReady", "Ready", "Resolved"),
            "physicalSubscription": {"subscriberURI": subscriber.url},
        }
        created = self._create(self.subscriptions, body, status)
        ref = {
            "apiVersion": API,
            "kind": "Subscription",
            "name": subscriber.name,
            "namespace": self.namespace,
            "uid": created["metadata"]["uid"],
        }
        entry = {"ref": ref, "subscriberURI": subscriber.url}
        return entry if subscriber.of_v05 else {**entry, "uid": created["metadata"]["uid"]}

    def _create(self, path: str, body: Mapping[str, Any], status: Document) -> Document:
        name = self.kubernetes.create(path, {"apiVersion": API, **body})["metadata"]["name"]
        return self.kubernetes.patch(f"{path}/{name}/status", {"status": status})


def _conditions(*kinds: str) -> list[Document]:
    return [{"type": kind, "status": "True", "lastTransitionTime": LONG_AGO} for kind in kinds]


def _owner(document: Document) -> Document:
    return {
        "apiVersion": API,
        "kind": document["kind"],
        "name": document["metadata"]["name"],
        "uid": document["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def stored(event_id: str) -> bytes:
    """Return an event as Go stored it."""
    headers = {"Ce-Id": event_id, "ce-knativehistory": "orders.shop"}
    return json.dumps({"headers": headers, "payload": "e30="}, separators=(",", ":")).encode()


class GoDispatcher:
    """The session of Go's dispatcher; it ends without a close, since Go never closed it.

    Args:
        server: Where it stores and subscribes.
        delivered: Each subscriber takes so many events, one by one, and hangs in the next one.
    """

    def __init__(self, server: NatsStreamingServer, delivered: int) -> None:
        self._server = server
        self._delivered = delivered
        self._got: dict[tuple[str, str], list[str]] = {}
        self._changes = Changes()
        self._connection: nats_streaming.Connection | None = None

    async def connect(self) -> None:
        options = connection_options(self._server, CLIENT_ID)
        self._connection = await nats_streaming.connect(options)

    async def subscribe(self, subject: str, durable: str) -> None:
        """Deliver to one subscriber."""
        assert self._connection is not None
        got = self._got[subject, durable] = []

        def receive(message: Message) -> None:
            got.append(json.loads(message.data)["headers"]["Ce-Id"])
            if len(got) <= self._delivered:
                message.subscription.ack(message.sequence)
            self._changes.note()

        options = SubscriptionOptions(
            durable=durable,
            start=StartAt.new_only(),
            max_inflight=1024,
            ack_wait=60,
            manual_ack=True,
        )
        await self._connection.subscribe(subject, receive, options)

    async def publish(self, subject: str, ids: Sequence[str]) -> None:
        """Take events in, and wait until all durables of the subject were sent them."""
        assert self._connection is not None
        for each in ids:
            await self._connection.publish(subject, stored(each))
        lists = [got for (name, _), got in self._got.items() if name == subject]
        await self._changes.until(lambda: all(ids[-1] in got for got in lists))

    async def die(self) -> None:
        """Die: SIGTERM was no different from SIGKILL. What was acknowledged is settled before."""
        assert self._connection is not None
        for (subject, durable), got in self._got.items():

            async def are_acknowledged(
                subject: str = subject, durable: str = durable, wanted: int = len(got)
            ) -> bool:
                found = (await durables(self._server, subject))[durable]
                return bool(found["pending_count"] == wanted - self._delivered)

            await eventually(are_acknowledged)
        await self._connection.abandon()
