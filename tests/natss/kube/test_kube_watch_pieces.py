"""Whatever comes of a watch is told at once, in whatever pieces it comes and however slow we are.

The HTTP client stops reading while much is unread, and goes on where it was. What it kept meanwhile
must not lie there until the server says something more, which may be half an hour later.
"""

import asyncio
import random
from contextlib import aclosing

import kopf
import pytest

from natss.kube import KubeClient, Resource
from tests.natss.kube.watch_server import WatchServer, told
from tests.support.event_loops import BOTH
from tests.support.waiting import Changes

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
EVENT_LOOPS = BOTH

PATIENCE = 20.0
"""Seconds; what does not come by itself does not come later either."""


class Reader:
    """Reads a watch, and nothing while it is held."""

    def __init__(self, client: KubeClient) -> None:
        self.last = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self._changes = Changes()
        self._task = asyncio.create_task(self._read(client), name="read")

    async def until(self, number: int) -> None:
        await self._changes.until(lambda: self.last >= number, PATIENCE)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _read(self, client: KubeClient) -> None:
        async with aclosing(client.watch(CONFIG_MAPS, "0", seconds=3600)) as events:
            async for event in events:
                await self.goes_on.wait()
                number = int(event["object"]["metadata"]["resourceVersion"])
                assert number == self.last + 1
                self.last = number
                self._changes.note()


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_kept_until_more_comes(seed: int) -> None:
    draws = random.Random(seed)
    async with WatchServer(seed) as server:
        info = kopf.ConnectionInfo(server=server.url)
        client = KubeClient(lambda: info, field_manager="tests")
        reader = Reader(client)
        await server.is_asked.wait()
        number = 0
        for _ in range(10):
            count = draws.choice((1, 2, 5, 50, 300, 300))
            size = draws.choice((10, 1800, 2400) if count > 5 else (10, 30_000, 600_000, 1_400_000))
            lines = b"".join(told(number + each, size) for each in range(1, count + 1))
            number += count
            telling = asyncio.create_task(server.tell(lines), name="tell")
            if draws.random() < 0.5:  # as much as goes is sent before any of it is read
                reader.goes_on.clear()
                await asyncio.wait([telling], timeout=0.3)
                reader.goes_on.set()
            await reader.until(number)
            await telling
        await reader.close()
        await client.close()
