"""A provisioner that is killed at each step of its work: the next one finishes it, once.

Afterwards there must be no Service twice, no finalizer that stays, and everything ready.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from tests.natss_provisioner.conftest import Shop, provisioner_behind
from tests.natss_provisioner.wholeness import is_whole
from tests.support.faulty_api import FaultyApi, Forward, pass_on
from tests.support.kubernetes import KubernetesServer, until
from tests.support.provisioner_process import ProvisionerProcess

OWN_KUBERNETES = True

PATIENCE = 20.0


@pytest.fixture
async def provisioner(
    kubernetes: KubernetesServer, api: FaultyApi, tmp_path: Path
) -> AsyncIterator[ProvisionerProcess]:
    """Return a provisioner for the test to start; it reaches the API through ``api``."""
    process = await provisioner_behind(api, kubernetes, tmp_path)
    yield process
    api.rule = pass_on
    await asyncio.to_thread(process.kill)


@dataclass(frozen=True)
class Write:
    """One write of the provisioner: the first that matches."""

    method: str
    path: str
    """A pattern."""

    body: str = ""
    """A pattern, of something in it."""

    async def fits(self, request: web.Request) -> bool:
        if request.method != self.method or not re.search(self.path, request.path):
            return False
        return re.search(self.body, await request.text()) is not None


class Hold:
    """Holds one write for ever, before the API does it or before its answer comes back."""

    def __init__(self, write: Write, *, done: bool) -> None:
        self.reached = asyncio.Event()
        self._write = write
        self._done = done

    async def __call__(self, request: web.Request, forward: Forward) -> web.StreamResponse:
        if self.reached.is_set() or not await self._write.fits(request):
            return await forward()
        self.reached.set()
        if self._done:
            await forward()
        await asyncio.Event().wait()
        raise AssertionError


SERVICE = Write("POST", "/services$")
EVENT = Write("POST", "/events$")
STATUS = Write("PATCH", "/channels/orders/status$")
FINALIZER = Write("PATCH", "/subscriptions/mail$", "subscription-controller")
ENTRY = Write("PATCH", "/channels/orders$", "subscribers")
SUBSCRIPTION_STATUS = Write("PATCH", "/subscriptions/mail/status$")
RELEASE = Write("PATCH", "/subscriptions/mail$", r'"finalizers":\[\]')


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "write",
    [SERVICE, EVENT, STATUS, FINALIZER, ENTRY, SUBSCRIPTION_STATUS],
    ids=["service", "event", "status", "finalizer", "entry", "subscription-status"],
)
async def test_while_something_is_made(
    shop: Shop, api: FaultyApi, provisioner: ProvisionerProcess, write: Write, done: bool
) -> None:
    hold = Hold(write, done=done)
    api.rule = hold
    await asyncio.to_thread(provisioner.start)
    await asyncio.to_thread(shop.create)
    await asyncio.to_thread(shop.subscribe)
    await kill_at(hold, provisioner)
    await restart(api, provisioner)
    await asyncio.to_thread(until, lambda: is_whole(shop, {"orders"}, {"mail"}), PATIENCE)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", [ENTRY, RELEASE], ids=["entry", "finalizer"])
async def test_while_something_is_deleted(
    shop: Shop, api: FaultyApi, provisioner: ProvisionerProcess, write: Write, done: bool
) -> None:
    await asyncio.to_thread(provisioner.start)
    for make in (shop.create, shop.subscribe, lambda: shop.subscribe("stays")):
        await asyncio.to_thread(make)
    whole = {"mail", "stays"}
    await asyncio.to_thread(until, lambda: is_whole(shop, {"orders"}, whole), PATIENCE)
    hold = Hold(write, done=done)
    api.rule = hold
    await asyncio.to_thread(shop.kubernetes.delete, f"{shop.subscriptions}/mail")
    await kill_at(hold, provisioner)
    await restart(api, provisioner)
    await asyncio.to_thread(until, lambda: is_whole(shop, {"orders"}, {"stays"}), PATIENCE)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_while_a_service_is_put_right(
    shop: Shop, api: FaultyApi, provisioner: ProvisionerProcess, done: bool
) -> None:
    await asyncio.to_thread(provisioner.start)
    await asyncio.to_thread(shop.create)
    await asyncio.to_thread(until, lambda: is_whole(shop, {"orders"}, set()), PATIENCE)
    right = shop.service()
    hold = Hold(Write("PATCH", "/services/"), done=done)
    api.rule = hold
    wrong = {"spec": {"externalName": "elsewhere.example"}}
    await asyncio.to_thread(shop.kubernetes.patch, shop.path_of(right), wrong)
    await kill_at(hold, provisioner)
    await restart(api, provisioner)
    await asyncio.to_thread(until, lambda: shop.service()["spec"] == right["spec"], PATIENCE)
    assert shop.service()["metadata"]["uid"] == right["metadata"]["uid"]


@pytest.mark.timeout(120)
async def test_in_the_middle_of_200_channels(
    shop: Shop, api: FaultyApi, provisioner: ProvisionerProcess
) -> None:
    names = {f"c{number:03}" for number in range(200)}
    await asyncio.to_thread(provisioner.start)

    def create_all() -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(shop.create, sorted(names)))

    creating = asyncio.create_task(asyncio.to_thread(create_all))
    for number in (20, 70, 150):
        await asyncio.to_thread(until, has_services(shop, number), 60.0)
        await asyncio.to_thread(provisioner.kill)
        await asyncio.to_thread(provisioner.start)
    await creating
    await asyncio.to_thread(until, lambda: is_whole(shop, names, set()), 60.0)


def has_services(shop: Shop, number: int) -> Callable[[], bool]:
    return lambda: len(shop.kubernetes.get(shop.services)["items"]) >= number


async def kill_at(hold: Hold, provisioner: ProvisionerProcess) -> None:
    async with asyncio.timeout(PATIENCE):
        await hold.reached.wait()
    await asyncio.to_thread(provisioner.kill)


async def restart(api: FaultyApi, provisioner: ProvisionerProcess) -> None:
    api.rule = pass_on
    await asyncio.to_thread(provisioner.start)
