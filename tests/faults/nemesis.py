"""Breaks things on purpose, notes when, and waits until all is well again.

What can be broken is in the modules of faults; which of it, and in which order, is chosen by
``tests.faults.episode``.
"""

import asyncio
import contextlib
import enum
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults.debts import Debts
from tests.faults.history import FaultBegan, FaultEnded
from tests.faults.system import System

_ON_TIME = 1.5
"""Seconds after which an accepted event has arrived everywhere when all is well, and for which none
was refused."""

RECOVERY_SECONDS = 45.0
"""After so long without recovery the run goes on; what is lost shows at its end."""


class Part(enum.Flag):
    """Of a system: what a fault breaks."""

    DISPATCHER = enum.auto()
    SERVER = enum.auto()
    CONNECTION = enum.auto()
    SUBSCRIBER = enum.auto()
    WANTED = enum.auto()
    CLOCK = enum.auto()


@dataclass(frozen=True)
class Fault:
    """One way to break something.

    Attributes:
        name: As in the table of figures.
        touches: What it breaks; two faults at once touch different things.
        run: Breaks it, and returns when the cause is gone.
    """

    name: str
    touches: Part
    run: Callable[[System, random.Random], Awaitable[None]]


class Nemesis:
    """Strikes a system.

    Args:
        system: That is to be broken.
        seed: Faults have their own random numbers by it, however long the others take.
    """

    def __init__(self, system: System, seed: str) -> None:
        self._system = system
        self._seed = seed
        self._debts = Debts(system.history)
        self._number = 0
        self._strikes = 0

    async def strike(self, *faults: Fault) -> None:
        """Break these at once; return when everything runs again.

        Raises:
            NotApplied, ProcessFailed, ServerFailed: it does not, or was not impressed.
        """
        self._strikes += 1
        running = []
        for fault in faults:
            self._number += 1
            running.append(self._run(fault, self._number))
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if outcome is not None:
                raise outcome
        await self._system.ready()

    async def recover(self) -> None:
        """Wait until events are accepted again, and have arrived that should have by now."""
        now = time.monotonic()
        await _wait(
            lambda: self._debts.is_accepting(now, _ON_TIME) and self._debts.are_settled(_ON_TIME),
            RECOVERY_SECONDS,
        )

    async def settle(self, seconds: float) -> None:
        """Wait until every accepted event has arrived, but not for ever."""
        await _wait(lambda: self._debts.are_settled(0.0), seconds)

    async def _run(self, fault: Fault, number: int) -> None:
        history = self._system.history
        chance = random.Random(f"{self._seed} {number} {fault.name}")
        history.add(
            FaultBegan(at=time.monotonic(), fault=fault.name, number=number, strike=self._strikes)
        )
        await fault.run(self._system, chance)
        history.add(FaultEnded(at=time.monotonic(), number=number))


async def _wait(holds: Callable[[], bool], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110  it is read from what is noted
                await asyncio.sleep(0.25)
