"""An event loop whose time passes only when there is nothing to do, and then at once."""

import asyncio
import contextlib
import selectors
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")

_EPOCH = 1_800_000_000.0
"""What ``time.time`` gives at the beginning of each walk."""


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def epoch(self) -> float:
        return _EPOCH + self.now


class _Selector(selectors.SelectSelector):
    """Waits for nothing: there is no input or output, only timers."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing is left that could ever happen")
        self._clock.now += max(0.0, timeout)
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: _Clock) -> None:
        super().__init__(_Selector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it in virtual time; ``time.monotonic`` and ``time.time`` follow."""
    clock = _Clock()
    loop = _Loop(clock)
    try:
        with _patched(clock):
            try:
                return loop.run_until_complete(work)
            finally:  # what is left would be ended in the middle of another loop's work
                loop.run_until_complete(_end(asyncio.all_tasks(loop)))
    finally:
        loop.close()


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _patched(clock: _Clock) -> Iterator[None]:
    with (
        mock.patch.object(time, "monotonic", clock.monotonic),
        mock.patch.object(time, "time", clock.epoch),
    ):
        yield
