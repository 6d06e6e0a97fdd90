"""A subscriber in a pod: takes events on port 8080 and knows how often each has come.

``python subscriber.py quick`` answers each with an event of its own, ``answer-<id>``;
``python subscriber.py flaky`` takes a while, and refuses every fourth when it comes first;
``python subscriber.py audit`` just takes them;
``python subscriber.py closed`` refuses all until it is told to take them.

On port 9000 ``GET /received?run=NAME`` tells the number of times by id, for the ids that have the
name of the run in them, and ``POST /open`` and ``POST /close`` whether events are taken.
"""

import asyncio
import sys
from collections import Counter

from aiohttp import web

HEADERS = {"Ce-Source": "/end-to-end/quick", "Ce-Type": "order.taken", "Ce-Specversion": "1.0"}


class Subscriber:
    """Takes events in the way of its kind."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._received: Counter[str] = Counter()
        self._count = 0
        self._is_open = kind != "closed"

    async def open(self, _: web.Request) -> web.Response:
        self._is_open = True
        return web.json_response({})

    async def close(self, _: web.Request) -> web.Response:
        self._is_open = False
        return web.json_response({})

    async def take(self, request: web.Request) -> web.Response:
        await request.read()
        if not self._is_open:
            return web.Response(status=503)
        event = request.headers["Ce-Id"]
        self._count += 1
        if self._kind == "flaky":
            await asyncio.sleep(0.02)
            if self._count % 4 == 0 and event not in self._received:
                return web.Response(status=503)
        self._received[event] += 1
        if self._kind == "quick":
            return web.json_response({}, headers={**HEADERS, "Ce-Id": f"answer-{event}"})
        return web.Response(status=202)

    async def tell(self, request: web.Request) -> web.Response:
        run = request.query["run"]
        return web.json_response({k: n for k, n in self._received.items() if f"{run}-" in k})


async def serve(kind: str) -> None:
    subscriber = Subscriber(kind)
    of_tests = [
        web.get("/received", subscriber.tell),
        web.post("/open", subscriber.open),
        web.post("/close", subscriber.close),
    ]
    for port, routes in ((8080, [web.post("/", subscriber.take)]), (9000, of_tests)):
        application = web.Application()
        application.router.add_routes(routes)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, port=port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
