"""Whether the server still knows the session: pings at their own pace, whatever else goes on.

An answer is a verdict. Silence is none: the server may be starting, and may bring the session back.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable

from natss.nats_streaming.errors import NoResponders, NotConnected, ServerUnavailable, SessionLost


class LivenessVerdict(enum.Enum):
    ALIVE = "alive"
    UNANSWERED = "unanswered"
    NOBODY_LISTENS = "nobody listens"
    """NATS reports it: no server of NATS Streaming runs at the moment."""


class Liveness:
    """Pings for a session; ``run`` is to be a task of its own.

    Args:
        interval: between pings, in seconds.
        ping: sends one ping; raises as ``requests.ping``.
        on_verdict: called with the outcome of each ping, unless that was SessionLost.
        on_lost: called with SessionLost.
    """

    def __init__(
        self,
        interval: float,
        ping: Callable[[], Awaitable[None]],
        on_verdict: Callable[[LivenessVerdict], None],
        on_lost: Callable[[SessionLost], None],
    ) -> None:
        self._interval = interval
        self._ping = ping
        self._on_verdict = on_verdict
        self._on_lost = on_lost
        self._now = asyncio.Event()
        self.last_answer = asyncio.get_running_loop().time()
        """When the server last answered, by the clock of the event loop (monotonic, s)."""

    def ask_now(self) -> None:
        """Ping now instead of at the next interval."""
        self._now.set()

    async def run(self) -> None:
        """Ping until the session is lost or the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._now.wait()
            except TimeoutError:
                pass
            self._now.clear()
            try:
                await self._ping()
            except SessionLost as error:
                self._on_lost(error)
                return
            except NotConnected:
                continue
            except NoResponders:
                self._on_verdict(LivenessVerdict.NOBODY_LISTENS)
            except ServerUnavailable:
                self._on_verdict(LivenessVerdict.UNANSWERED)
            else:
                self.last_answer = loop.time()
                self._on_verdict(LivenessVerdict.ALIVE)
