"""Events as kubectl shows them, on the real API server."""

from collections.abc import AsyncIterator
from typing import cast

import kopf
import pytest

from natss.document import Document
from natss.kube import EventRecorder, EventType, KubeClient
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import free_port


class Clock:
    """Time that passes when told so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def client(kubernetes: KubernetesServer) -> AsyncIterator[KubeClient]:
    token = (kubernetes.directory / "tokens.csv").read_text().partition(",")[0]
    info = kopf.ConnectionInfo(
        server=kubernetes.url, ca_path=str(kubernetes.certificate_authority), token=token
    )
    client = KubeClient(lambda: info, field_manager="tests")
    yield client
    await client.close()


@pytest.fixture
def about(kubernetes: KubernetesServer, namespace: str) -> Document:
    body: Document = {"metadata": {"name": "thing"}, "data": {}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        **kubernetes.create(f"/api/v1/namespaces/{namespace}/configmaps", body),
    }


def recorder(client: KubeClient, clock: Clock | None = None) -> EventRecorder:
    return EventRecorder(client, component="tests", instance="pod-1", clock=clock or Clock())


def events(kubernetes: KubernetesServer, namespace: str) -> list[Document]:
    items: list[Document] = kubernetes.get(f"/api/v1/namespaces/{namespace}/events")["items"]
    return items


async def test_kubectl_describe_tells_it(
    kubernetes: KubernetesServer, client: KubeClient, about: Document, namespace: str
) -> None:
    await recorder(client).record(about, EventType.WARNING, "Broken", "it is broken")
    told = kubernetes.kubectl("describe", "configmap", "thing", "-n", namespace)
    assert "Warning  Broken" in told
    assert "it is broken" in told


async def test_the_same_again_is_counted(
    kubernetes: KubernetesServer, client: KubeClient, about: Document, namespace: str
) -> None:
    first = recorder(client)
    for _ in range(3):
        await first.record(about, EventType.NORMAL, "Same", "m")
    await recorder(client).record(about, EventType.NORMAL, "Same", "m")  # after a restart
    await first.record(about, EventType.NORMAL, "Same", "another")
    found = {(event["message"], event["count"]) for event in events(kubernetes, namespace)}
    assert found == {("m", 4), ("another", 1)}


async def test_one_that_the_api_has_forgotten_is_written_again(
    kubernetes: KubernetesServer, client: KubeClient, about: Document, namespace: str
) -> None:
    events_of = recorder(client)
    await events_of.record(about, EventType.NORMAL, "Same", "m")
    await events_of.record(about, EventType.NORMAL, "Same", "m")
    kubernetes.delete(f"/api/v1/namespaces/{namespace}/events")
    await events_of.record(about, EventType.NORMAL, "Same", "m")
    assert [event["count"] for event in events(kubernetes, namespace)] == [1]


async def test_one_object_cannot_flood_the_api(
    kubernetes: KubernetesServer, client: KubeClient, about: Document, namespace: str
) -> None:
    clock = Clock()
    events_of = recorder(client, clock)
    for number in range(15):
        await events_of.record(about, EventType.NORMAL, "Flood", f"m{number}")
    assert len(events(kubernetes, namespace)) == 10
    clock.now += 120
    for number in range(15, 20):
        await events_of.record(about, EventType.NORMAL, "Flood", f"m{number}")
    assert len(events(kubernetes, namespace)) == 12
    await events_of.record(about, EventType.NORMAL, "Ready", "m")  # is not drowned by them
    assert len(events(kubernetes, namespace)) == 13


async def test_an_api_that_is_away_does_not_matter(about: Document) -> None:
    info = kopf.ConnectionInfo(server=f"http://127.0.0.1:{free_port()}", insecure=True)
    client = KubeClient(lambda: info, field_manager="tests")
    try:
        await recorder(client).record(about, EventType.NORMAL, "Unheard", "m")
    finally:
        await client.close()


class Api:
    """Takes every Event."""

    async def create(self, _resource: object, body: Document, _namespace: str) -> Document:
        return body


async def test_messages_that_are_always_new_are_not_remembered_for_ever() -> None:
    about = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "thing", "uid": "u"}}
    clock = Clock()
    events_of = recorder(cast("KubeClient", Api()), clock)
    for number in range(200):
        clock.now += 60
        await events_of.record(about, EventType.NORMAL, "Late", f"for {number} minutes")
    (subject,) = events_of._subjects.values()
    assert 1 <= len(subject.counts) < 50
