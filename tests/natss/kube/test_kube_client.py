"""The client against the real API server."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import kopf
import pytest
from aiohttp import web

from natss.document import Document
from natss.kube import (
    SERVICES,
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    InvalidName,
    KubeClient,
    LoginFailed,
    NotFound,
    Resource,
    ServerFailed,
    Unauthorized,
    Unreachable,
)
from natss.kube import client as client_module
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import free_port

CHANNELS = Resource("eventing.knative.dev", "v1alpha1", "channels", "Channel")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)


@pytest.fixture(scope="module")
def admin(kubernetes: KubernetesServer) -> kopf.ConnectionInfo:
    line = (kubernetes.directory / "tokens.csv").read_text()
    return kopf.ConnectionInfo(
        server=kubernetes.url,
        ca_path=str(kubernetes.certificate_authority),
        token=line.partition(",")[0],
    )


@pytest.fixture
async def client(admin: kopf.ConnectionInfo) -> AsyncIterator[KubeClient]:
    client = KubeClient(lambda: admin, field_manager="tests")
    yield client
    await client.close()


def config_map(name: str, value: str = "1", **labels: str) -> Document:
    return {"metadata": {"name": name, "labels": labels}, "data": {"a": value, "b": "2"}}


async def test_an_object_from_creation_to_deletion(client: KubeClient, namespace: str) -> None:
    created = await client.create(CONFIG_MAPS, config_map("one"), namespace)
    uid = created["metadata"]["uid"]
    changed = await client.patch(CONFIG_MAPS, "one", {"data": {"a": "3", "b": None}}, namespace)
    assert changed["data"] == {"a": "3"}
    assert await client.get(CONFIG_MAPS, "one", namespace) == changed
    managers = {entry["manager"] for entry in changed["metadata"]["managedFields"]}
    assert managers == {"tests"}
    await client.delete(CONFIG_MAPS, "one", namespace, uid=uid)
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, "one", namespace)
    with pytest.raises(NotFound):
        await client.delete(CONFIG_MAPS, "one", namespace, uid=uid)


async def test_what_belongs_to_no_namespace(client: KubeClient, namespace: str) -> None:
    assert (await client.get(NAMESPACES, namespace))["metadata"]["name"] == namespace


async def test_of_two_that_create_the_same_one_is_told_so(
    client: KubeClient, namespace: str
) -> None:
    await client.create(CONFIG_MAPS, config_map("one"), namespace)
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAPS, config_map("one"), namespace)


async def test_a_patch_of_what_has_changed_since_is_refused(
    client: KubeClient, namespace: str
) -> None:
    seen = await client.create(CONFIG_MAPS, config_map("one"), namespace)
    await client.patch(CONFIG_MAPS, "one", {"data": {"a": "other"}}, namespace)
    version = {"metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]}}
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAPS, "one", {**version, "data": {"a": "mine"}}, namespace)
    assert (await client.get(CONFIG_MAPS, "one", namespace))["data"]["a"] == "other"


async def test_another_object_of_the_same_name_is_not_deleted(
    client: KubeClient, namespace: str
) -> None:
    first = await client.create(CONFIG_MAPS, config_map("one"), namespace)
    await client.delete(CONFIG_MAPS, "one", namespace, uid=first["metadata"]["uid"])
    second = await client.create(CONFIG_MAPS, config_map("one"), namespace)
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "one", namespace, uid=first["metadata"]["uid"])
    found = await client.get(CONFIG_MAPS, "one", namespace)
    assert found["metadata"]["uid"] == second["metadata"]["uid"]


async def test_lists_are_read_to_their_end_and_say_their_kind(
    client: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_PAGE", 2)
    names = [f"m{number}" for number in range(5)]
    for name in names:
        await client.create(CONFIG_MAPS, config_map(name, kind="some"), namespace)
    await client.create(CONFIG_MAPS, config_map("other", kind="other"), namespace)
    found = await client.list(CONFIG_MAPS, namespace, {"kind": "some"})
    assert [each["metadata"]["name"] for each in found] == names
    assert {(each["apiVersion"], each["kind"]) for each in found} == {("v1", "ConfigMap")}
    everywhere = await client.list(CONFIG_MAPS, labels={"kind": "other"})
    assert any(each["metadata"]["namespace"] == namespace for each in everywhere)


async def test_status_is_written_apart_from_the_rest(client: KubeClient, namespace: str) -> None:
    body: Document = {
        "apiVersion": CHANNELS.api_version,
        "kind": "Channel",
        "metadata": {"name": "one"},
        "spec": {"provisioner": {"name": "other"}},
    }
    await client.create(CHANNELS, body, namespace)
    change: Document = {
        "spec": {"provisioner": {"name": "changed"}},
        "status": {"observedGeneration": 1},
    }
    changed = await client.patch_status(CHANNELS, "one", change, namespace)
    assert changed["status"] == {"observedGeneration": 1}
    assert changed["spec"]["provisioner"]["name"] == "other"


async def test_an_invalid_object_is_refused_with_the_reason(
    client: KubeClient, namespace: str
) -> None:
    body: Document = {"metadata": {"name": "1st"}, "spec": {"type": "ExternalName"}}
    with pytest.raises(Invalid, match=r"spec\.externalName"):
        await client.create(SERVICES, body, namespace)


@pytest.fixture
def account(kubernetes: KubernetesServer, namespace: str) -> str:
    """Create a service account that may read ConfigMaps of its namespace and nothing else."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    kubernetes.create(
        f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "reader"}}
    )
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}
    kubernetes.create(f"{rbac}/roles", {"metadata": {"name": "reader"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    kubernetes.create(
        f"{rbac}/rolebindings",
        {"metadata": {"name": "reader"}, "roleRef": role, "subjects": [subject]},
    )
    return "reader"


async def test_a_token_that_is_no_longer_accepted_is_replaced_by_a_new_login(
    kubernetes: KubernetesServer, admin: kopf.ConnectionInfo, namespace: str, account: str
) -> None:
    good = kubernetes.token_of(namespace, account)
    tokens = iter(["expired", good])
    logins: list[str] = []

    def login() -> kopf.ConnectionInfo:
        logins.append(next(tokens))
        return dataclasses.replace(admin, token=logins[-1])

    client = KubeClient(login, field_manager="tests")
    try:
        lists = (client.list(CONFIG_MAPS, namespace) for _ in range(3))
        assert await asyncio.gather(*lists) == [[], [], []]
        assert logins == ["expired", good]
        with pytest.raises(Forbidden):
            await client.list(SERVICES, namespace)
    finally:
        await client.close()


async def test_without_a_better_token_the_refusal_is_told(admin: kopf.ConnectionInfo) -> None:
    wrong = dataclasses.replace(admin, token="wrong")
    client = KubeClient(lambda: wrong, field_manager="tests")
    try:
        with pytest.raises(Unauthorized):
            await client.get(NAMESPACES, "default")
    finally:
        await client.close()


async def test_credentials_that_cannot_be_read_are_an_error_to_be_tried_again() -> None:
    def login() -> kopf.ConnectionInfo:
        raise LoginFailed("no file")

    client = KubeClient(login, field_manager="tests")
    with pytest.raises(LoginFailed) as failed:
        await client.get(NAMESPACES, "default")
    assert failed.value.retriable


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    info = kopf.ConnectionInfo(server=f"http://127.0.0.1:{free_port()}", insecure=True)
    client = KubeClient(lambda: info, field_manager="tests")
    try:
        with pytest.raises(Unreachable) as failed:
            await client.get(NAMESPACES, "default")
        assert failed.value.retriable
    finally:
        await client.close()


@pytest.fixture
async def odd_server() -> AsyncIterator[str]:
    """Serve: ``silent`` never, ``empty`` with an empty object, all else with what is not JSON."""
    connections: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/silent" not in head:
            body = b"{}" if b"/empty" in head else b"hello"
            close = b"Connection: close\r\n"
            length = b"Content-Length: %d\r\n" % len(body)
            writer.write(b"HTTP/1.1 200 OK\r\n%b%b\r\n%b" % (close, length, body))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for writer in connections:
        writer.close()
    server.close()
    await server.wait_closed()


async def test_a_server_that_does_not_answer_in_time_is_unreachable(odd_server: str) -> None:
    info = kopf.ConnectionInfo(server=odd_server, insecure=True)
    client = KubeClient(lambda: info, field_manager="tests", timeout=0.1)
    try:
        with pytest.raises(Unreachable, match="no answer"):
            await client.get(NAMESPACES, "silent")
    finally:
        await client.close()


@pytest.mark.parametrize("name", ["odd", "empty"])
async def test_an_answer_that_is_none_of_the_api_is_a_failure(odd_server: str, name: str) -> None:
    info = kopf.ConnectionInfo(server=odd_server, insecure=True)
    client = KubeClient(lambda: info, field_manager="tests")
    try:
        with pytest.raises(ServerFailed):
            await client.get(NAMESPACES, name)
        with pytest.raises(ServerFailed):
            await client.patch(NAMESPACES, name, {})
    finally:
        await client.close()


@pytest.fixture
async def one_answer() -> AsyncIterator[KubeClient]:
    """Yield a client of a server that answers everything with one ConfigMap, shop/orders."""

    async def answer(request: web.Request) -> web.Response:
        document: Document = {"metadata": {"name": "orders", "namespace": "shop"}}
        is_list = request.method == "GET" and request.path.endswith("configmaps")
        return web.json_response({"metadata": {}, "items": [document]} if is_list else document)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    info = kopf.ConnectionInfo(server=f"http://127.0.0.1:{runner.addresses[0][1]}", insecure=True)
    client = KubeClient(lambda: info, field_manager="tests")
    yield client
    await client.close()
    await runner.cleanup()


async def test_an_answer_about_another_object_is_a_failure(one_answer: KubeClient) -> None:
    """However it came about: nobody decides about one object by what another one says."""
    await one_answer.get(CONFIG_MAPS, "orders", "shop")
    await one_answer.create(CONFIG_MAPS, config_map("orders"), "shop")
    assert await one_answer.list(CONFIG_MAPS, "shop")
    assert await one_answer.list(CONFIG_MAPS)
    for name, namespace in (("other", "shop"), ("orders", "victim")):
        for request in (
            one_answer.get(CONFIG_MAPS, name, namespace),
            one_answer.patch(CONFIG_MAPS, name, {}, namespace),
            one_answer.patch_status(CONFIG_MAPS, name, {}, namespace),
            one_answer.create(CONFIG_MAPS, config_map(name), namespace),
        ):
            with pytest.raises(ServerFailed, match="an answer about the "):
                await request
    with pytest.raises(ServerFailed, match="'shop', not about victim"):
        await one_answer.list(CONFIG_MAPS, "victim")


@pytest.mark.parametrize("text", ["../kube-system", "?watch=true", ""])
async def test_no_request_is_made_with_what_is_no_name(one_answer: KubeClient, text: str) -> None:
    for request in (
        one_answer.get(CONFIG_MAPS, text, "shop"),
        one_answer.get(CONFIG_MAPS, "orders", text),
        one_answer.list(CONFIG_MAPS, text),
        one_answer.list(CONFIG_MAPS, labels={"a": f"{text},b=c"}),
        one_answer.patch(CONFIG_MAPS, text, {}, "shop"),
        one_answer.patch_status(CONFIG_MAPS, text, {}, "shop"),
        one_answer.create(CONFIG_MAPS, config_map("orders"), text),
        one_answer.delete(CONFIG_MAPS, text, "shop", uid="u"),
    ):
        with pytest.raises(InvalidName) as error:
            await request
        assert not error.value.retriable
