"""The demo's subscribers: small HTTP servers that record which events reached them."""

import asyncio
import itertools
from collections import Counter

from aiohttp import web


class Subscriber:
    """Receives events on a port of its own.

    Args:
        name: That of its Subscription.
        channel: The channel that it subscribes to.
        delivered_one: Set at every delivery.
        delay: Seconds until it answers.
        fails_every: Each request of this number fails; 0 for none.

    Attributes:
        delivered: How often it accepted each event, by id. A failed request does not count.
    """

    def __init__(
        self,
        name: str,
        channel: str,
        delivered_one: asyncio.Event,
        *,
        delay: float = 0.0,
        fails_every: int = 0,
    ) -> None:
        self.name = name
        self.channel = channel
        self.delivered: Counter[str] = Counter()
        self.port = 0
        self._delivered_one = delivered_one
        self._delay = delay
        self._fails_every = fails_every
        self._requests = itertools.count(1)
        app = web.Application()
        app.router.add_post("/", self._receive)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    @property
    def duplicates(self) -> int:
        return self.delivered.total() - len(self.delivered)

    async def _receive(self, request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(self._delay)
        number = next(self._requests)
        if self._fails_every and number % self._fails_every == 0:
            if number % 2 and request.transport is not None:
                request.transport.abort()  # not even an answer
            return web.Response(status=503)
        self.delivered[request.headers["Ce-Id"]] += 1
        self._delivered_one.set()
        return web.Response(status=202)
