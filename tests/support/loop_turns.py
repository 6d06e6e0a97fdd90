"""Measures how long the turns of an event loop are.

A callback that asks for the next turn in each one measures what all others took in between. It
works on any event loop, and keeps it from ever sleeping.
"""

import asyncio
import time
from types import TracebackType
from typing import Self


class LoopTurns:
    """Measures the turns between entering and leaving; the loop runs at full speed meanwhile.

    Attributes:
        longest_cpu: CPU seconds of the loop's thread in its busiest turn: other processes do not
            count.
        longest: Seconds that the longest turn took.
        cpu: CPU seconds of the loop's thread in all turns that did more than nothing.
    """

    def __init__(self) -> None:
        self.longest_cpu = 0.0
        self.longest = 0.0
        self.cpu = 0.0
        self._cpu = self._at = 0.0
        self._handle: asyncio.Handle | None = None

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0)
        self._loop = asyncio.get_running_loop()
        self._cpu, self._at = time.thread_time(), time.perf_counter()
        self._handle = self._loop.call_soon(self._turn)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._note()
        if self._handle is not None:
            self._handle.cancel()

    def _turn(self) -> None:
        self._note()
        self._handle = self._loop.call_soon(self._turn)

    def _note(self) -> None:
        cpu, at = time.thread_time(), time.perf_counter()
        self.longest_cpu = max(self.longest_cpu, cpu - self._cpu)
        self.longest = max(self.longest, at - self._at)
        if cpu - self._cpu > _IDLE:
            self.cpu += cpu - self._cpu
        self._cpu, self._at = cpu, at


_IDLE = 0.0005
