"""Waits of tests, each with an end: until a change is reported, or by polling where none is."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


class Changes:
    """Notified of every change, so that waiters look again then, and not by the clock."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def note(self) -> None:
        """Have all waiters look again."""
        self._event.set()

    async def until(self, condition: Callable[[], Any], timeout: float = 45.0) -> None:
        """Wait until the condition holds; check it now and after each change."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._event.clear()
                await self._event.wait()


async def eventually(look: Callable[[], Any], timeout: float = 45.0, *, every: float = 0.05) -> Any:
    """Ask until the answer is true, and return it.

    For what cannot be awaited, such as what only monitoring shows.

    Args:
        look: A function, or a coroutine function.
        timeout: Seconds until TimeoutError.
        every: Seconds between two looks.
    """
    async with asyncio.timeout(timeout):
        while True:
            seen = look()
            if inspect.isawaitable(seen):
                seen = await seen
            if seen:
                return seen
            await asyncio.sleep(every)


def poll(
    look: Callable[[], Any],
    seconds: float,
    *,
    is_not_yet: Callable[[Exception], bool],
    every: float = 0.02,
) -> Any:
    """Return what ``look`` gives once that is true; ``eventually`` for tests that block.

    Args:
        look: Asks another program.
        seconds: Seconds until it must be true.
        is_not_yet: Returns whether to go on after an error of ``look``; others are raised.
        every: Seconds between two looks.

    Raises:
        AssertionError: It is not true in time; the text has what was seen last.
    """
    deadline = time.monotonic() + seconds
    while True:
        trouble: Exception | None = None
        try:
            seen = look()
        except Exception as error:
            if not is_not_yet(error):
                raise
            seen, trouble = None, error
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds} s; last seen: {seen!r} {trouble!r}")
        time.sleep(every)
