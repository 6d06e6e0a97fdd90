"""Following all objects of a kind on the real API server, through a network that fails."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import kopf
import orjson
import pytest
from aiohttp import web

from natss.document import Document
from natss.kube import Changed, Failed, KubeClient, Listing, Resource, follow
from natss.kube import client as client_module
from tests.support.kubernetes import KubernetesServer
from tests.support.proxy import Proxy
from tests.support.waiting import Changes

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


@pytest.fixture
async def proxy(kubernetes: KubernetesServer) -> AsyncIterator[Proxy]:
    async with Proxy(kubernetes.port) as network:
        yield network


@pytest.fixture
def info(kubernetes: KubernetesServer, proxy: Proxy) -> kopf.ConnectionInfo:
    line = (kubernetes.directory / "tokens.csv").read_text()
    return kopf.ConnectionInfo(
        server=f"https://127.0.0.1:{proxy.port}",
        ca_path=str(kubernetes.certificate_authority),
        token=line.partition(",")[0],
    )


@pytest.fixture
async def client(info: kopf.ConnectionInfo) -> AsyncIterator[KubeClient]:
    made = KubeClient(lambda: info, field_manager="tests")
    yield made
    await made.close()


class Follower:
    """Follows config maps, and knows those of one namespace as they are told."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        watch_seconds: int = 60,
        labels: dict[str, str] | None = None,
    ) -> None:
        self.known: dict[str, str] = {}
        self.lists = 0
        self.failures: list[Failed] = []
        self._namespace = namespace
        self._changes = Changes()
        self._task = asyncio.create_task(self._follow(client, watch_seconds, labels), name="follow")

    async def until(self, condition: Callable[[], bool], seconds: float = 8.0) -> None:
        await self._changes.until(condition, seconds)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _follow(
        self, client: KubeClient, seconds: int, labels: dict[str, str] | None
    ) -> None:
        news = follow(client, CONFIG_MAPS, labels=labels, watch_seconds=seconds)
        async with aclosing(news):
            async for each in news:
                match each:
                    case Listing():
                        self.lists += 1
                        self.known.clear()
                        for document in each.documents:
                            self._take(document, deleted=False)
                    case Changed(document, deleted):
                        self._take(document, deleted=deleted)
                    case Failed():
                        self.failures.append(each)
                self._changes.note()

    def _take(self, document: Document, *, deleted: bool) -> None:
        if document["metadata"]["namespace"] != self._namespace:
            return
        name = document["metadata"]["name"]
        if deleted:
            del self.known[name]
        else:
            self.known[name] = document["data"]["a"]


@pytest.fixture
async def follower(client: KubeClient, namespace: str) -> AsyncIterator[Follower]:
    made = Follower(client, namespace)
    yield made
    await made.close()


def config_map(name: str, value: str = "1") -> Document:
    return {"metadata": {"name": name}, "data": {"a": value}}


async def test_what_is_there_then_what_changes(
    client: KubeClient, namespace: str, follower: Follower
) -> None:
    one = await client.create(CONFIG_MAPS, config_map("one"), namespace)
    await follower.until(lambda: follower.known == {"one": "1"})
    await client.patch(CONFIG_MAPS, "one", {"data": {"a": "2"}}, namespace)
    await follower.until(lambda: follower.known == {"one": "2"})
    await client.delete(CONFIG_MAPS, "one", namespace, uid=one["metadata"]["uid"])
    await follower.until(lambda: not follower.known)
    assert (follower.lists, follower.failures) == (1, [])


async def test_a_watch_that_ends_in_order_goes_on_without_another_list(
    client: KubeClient, namespace: str
) -> None:
    follower = Follower(client, namespace, watch_seconds=1)
    try:
        for count in range(3):
            await client.create(CONFIG_MAPS, config_map(f"m{count}"), namespace)
            await follower.until(lambda: f"m{len(follower.known) - 1}" in follower.known)
            await asyncio.sleep(0.8)  # so that watches end in between
        await follower.until(lambda: len(follower.known) == 3)
        assert (follower.lists, follower.failures) == (1, [])
    finally:
        await follower.close()


async def test_after_a_broken_connection_what_was_missed_is_seen(
    kubernetes: KubernetesServer,
    client: KubeClient,
    namespace: str,
    follower: Follower,
    proxy: Proxy,
) -> None:
    gone = await client.create(CONFIG_MAPS, config_map("gone"), namespace)
    await follower.until(lambda: "gone" in follower.known)
    proxy.refuse()
    await follower.until(lambda: len(follower.failures) > 1)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await asyncio.to_thread(kubernetes.delete, f"{path}/{gone['metadata']['name']}")
    await asyncio.to_thread(kubernetes.create, path, config_map("new"))
    proxy.release()
    await follower.until(lambda: follower.known == {"new": "1"})


async def test_a_connection_that_is_dead_without_a_word_is_noticed(
    client: KubeClient, namespace: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_WATCH_MARGIN", 0.2)
    follower = Follower(client, namespace, watch_seconds=1)
    try:
        await follower.until(lambda: follower.lists == 1)
        proxy.hold()
        await follower.until(lambda: bool(follower.failures))
        proxy.release()
        await client.create(CONFIG_MAPS, config_map("one"), namespace)
        await follower.until(lambda: follower.known == {"one": "1"})
    finally:
        await follower.close()


GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
GONE_EVENT = b'{"type": "ERROR", "object": ' + orjson.dumps(GONE) + b"}\n"


@contextlib.asynccontextmanager
async def played(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[KubeClient]:
    """Yield a client of an API server that answers for config maps what a test says."""
    app = web.Application()
    app.router.add_get(CONFIG_MAPS.path(), answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    info = kopf.ConnectionInfo(server=f"http://127.0.0.1:{runner.addresses[0][1]}")
    client = KubeClient(lambda: info, field_manager="tests")
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "failures"),
    [
        (200, GONE_EVENT, 0),
        (410, orjson.dumps(GONE), 0),
        (200, b"", 0),
        (200, b'{"type": "ADDED", "obj', 2),
        (200, b'{"type": "ADDED", "object": {"metadata": {}}}\n', 2),
        (200, b'{"type": "ERROR", "object": {"code": "odd"}}\n', 2),
    ],
    ids=["gone in an event", "gone at once", "closed", "half an event", "no version", "odd error"],
)
async def test_after_a_watch_that_is_of_no_use_all_is_listed_again(
    status: int, body: bytes, failures: int
) -> None:
    """The real API server forgets versions after minutes only, so this one is played."""
    lists = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal lists
        if "watch" not in request.query:
            lists += 1
            return web.json_response({"metadata": {"resourceVersion": str(lists)}, "items": []})
        if request.query["resourceVersion"] == "3":
            await asyncio.sleep(60)
        return web.Response(body=body, status=status)

    async with played(answer) as client:
        follower = Follower(client, "any")
        try:
            await follower.until(lambda: follower.lists == 3)
            assert len(follower.failures) == failures
        finally:
            await follower.close()


async def test_a_token_that_expires_is_renewed_without_a_word(
    info: kopf.ConnectionInfo, namespace: str
) -> None:
    expired = dataclasses.replace(info, token="expired")
    logins = iter([expired, info])
    client = KubeClient(lambda: next(logins), field_manager="tests")
    try:
        async with aclosing(client.watch(CONFIG_MAPS, "0", seconds=2)) as events:
            assert [each async for each in events] == []
        assert isinstance(await client.list_all(CONFIG_MAPS), Listing)
    finally:
        await client.close()


async def test_by_labels_what_loses_them_is_told_as_gone(
    client: KubeClient, namespace: str
) -> None:
    def body(name: str, label: str) -> Document:
        return {"metadata": {"name": name, "labels": {"of": label}}, "data": {"a": "1"}}

    await client.create(CONFIG_MAPS, body("mine", namespace), namespace)
    await client.create(CONFIG_MAPS, body("other", "others"), namespace)
    follower = Follower(client, namespace, labels={"of": namespace})
    try:
        await follower.until(lambda: follower.known == {"mine": "1"})
        await client.create(CONFIG_MAPS, body("another", "others"), namespace)
        await client.create(CONFIG_MAPS, body("second", namespace), namespace)
        await follower.until(lambda: follower.known == {"mine": "1", "second": "1"})
        change = {"metadata": {"labels": {"of": "others"}}}
        await client.patch(CONFIG_MAPS, "mine", change, namespace)
        await follower.until(lambda: follower.known == {"second": "1"})
    finally:
        await follower.close()


@pytest.mark.parametrize(
    "odd",
    [{}, {"items": []}, {"metadata": {}, "items": 7}, {"metadata": {}, "items": [{"a": 1}]}],
    ids=str,
)
async def test_a_list_that_is_none_is_a_failure_and_asked_for_again(odd: Document) -> None:
    """A proxy on the way, or an extension of the API, may answer anything: that ends nothing."""
    asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        good = {"metadata": {"resourceVersion": "1"}, "items": None}
        return web.json_response(odd if asked == 1 else good)

    async with played(answer) as client:
        follower = Follower(client, "any")
        try:
            await follower.until(lambda: follower.lists == 1)
            assert "none of the API" in str(follower.failures[0].error)
        finally:
            await follower.close()
