"""Watches over a network that fails, and with an API that refuses."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import kopf
import pytest
from structlog.typing import EventDict

from natss.document import Document
from natss.kube import KubeClient, Resource
from natss_provisioner.watches import Watch, Watches
from tests.support.kubernetes import KubernetesServer, until
from tests.support.proxy import Proxy

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
NONE_SUCH = Resource("example.com", "v1", "parrots", "Parrot")


class Seen:
    """The names of all config maps with a label, as the watch reports them."""

    def __init__(self, label: str) -> None:
        self.names: set[str] = set()
        self.lists = self.failures = 0
        labels = {"of": label}
        self.watch = Watch(CONFIG_MAPS, self._take_all, self._take, labels, self._note_failure)

    def _take_all(self, documents: Sequence[Document]) -> None:
        self.lists += 1
        self.names = {each["metadata"]["name"] for each in documents}

    def _note_failure(self, _: Resource) -> None:
        self.failures += 1

    def _take(self, document: Document, deleted: bool) -> None:
        change = self.names.discard if deleted else self.names.add
        change(document["metadata"]["name"])


@pytest.fixture
async def proxy(kubernetes: KubernetesServer) -> AsyncIterator[Proxy]:
    async with Proxy(kubernetes.port) as network:
        yield network


@pytest.fixture
async def client(kubernetes: KubernetesServer, proxy: Proxy) -> AsyncIterator[KubeClient]:
    line = (kubernetes.directory / "tokens.csv").read_text()
    info = kopf.ConnectionInfo(
        server=f"https://127.0.0.1:{proxy.port}",
        ca_path=str(kubernetes.certificate_authority),
        token=line.partition(",")[0],
    )
    made = KubeClient(lambda: info, field_manager="tests")
    yield made
    await made.close()


async def test_it_goes_on_after_a_failure_which_it_tells(
    kubernetes: KubernetesServer, client: KubeClient, proxy: Proxy, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"

    def create(name: str) -> None:
        kubernetes.create(path, {"metadata": {"name": name, "labels": {"of": namespace}}})

    await asyncio.to_thread(create, "one")
    seen = Seen(namespace)
    watches = Watches(client, [seen.watch])
    assert watches.failures == [f"configmaps of={namespace}: not listed yet"]
    running = asyncio.create_task(watches.run())
    try:
        await asyncio.to_thread(until, lambda: seen.names == {"one"}, 20.0)
        assert watches.failures == []
        assert watches.are_told.is_set()
        await asyncio.to_thread(create, "two")
        await asyncio.to_thread(until, lambda: seen.names == {"one", "two"}, 20.0)
        assert seen.lists == 1
        assert seen.failures == 0
        proxy.refuse()
        await asyncio.to_thread(until, lambda: watches.failures, 20.0)
        assert "no answer" in watches.failures[0]
        assert seen.failures
        await asyncio.to_thread(kubernetes.delete, f"{path}/one")
        proxy.release()
        await asyncio.to_thread(until, lambda: seen.names == {"two"}, 20.0)
        assert watches.failures == []
    finally:
        running.cancel()
        await asyncio.wait((running,))


async def test_what_is_not_there_keeps_nothing_else_from_being_followed(
    client: KubeClient, namespace: str, logged: list[EventDict]
) -> None:
    seen = Seen(namespace)
    none_such = Watch(NONE_SUCH, lambda _: None, lambda *_: None)
    watches = Watches(client, [none_such, seen.watch])
    running = asyncio.create_task(watches.run())
    try:
        await asyncio.to_thread(until, lambda: seen.lists, 20.0)
        await asyncio.to_thread(until, lambda: "404" in watches.failures[0], 20.0)
        await asyncio.to_thread(until, watches.are_told.is_set, 20.0)
        await asyncio.sleep(0.5)  # for some more attempts
        assert len(watches.failures) == 1
        assert len([each for each in logged if "parrots" in each.get("resource", "")]) == 1
    finally:
        running.cancel()
        await asyncio.wait((running,))
