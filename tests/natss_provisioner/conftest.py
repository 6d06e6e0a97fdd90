import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from natss.document import Document
from tests.natss_provisioner.serving import ServingStandIn
from tests.support.faulty_api import FaultyApi
from tests.support.kubernetes import KubernetesServer, until
from tests.support.provisioner_process import ACCOUNT, NAMESPACE, ProvisionerProcess

CHANNELS = "/apis/eventing.knative.dev/v1alpha1/namespaces/{}/channels"
SUBSCRIPTIONS = "/apis/eventing.knative.dev/v1alpha1/namespaces/{}/subscriptions"
SERVICES = "/api/v1/namespaces/{}/services"
PROVISIONER = "/apis/eventing.knative.dev/v1alpha1/clusterchannelprovisioners/natss"
DISPATCHER = "/api/v1/namespaces/knative-eventing/services/natss-dispatcher"


@pytest.fixture(scope="module")
def provisioner(
    kubernetes: KubernetesServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProvisionerProcess]:
    """Run the provisioner, as the service account of the manifests, for a module's tests."""
    process = ProvisionerProcess(kubernetes, tmp_path_factory.mktemp("provisioner") / "log")
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def api(kubernetes: KubernetesServer) -> AsyncIterator[FaultyApi]:
    """Run a proxy before the API; see ``provisioner_behind``."""
    async with FaultyApi(kubernetes) as faulty:
        yield faulty


async def provisioner_behind(
    api: FaultyApi, kubernetes: KubernetesServer, folder: Path
) -> ProvisionerProcess:
    """Return a provisioner to start; all its requests to the API go through ``api``."""
    process = ProvisionerProcess(kubernetes, folder / "log")
    process.kubeconfig = await asyncio.to_thread(api.kubeconfig, folder, NAMESPACE, ACCOUNT)
    return process


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    """Return what this process logs, as fields."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture(scope="module")
def serving(kubernetes: KubernetesServer) -> Iterator[None]:
    """Act as a dispatcher that serves every channel with an address."""
    stand_in = ServingStandIn(kubernetes)
    stand_in.start()
    yield
    stand_in.stop()


READY = {"Resolved": "True", "ChannelReady": "True", "Ready": "True"}


def reference(kind: str, name: str) -> Document:
    api_version = "v1" if kind == "Service" else "eventing.knative.dev/v1alpha1"
    return {"apiVersion": api_version, "kind": kind, "name": name}


class Shop:
    """One namespace as users of channels see it."""

    def __init__(self, kubernetes: KubernetesServer, namespace: str) -> None:
        self.kubernetes = kubernetes
        self.namespace = namespace
        self.channels = CHANNELS.format(namespace)
        self.services = SERVICES.format(namespace)
        self.subscriptions = SUBSCRIPTIONS.format(namespace)

    def create(self, name: str = "orders", **spec: object) -> Document:
        """Create a channel, by default of natss, and return it as stored."""
        body: Document = {
            "apiVersion": "eventing.knative.dev/v1alpha1",
            "kind": "Channel",
            "metadata": {"name": name},
            "spec": spec or {"provisioner": {"name": "natss"}},
        }
        return self.kubernetes.create(self.channels, body)

    def channel(self, name: str = "orders") -> Document:
        return self.kubernetes.get(f"{self.channels}/{name}")

    def ready(self, name: str = "orders", seconds: float = 45.0) -> Document:
        """Return the channel as soon as it is ready."""
        try:
            ready: Document = until(lambda: self._if_ready(name), seconds)
        except AssertionError as error:
            raise AssertionError(f"not ready: {self.channel(name).get('status')}") from error
        return ready

    def is_observed(self, name: str = "orders") -> bool:
        """Return whether a channel's status is about its present generation."""
        channel = self.channel(name)
        return bool(channel["status"]["observedGeneration"] == channel["metadata"]["generation"])

    def condition(self, kind: str, name: str = "orders") -> Document:
        """Return one condition of a channel; KeyError if it has none yet."""
        conditions = self.channel(name)["status"]["conditions"]
        by_type: dict[str, Document] = {each["type"]: each for each in conditions}
        return by_type[kind]

    def its_services(self, name: str = "orders") -> list[Document]:
        """Return all Services with the channel's label, whatever created them."""
        query = f"?labelSelector=channel%3D{name}"
        items: list[Document] = self.kubernetes.get(self.services + query)["items"]
        return items

    def service(self, name: str = "orders") -> Document:
        """Return the one Service of a channel; KeyError if there are none or more."""
        services = self.its_services(name)
        if len(services) != 1:
            raise KeyError([each["metadata"]["name"] for each in services])
        return services[0]

    def subscribe(self, name: str = "mail", channel: str = "orders", **spec: object) -> Document:
        """Create a Subscription, by default with a URI, and return it as stored."""
        body: Document = {
            "apiVersion": "eventing.knative.dev/v1alpha1",
            "kind": "Subscription",
            "metadata": {"name": name},
            "spec": {
                "channel": reference("Channel", channel),
                **(spec or {"subscriber": {"uri": f"http://{name}.x:8080/in"}}),
            },
        }
        return self.kubernetes.create(self.subscriptions, body)

    def subscription(self, name: str = "mail") -> Document:
        return self.kubernetes.get(f"{self.subscriptions}/{name}")

    def told(self, name: str = "mail") -> dict[str, str]:
        """Return a Subscription's conditions: True, or the reason; KeyError if it has none yet."""
        conditions = self.subscription(name)["status"]["conditions"]
        return {each["type"]: each.get("reason", each["status"]) for each in conditions}

    def subscribed(
        self, name: str = "mail", seconds: float = 45.0, advice: Document | None = None
    ) -> Document:
        """Return the Subscription as soon as it is ready, with only this advice."""
        until(lambda: self.told(name) == {**READY, **(advice or {})}, seconds)
        return self.subscription(name)

    def entries(self, channel: str = "orders") -> list[Document]:
        """Return the list of subscribers of a channel."""
        subscribable = self.channel(channel)["spec"].get("subscribable") or {}
        items: list[Document] = subscribable.get("subscribers") or []
        return items

    def path_of(self, service: Document) -> str:
        return f"{self.services}/{service['metadata']['name']}"

    def events(self, reason: str) -> list[str]:
        """Return the messages of the Events with a reason."""
        items = self.kubernetes.get(f"/api/v1/namespaces/{self.namespace}/events")["items"]
        return [each["message"] for each in items if each["reason"] == reason]

    def _if_ready(self, name: str) -> Document | None:
        channel = self.channel(name)
        status = {each["type"]: each["status"] for each in channel["status"]["conditions"]}
        return channel if status["Ready"] == "True" else None


def writes(kubernetes: KubernetesServer, part: str = "") -> list[str]:
    """Return what the provisioner has written so far to paths that contain this part.

    Leave out the Lease, which is written all the time, and reviews, which store nothing.
    """
    return [
        each
        for each in kubernetes.writes(NAMESPACE, ACCOUNT)
        if part in each and not ("/leases" in each or "/selfsubjectaccessreviews" in each)
    ]


@pytest.fixture
def shop(kubernetes: KubernetesServer, namespace: str, serving: None) -> Shop:
    return Shop(kubernetes, namespace)
