"""The work for one namespace delays no other one, however long it takes."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from natss_provisioner.settings import ProvisionerSettings
from tests.natss_provisioner.conftest import Shop, provisioner_behind, reference
from tests.support.faulty_api import FaultyApi, Forward, cut
from tests.support.kubernetes import KubernetesServer

BAD_CHANNELS = 60


@pytest.fixture
def other(kubernetes: KubernetesServer, unique_name: str) -> Shop:
    name = f"other-{unique_name}"
    kubernetes.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return Shop(kubernetes, name)


class Holding:
    """A rule: requests for Subscriptions of one namespace are never answered.

    Attributes:
        held: How many requests were held until now, those included that were given up.
        some: Set as soon as there are any.
    """

    def __init__(self, namespace: str) -> None:
        self.held = 0
        self.some = asyncio.Event()
        self._part = f"/namespaces/{namespace}/subscriptions/"

    async def __call__(self, request: web.Request, forward: Forward) -> web.StreamResponse:
        if self._part not in request.path:
            return await forward()
        self.held += 1
        self.some.set()
        await asyncio.Event().wait()
        cut(request)
        return web.Response()


@pytest.fixture
async def held(
    kubernetes: KubernetesServer, api: FaultyApi, shop: Shop, tmp_path: Path
) -> AsyncIterator[Holding]:
    """Run a provisioner whose requests for the shop's Subscriptions are held from the start."""
    holding = Holding(shop.namespace)
    api.rule = holding
    process = await provisioner_behind(api, kubernetes, tmp_path)
    await asyncio.to_thread(process.start)
    yield holding
    await asyncio.to_thread(process.stop)


@pytest.mark.timeout(240)
async def test_bad_channels_of_one_namespace_do_not_delay_a_new_channel_of_another(
    shop: Shop, other: Shop, held: Holding
) -> None:
    """The measure is how much is done in between, not the time that it takes."""
    for number in range(BAD_CHANNELS):
        ref = reference("Subscription", f"nobody-{number}")
        entry = {"uid": f"nobody-{number}", "ref": ref, "subscriberURI": "http://mail.x/"}
        subscribable = {"subscribers": [entry]}
        spec = {"provisioner": {"name": "natss"}, "subscribable": subscribable}
        await asyncio.to_thread(partial(shop.create, f"bad-{number}", **spec))
    await held.some.wait()
    before = held.held
    await asyncio.to_thread(other.create)
    await asyncio.to_thread(partial(other.ready, seconds=150.0))
    assert before <= ProvisionerSettings().workers
    # A round more, in case that those before had been given up meanwhile; there are 60 to be done.
    assert held.held <= 2 * ProvisionerSettings().workers
