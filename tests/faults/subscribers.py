"""Subscribers of a run: HTTP servers that answer by their nature, or worse when broken."""

import asyncio
import enum
import random
import time
from collections.abc import Mapping, Sequence
from typing import cast

from aiohttp import web

from tests.faults.events import is_intact
from tests.faults.history import NO_ANSWER, Notes, Received
from tests.support.servers import free_port

_DYING = 0.01
"""In seconds; 0 would mean for ever."""


class Nature(enum.Enum):
    """How a subscriber answers when all is well."""

    QUICK = "quick"
    SLOW = "slow"
    FLAKY = "flaky"  # fails a tenth of what it receives, in several ways
    FALTERING = "faltering"  # fails a hundredth
    DOWN = "down"  # nothing ever listens there


_FAILURES: Mapping[Nature, tuple[float, Sequence[int]]] = {
    Nature.FLAKY: (0.1, (NO_ANSWER, 429, 500, 503)),
    Nature.FALTERING: (0.01, (503,)),
}
"""Share of requests, and how these are answered."""


class Trouble(enum.Enum):
    """What may be wrong with a subscriber besides its nature."""

    NONE = "none"
    REFUSING = "refusing"
    HUNG = "hung"


class Endpoint:
    """Listens on 127.0.0.1, and on the same port again after ``stop``.

    The path of a request names the subscription, so that one endpoint can serve several.

    Args:
        name: Part of the addresses in the history.
        nature: How it answers.
        history: Records every request.
        chance: Makes slow and flaky subscribers irregular.
    """

    def __init__(self, name: str, nature: Nature, history: Notes, chance: random.Random) -> None:
        self.name = name
        self.nature = nature
        self.port = 0
        self._history = history
        self._chance = chance
        self._trouble = Trouble.NONE
        self._is_well = asyncio.Event()
        self._is_well.set()
        self._handling: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    def url(self, subscription: str) -> str:
        return f"http://127.0.0.1:{self.port}/{subscription}"

    def address(self, subscription: str) -> str:
        """Return the address as in the history."""
        return f"{self.name}/{subscription}"

    async def start(self) -> None:
        if self.nature is Nature.DOWN:
            self.port = free_port()
            return
        app = web.Application(client_max_size=2**20)
        app.router.add_post("/{subscription}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=_DYING
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop as a killed process does: its connections end, and new ones are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for task in tuple(self._handling):  # of connections that the other side has left
            task.cancel()
        if self._handling:
            await asyncio.wait(self._handling)
        self.be(Trouble.NONE)

    def be(self, trouble: Trouble) -> None:
        """Have this trouble from now on; answer requests that hung when it is over."""
        self._trouble = trouble
        if trouble is Trouble.HUNG:
            self._is_well.clear()
        else:
            self._is_well.set()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        at = time.monotonic()
        status = NO_ANSWER
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._handling.add(task)
        try:
            status = await self._status()
        finally:
            self._handling.discard(task)
            subscription = request.match_info["subscription"]
            self._history.add(
                Received(
                    at=at,
                    event=request.headers.get("Ce-Id", ""),
                    subscription=subscription,
                    address=self.address(subscription),
                    status=status,
                    answered_at=time.monotonic(),
                    intact=is_intact(request.headers, body),
                )
            )
        if status == NO_ANSWER and request.transport is not None:
            request.transport.abort()
        return web.Response(status=status or 500)

    async def _status(self) -> int:
        await self._is_well.wait()
        if self._trouble is Trouble.REFUSING:
            return 503
        if self.nature is Nature.SLOW:
            await asyncio.sleep(self._chance.uniform(0.02, 0.2))
        share, failures = _FAILURES.get(self.nature, (0.0, ()))
        if failures and self._chance.random() < share:
            return self._chance.choice(failures)
        return 200
