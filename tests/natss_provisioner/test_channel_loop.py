"""A Channel that is created and deleted 200 times: nothing of it is left anywhere."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.measure import resident_mib
from tests.conftest import StartServer
from tests.natss_provisioner.conftest import Shop
from tests.support.data_plane import durables
from tests.support.installation import Installation
from tests.support.kubernetes import ApiAnswer, KubernetesServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually

ROUNDS = 200
WHOLE = 10
"""In each of so many rounds the channel lives until it has delivered an event."""

WARM = 40
"""Rounds after which memory is measured for the first time."""


@pytest.fixture
async def installation(
    kubernetes_with_controllers: KubernetesServer, natss_server: StartServer, tmp_path: Path
) -> AsyncIterator[Installation]:
    server = await natss_server(store="FILE")
    folder = tmp_path / "installation"
    async with Installation(kubernetes_with_controllers, server, folder) as both:
        yield both


class Resources:
    """The resources that the two programs use."""

    def __init__(self, installation: Installation) -> None:
        self._pids = (installation.provisioner.pid, installation.dispatcher.pid)

    def memory(self) -> list[float]:
        """In MiB."""
        return [resident_mib(pid) for pid in self._pids]

    def files(self) -> list[int]:
        return [sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in self._pids]

    def threads(self) -> list[int]:
        return [sum(1 for _ in Path(f"/proc/{pid}/task").iterdir()) for pid in self._pids]


async def is_away(shop: Shop, path: str) -> bool:
    try:
        await asyncio.to_thread(shop.kubernetes.get, path)
    except ApiAnswer as answer:
        return answer.code == 404
    return False


async def one_life(installation: Installation, shop: Shop, sink: Subscriber, number: int) -> None:
    """Create a Channel with a Subscription, deliver an event, and delete both."""
    await asyncio.to_thread(shop.create)
    await asyncio.to_thread(shop.subscribe, "mail", subscriber={"uri": sink.url})
    if number % WHOLE == 0:
        channel = await asyncio.to_thread(shop.ready, "orders", 30.0)
        await installation.delivers_to(f"{shop.namespace}/mail")
        host = channel["status"]["address"]["hostname"]
        assert await installation.dispatcher.post_to_host(host, f"e{number}") == 202
        await sink.wait_until(lambda: f"e{number}" in sink.counts)
    for path in (f"{shop.subscriptions}/mail", f"{shop.channels}/orders"):
        await asyncio.to_thread(shop.kubernetes.delete, path)
    for path in (f"{shop.subscriptions}/mail", f"{shop.channels}/orders"):
        await eventually(lambda path=path: is_away(shop, path), 30.0)  # type: ignore[misc]  # mypy knows no default in a lambda


@pytest.mark.timeout(400)
async def test_created_and_deleted_200_times(
    installation: Installation, kubernetes_with_controllers: KubernetesServer, unique_name: str
) -> None:
    kubernetes = kubernetes_with_controllers
    shop = Shop(kubernetes, unique_name)
    kubernetes.create("/api/v1/namespaces", {"metadata": {"name": shop.namespace}})
    sink = Subscriber()
    await sink.start()
    resources = Resources(installation)
    for number in range(WARM):
        await one_life(installation, shop, sink, number)
    memory, files, threads = resources.memory(), resources.files(), resources.threads()
    for number in range(WARM, ROUNDS):
        await one_life(installation, shop, sink, number)
    await sink.stop()
    assert len(sink.counts) == ROUNDS // WHOLE

    async def is_swept() -> bool:
        listed = await asyncio.to_thread(kubernetes.get, shop.services)
        return not listed["items"]

    await eventually(is_swept, 60.0)
    assert await durables(installation.server, f"orders.{shop.namespace}") == {}
    assert (await installation.dispatcher.status())["channels"] == []
    _, metrics = await installation.dispatcher.admin("/metrics")
    assert shop.namespace not in metrics

    async def is_forgotten() -> bool:
        files = (installation.dispatcher.state_dir).iterdir()
        return not any(shop.namespace in file.read_text() for file in files)

    await eventually(is_forgotten)
    for before, after in zip(memory, resources.memory(), strict=True):
        assert after < before + 4.0, "MiB; it is less than one as a rule"
    for before, after in zip(files + threads, resources.files() + resources.threads(), strict=True):
        assert after < before + 8, "one for each round would be 160"


async def test_made_anew_while_the_garbage_collector_sweeps(
    installation: Installation, kubernetes_with_controllers: KubernetesServer, unique_name: str
) -> None:
    """Its Service has the name of the former one, which is just being deleted."""
    shop = Shop(kubernetes_with_controllers, unique_name)
    shop.kubernetes.create("/api/v1/namespaces", {"metadata": {"name": shop.namespace}})
    await asyncio.to_thread(shop.create)
    await asyncio.to_thread(shop.ready, "orders", 30.0)
    for _ in range(10):
        shop.kubernetes.delete(f"{shop.channels}/orders")
        await eventually(lambda: is_away(shop, f"{shop.channels}/orders"))
        uid = (await asyncio.to_thread(shop.create))["metadata"]["uid"]
        channel = await asyncio.to_thread(shop.ready, "orders", 30.0)
        host = channel["status"]["address"]["hostname"]

        async def leads_to_it(uid: str = uid, host: str = host) -> bool:
            listed = await asyncio.to_thread(shop.kubernetes.get, shop.services)
            owned = [each["metadata"]["ownerReferences"][0]["uid"] for each in listed["items"]]
            taken = await installation.dispatcher.post_to_host(host, "e1") == 202
            return owned == [uid] and taken

        await eventually(leads_to_it)
