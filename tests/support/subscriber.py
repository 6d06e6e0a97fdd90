"""A real HTTP subscriber for tests: records what it receives and answers as the test says."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from tests.support.waiting import Changes


@dataclass(frozen=True, slots=True)
class Received:
    """A delivery as it arrived; ``at`` in monotonic seconds."""

    id: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    target: str
    """Path and query, word for word."""


Answer = Callable[[Received], Awaitable[web.Response]]


def status(code: int) -> Answer:
    """Answer with this status, at once."""

    async def answer(_: Received) -> web.Response:
        return web.Response(status=code)

    return answer


def slow(seconds: float) -> Answer:
    """Answer 200 after a delay, as a working subscriber does."""

    async def answer(_: Received) -> web.Response:
        await asyncio.sleep(seconds)
        return web.Response()

    return answer


def when(released: asyncio.Event) -> Answer:
    """Answer 200 once the test says so."""

    async def answer(_: Received) -> web.Response:
        await released.wait()
        return web.Response()

    return answer


class Subscriber:
    """Listens on 127.0.0.1; keeps its port when it is stopped and started again."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer or status(200)
        self.received: list[Received] = []
        self.counts: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0
        self._changes = Changes()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def duplicates(self) -> int:
        return sum(self.counts.values()) - len(self.counts)

    async def start(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # 0.0 would mean no timeout: a handler that never answers would be awaited for ever.
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections from now on."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        event = Received(
            request.headers.get("Ce-Id", ""),
            request.headers,
            body,
            time.monotonic(),
            request.raw_path,
        )
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._changes.note()
        try:
            response = await self.answer(event)
        finally:
            self.in_flight -= 1
        self.received.append(event)
        if 200 <= response.status < 300:
            self.counts[event.id] += 1
        self._changes.note()
        return response

    async def wait_until(self, condition: Callable[[], bool], timeout: float = 45.0) -> None:
        """Wait until the condition holds; check it when an event arrives or is answered."""
        await self._changes.until(condition, timeout)

    async def wait_for_events(self, count: int, timeout: float = 45.0) -> None:
        """Wait until so many different events have been answered with 2xx."""
        await self.wait_until(lambda: len(self.counts) >= count, timeout)
