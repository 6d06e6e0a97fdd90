"""Divides long work into turns of the event loop, so that events never wait for it."""

import asyncio
from time import perf_counter

_MOST_PIECES = 50
_MOST_SECONDS = 0.005
"""For one turn: adding a subscriber takes 0.1 ms, and a machine may be ten times as slow."""


class Turns:
    """The turns of one piece of work, which begins when this is made.

    Args:
        pieces: After so many pieces others get their turn, or earlier if the time is up.
    """

    __slots__ = ("_began", "_done", "_pieces")

    def __init__(self, pieces: int = _MOST_PIECES) -> None:
        self._pieces = pieces
        self._done = 0
        self._began = perf_counter()

    async def piece_done(self) -> None:
        """End a turn if it is time to.

        Call it after each piece; what was true before may have changed when it returns.
        """
        self._done += 1
        if self._done >= self._pieces or perf_counter() - self._began >= _MOST_SECONDS:
            await self.over()

    async def over(self) -> None:
        """Let others have their turn now."""
        await asyncio.sleep(0)
        self._done = 0
        self._began = perf_counter()
