"""The API refuses, loses answers, closes watches and forgets: all is reconciled all the same.

Through a proxy before the real API server, in one process that never ends meanwhile.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.natss_provisioner.conftest import Shop, provisioner_behind
from tests.natss_provisioner.wholeness import is_whole
from tests.support.faulty_api import FaultyApi, Forward, Rule, cut, is_watch, pass_on, refusal
from tests.support.kubernetes import KubernetesServer, until
from tests.support.provisioner_process import ProvisionerProcess

OWN_KUBERNETES = True

PATIENCE = 40.0
CHANNELS = {f"c{number}" for number in range(6)}
SUBSCRIPTIONS = {f"s{number}" for number in range(6)}


@pytest.fixture
async def provisioner(
    kubernetes: KubernetesServer, api: FaultyApi, tmp_path: Path
) -> AsyncIterator[ProvisionerProcess]:
    """Run a provisioner through ``api``; it must not have ended by itself."""
    process = await provisioner_behind(api, kubernetes, tmp_path)
    await asyncio.to_thread(process.start)
    yield process
    api.rule = pass_on
    assert await asyncio.to_thread(process.stop) == 0, process.end_of_log()


def one_in_ten(answer: web.Response | None) -> Rule:
    """Answer one request in ten so instead of doing it; without an answer, do it and cut it off."""
    dice = random.Random(4)

    async def rule(request: web.Request, forward: Forward) -> web.StreamResponse:
        if is_watch(request) or dice.random() > 0.1:
            return await forward()
        if answer is None:
            await forward()
            cut(request)
            return web.Response()
        return again(answer)

    return rule


def again(answer: web.Response) -> web.Response:
    """Return a copy of an answer, because each can be sent only once."""
    return web.Response(status=answer.status, body=answer.body, headers={**answer.headers})


async def work_goes_on(shop: Shop) -> None:
    """Create, change and delete Channels and Subscriptions."""

    def work() -> None:
        for name in sorted(CHANNELS):
            shop.create(name)
        for name, channel in zip(sorted(SUBSCRIPTIONS), sorted(CHANNELS), strict=True):
            shop.subscribe(name, channel)
            shop.subscribe(f"{name}-gone", channel)
        until(lambda: len(shop.kubernetes.get(shop.services)["items"]) == len(CHANNELS), PATIENCE)
        shop.kubernetes.delete(shop.path_of(shop.service("c0")))
        wrong = {"spec": {"externalName": "elsewhere.example"}}
        shop.kubernetes.patch(shop.path_of(shop.service("c1")), wrong)
        for name in SUBSCRIPTIONS:
            shop.kubernetes.delete(f"{shop.subscriptions}/{name}-gone")
        until(lambda: is_whole(shop, CHANNELS, SUBSCRIPTIONS), PATIENCE)
        until(lambda: shop.service("c1")["spec"]["externalName"].startswith("natss-"), PATIENCE)

    await asyncio.to_thread(work)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "answer",
    [
        refusal(401, "Unauthorized"),
        refusal(409, "Conflict"),
        refusal(429, "TooManyRequests", **{"Retry-After": "1"}),
        refusal(500, "InternalError"),
        web.Response(status=502, text="no Kubernetes here"),
        None,
    ],
    ids=["401", "409", "429", "500", "garbage", "lost"],
)
async def test_one_request_in_ten_fails(
    shop: Shop, api: FaultyApi, provisioner: ProvisionerProcess, answer: web.Response | None
) -> None:
    api.rule = one_in_ten(answer)
    await work_goes_on(shop)


def error_event(code: int) -> bytes:
    status = f'{{"kind": "Status", "code": {code}, "reason": "x", "message": "by the test"}}'
    return f'{{"type": "ERROR", "object": {status}}}\n'.encode()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "answer",
    [
        refusal(410, "Expired"),
        web.Response(body=error_event(410), content_type="application/json"),
        web.Response(body=error_event(500), content_type="application/json"),
        web.Response(body=b'{"type": "ADDED", "obj', content_type="application/json"),
        web.Response(body=b"", content_type="application/json"),
    ],
    ids=["410", "410-event", "500-event", "half-an-event", "closed"],
)
async def test_no_watch_lives(
    shop: Shop, api: FaultyApi, provisioner: ProvisionerProcess, answer: web.Response
) -> None:
    async def rule(request: web.Request, forward: Forward) -> web.StreamResponse:
        if not is_watch(request):
            return await forward()
        return again(answer)

    api.rule = rule
    api.cut_watches()
    await work_goes_on(shop)


async def test_watches_are_cut_all_the_time(
    shop: Shop, api: FaultyApi, provisioner: ProvisionerProcess
) -> None:
    working = asyncio.create_task(work_goes_on(shop))
    while not working.done():
        api.cut_watches()
        await asyncio.wait((working,), timeout=0.3)
    await working


@pytest.mark.parametrize("answer", [refusal(401, "Unauthorized"), refusal(403, "Forbidden"), None])
async def test_for_a_while_nothing_is_allowed(
    shop: Shop, api: FaultyApi, provisioner: ProvisionerProcess, answer: web.Response | None
) -> None:
    """A token that is refused before there is a newer one; a missing role; an API that is away."""

    async def rule(request: web.Request, forward: Forward) -> web.StreamResponse:
        if answer is None:
            cut(request)
            return web.Response()
        return again(answer)

    await asyncio.to_thread(until, lambda: provisioner.readiness()["ready"], PATIENCE)
    working = asyncio.create_task(work_goes_on(shop))
    api.rule = rule
    api.cut_watches()
    await asyncio.to_thread(until, lambda: not provisioner.readiness()["ready"], PATIENCE)
    api.rule = pass_on
    await working
    await asyncio.to_thread(until, lambda: provisioner.readiness()["ready"], PATIENCE)


@pytest.mark.timeout(90)
async def test_requests_that_hang_hold_nothing_up_for_long(
    shop: Shop, api: FaultyApi, provisioner: ProvisionerProcess
) -> None:
    counted = itertools.count()
    hung: list[web.Request] = []

    async def rule(request: web.Request, forward: Forward) -> web.StreamResponse:
        is_spared = is_watch(request) or "leases" in request.path
        if is_spared or len(hung) == 3 or next(counted) % 10:
            return await forward()
        hung.append(request)
        await asyncio.Event().wait()
        raise AssertionError

    api.rule = rule
    await work_goes_on(shop)
    assert len(hung) == 3
