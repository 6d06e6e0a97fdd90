"""Whether the server still knows the session: pings at their own pace, whatever else goes on.

An answer is a verdict. No answer is none: the server may be starting, and bring the session back.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable

from natss.nats_streaming.errors import NoResponders, NotConnected, ServerUnavailable, SessionLost


class LivenessVerdict(enum.Enum):
    ALIVE = "alive"
    UNANSWERED = "unanswered"
    NOBODY_LISTENS = "nobody listens"
    """So NATS says: no server of NATS Streaming runs just now."""


class Liveness:
    """Asks after a session; ``run`` is to be a task of its own.

    Args:
        interval: between pings, in seconds.
        ping: asks once; raises as ``requests.ping``.
        on_verdict: is told what came of each ping, unless it was SessionLost.
        on_lost: is told of that.
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
        """Does not wait for the next turn."""
        self._now.set()

    async def run(self) -> None:
        """Until the session is lost, or it is cancelled."""
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
