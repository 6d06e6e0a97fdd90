"""Text that is not a valid name leads no request of the provisioner elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest
from aiohttp import web

from natss.document import Document
from tests.natss_provisioner.conftest import Shop, provisioner_behind, reference
from tests.natss_provisioner.serving import ServingStandIn
from tests.support.faulty_api import FaultyApi, Forward
from tests.support.kubernetes import KubernetesServer, until
from tests.support.provisioner_process import ProvisionerProcess

FINALIZER = "subscription-controller"
NO_NAMES = [
    "../../{victim}/channels/elsewhere",
    "..",
    ".",
    "?watch=true",
    "mail?watch=true&timeoutSeconds=3600",
    "#",
    "%2e%2e%2f%2e%2e%2f{victim}%2fchannels%2felsewhere",
    "%2e%2e/%2e%2e/{victim}/channels/elsewhere",
    "..\\..\\{victim}",
    "mail/status",
    "ma\u0131l",
    "ma il",
    "x" * 70000,
]


@pytest.fixture
async def asked(
    kubernetes: KubernetesServer, api: FaultyApi, tmp_path: Path, serving: None
) -> AsyncIterator[list[str]]:
    """Return all requests of a running provisioner: method, path and query as they were sent."""
    requests: list[str] = []

    async def note(request: web.Request, forward: Forward) -> web.StreamResponse:
        requests.append(f"{request.method} {request.raw_path}")
        return await forward()

    api.rule = note
    process = await provisioner_behind(api, kubernetes, tmp_path)
    await asyncio.to_thread(process.start)
    yield requests
    assert await asyncio.to_thread(process.stop) == 0, process.end_of_log()


@pytest.fixture
def victim(kubernetes: KubernetesServer, unique_name: str, serving: None) -> Shop:
    """Return another namespace, with a channel that has a subscriber."""
    name = f"victim-{unique_name}"
    kubernetes.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return Shop(kubernetes, name)


def entry_of(name: str, uid: str, **more: object) -> Document:
    ref = {**reference("Subscription", name), **more}
    return {"uid": uid, "ref": ref, "subscriberURI": "http://mail.x/"}


def is_elsewhere(request: str) -> bool:
    """Return whether a text that is no name has become a part of a request."""
    path, _, query = unquote(unquote(request)).partition("?")
    watches_one = "watch=true" in query and "resourceVersion=" not in query
    return watches_one or "elsewhere" in path or ".." in path or "#" in path or "\\" in path


async def test_entries_that_name_no_subscription(
    shop: Shop, victim: Shop, asked: list[str]
) -> None:
    """Users may write them into Channels of their own."""

    def work() -> None:
        victim.create()
        victim.ready()
        entries = [
            entry_of(name.format(victim=victim.namespace), f"no-name-{number}")
            for number, name in enumerate(NO_NAMES)
        ]
        entries.append(entry_of("mail", "not-of-here", namespace=victim.namespace))
        entries.append(entry_of("mail", "up-and-down", namespace=f"../{victim.namespace}"))
        for number, entry in enumerate(entries):
            subscribable = {"subscribers": [entry]}
            shop.create(f"c{number}", provisioner={"name": "natss"}, subscribable=subscribable)
        for number in range(len(NO_NAMES)):
            shop.ready(f"c{number}")
            told = shop.condition("SpecAccepted", f"c{number}")
            assert told["reason"] == "Refused"
            assert "spec.subscribable.subscribers[0].ref.name" in told["message"]
        shop.create()
        shop.subscribe("real")
        shop.subscribed("real")
        for number, entry in enumerate(entries):  # entries written by hand stay
            assert shop.entries(f"c{number}") == [entry]

    await asyncio.to_thread(work)
    assert any("/subscriptions/real" in each for each in asked)
    of_victim = f"{victim.namespace}/subscriptions"
    assert not [each for each in asked if is_elsewhere(each) or of_victim in each]


async def test_a_status_that_names_no_channel(
    kubernetes: KubernetesServer, shop: Shop, victim: Shop, asked: list[str]
) -> None:
    """It neither adds a subscriber to another namespace's channel, nor removes one, nor blocks."""

    def work() -> None:
        victim.create()
        victim.subscribe("mail")
        victim.subscribed("mail")
        before = victim.channel()["metadata"]["generation"]
        shop.create()
        for number, text in enumerate(NO_NAMES):
            name = f"mail-{number}"
            shop.subscribe(name)
            shop.subscribed(name)
            path = f"{shop.subscriptions}/{name}"
            status = {"channelName": text.format(victim=victim.namespace)}
            kubernetes.patch(f"{path}/status", {"status": status})
            until(partial(_is_held_by_orders, shop, name))
            kubernetes.patch(f"{path}/status", {"status": status})
            kubernetes.delete(path)
            until(lambda: not kubernetes.get(shop.subscriptions)["items"])
        until(partial(_has_no_entries, shop))
        assert victim.channel()["metadata"]["generation"] == before

    await asyncio.to_thread(work)
    assert not [each for each in asked if is_elsewhere(each)]


async def test_an_address_that_names_no_service(
    kubernetes: KubernetesServer, shop: Shop, victim: Shop, asked: list[str]
) -> None:
    def work() -> None:
        up = f"%2e%2e/%2e%2e/{victim.namespace}/secrets/elsewhere"
        texts = (up, f"{up}?x=", "", "?watch=true&", "a%2felsewhere", "elsewhere#", "\\elsewhere")
        for number, text in enumerate(texts):
            name = f"c{number}"
            shop.create(name)
            shop.ready(name)
            host = {"address": {"hostname": f"{text}.{shop.namespace}.svc.cluster.local"}}
            kubernetes.patch(f"{shop.channels}/{name}/status", {"status": host})
            until(partial(_has_its_address, shop, name))

    await asyncio.to_thread(work)
    assert not [each for each in asked if is_elsewhere(each)]


def _is_held_by_orders(shop: Shop, name: str) -> bool:
    return bool(shop.subscription(name)["status"]["channelName"] == "orders")


def _has_no_entries(shop: Shop) -> bool:
    return not shop.entries()


def _has_its_address(shop: Shop, name: str) -> bool:
    host = str(shop.channel(name)["status"]["address"]["hostname"])
    return host.partition(".")[0] == str(shop.service(name)["metadata"]["name"])


def _is_unresolved(shop: Shop, name: str) -> bool:
    return shop.told(name)["Resolved"] != "True"


async def test_subscribers_that_name_no_object(shop: Shop, victim: Shop, asked: list[str]) -> None:
    def work() -> None:
        shop.create()
        shop.ready()
        refs = [reference("Service", text.format(victim=victim.namespace)) for text in NO_NAMES]
        refs += [
            {"apiVersion": api_version, "kind": kind, "name": "mail"}
            for api_version, kind in (
                ("../v1", "Service"),
                ("v1/../..", "Service"),
                ("v1", f"../{victim.namespace}/secrets"),
                ("v1?watch=true", "Service"),
                ("apps/v1/../..", "Deployment"),
                ("v1.x", "Service"),
            )
        ]
        for number, ref in enumerate(refs):
            shop.subscribe(f"mail-{number}", subscriber={"ref": ref})
        for number in range(len(refs)):
            until(partial(_is_unresolved, shop, f"mail-{number}"))
            assert shop.told(f"mail-{number}")["Resolved"] in {
                "Malformed",
                "SubscriberResolveFailed",
            }

    await asyncio.to_thread(work)
    assert not [each for each in asked if is_elsewhere(each) or "v1.x" in each]


@pytest.fixture
def with_controllers(
    kubernetes_with_controllers: KubernetesServer, tmp_path: Path
) -> Iterator[KubernetesServer]:
    """Run the provisioner and the garbage collector."""
    server = kubernetes_with_controllers
    process, serving = ProvisionerProcess(server, tmp_path / "log"), ServingStandIn(server)
    process.start()
    serving.start()
    yield server
    serving.stop()
    process.stop()


def test_a_namespace_with_such_names_can_be_deleted(
    with_controllers: KubernetesServer, unique_name: str
) -> None:
    server, shop = with_controllers, Shop(with_controllers, unique_name)
    path = f"/api/v1/namespaces/{unique_name}"
    server.create("/api/v1/namespaces", {"metadata": {"name": unique_name}})
    shop.create()
    for number, text in enumerate(("../../kube-system/channels/x", "?watch=true", "#")):
        name = f"mail-{number}"
        shop.subscribe(name)
        shop.subscribed(name)
        status = {"status": {"channelName": text}}
        server.patch(f"{shop.subscriptions}/{name}/status", status)
        entries = [*shop.entries(), entry_of(text, f"no-name-{number}")]
        change = {"spec": {"subscribable": {"subscribers": entries}}}
        server.patch(f"{shop.channels}/orders", change)
    server.delete(path)
    namespaces = "/api/v1/namespaces"
    until(
        lambda: unique_name not in {e["metadata"]["name"] for e in server.get(namespaces)["items"]},
        60.0,
    )
