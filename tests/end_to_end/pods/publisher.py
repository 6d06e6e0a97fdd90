"""A publisher in a pod: posts events to a channel until it is told to stop, and knows each answer.

On port 9000 ``POST /start?run=NAME&url=URL`` begins, ``POST /stop`` ends it, and ``GET /`` looks.
Each answers with what became of the events of the run: the ids of those that were answered 202, and
for the others why not. It never sends one twice.

Half of its workers keep their connection, as most publishers do, and half make a new one for each
event, which is how a name that leads elsewhere is noticed.
"""

import asyncio
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

WORKERS = 8
PAUSE = 0.05
SECONDS = 15.0


@dataclass
class Run:
    """What one run has sent."""

    name: str
    url: str
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    is_over: bool = False

    def report(self) -> web.Response:
        return web.json_response({"accepted": self.accepted, "refused": self.refused})


class Publisher:
    """Posts to the URL of a run as long as that lasts."""

    def __init__(self) -> None:
        self._run = Run("none", "")
        self._working: list[asyncio.Task[None]] = []

    async def start(self, request: web.Request) -> web.Response:
        await self._end()
        run = self._run = Run(request.query["run"], request.query["url"])
        self._working = [asyncio.create_task(self._work(run, n)) for n in range(WORKERS)]
        return run.report()

    async def stop(self, _: web.Request) -> web.Response:
        await self._end()
        return self._run.report()

    async def look(self, _: web.Request) -> web.Response:
        return self._run.report()

    async def _end(self) -> None:
        """End each worker after the answer that it waits for."""
        self._run.is_over = True
        await asyncio.gather(*self._working)
        self._working = []

    async def _work(self, run: Run, worker: int) -> None:
        connector = aiohttp.TCPConnector(limit=1, force_close=worker % 2 == 1, ttl_dns_cache=1)
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        count = 0
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not run.is_over:
                count += 1
                event = f"{run.name}-{worker}-{count}"
                problem = await self._post(session, run.url, event)
                if problem is None:
                    run.accepted.append(event)
                else:
                    run.refused[event] = problem
                await asyncio.sleep(PAUSE)

    async def _post(self, session: aiohttp.ClientSession, url: str, event: str) -> str | None:
        """Post an event; return why it was not accepted, if so."""
        headers = {
            "Ce-Id": event,
            "Ce-Source": "/end-to-end",
            "Ce-Type": "order.created",
            "Ce-Specversion": "1.0",
        }
        try:
            async with session.post(url, json={"order": event}, headers=headers) as answer:
                return None if answer.status == 202 else f"{answer.status} {await answer.text()}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{type(error).__name__} {error}"


def main() -> None:
    publisher = Publisher()
    application = web.Application()
    application.router.add_post("/start", publisher.start)
    application.router.add_post("/stop", publisher.stop)
    application.router.add_get("/", publisher.look)
    web.run_app(application, port=9000)


if __name__ == "__main__":
    main()
