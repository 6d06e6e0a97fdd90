"""Breaks things on purpose, records when, and waits until all is well again.

The modules of faults say what can be broken; ``tests.faults.episode`` chooses which of it, and in
which order.
"""

import asyncio
import contextlib
import enum
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tests.faults.debts import Debts
from tests.faults.history import FaultBegan, FaultEnded, History
from tests.faults.system import System

_ON_TIME = 1.5
"""Seconds after which an accepted event has arrived everywhere if all is well, and without a
refusal.
"""

_LATEST = 3.0
"""The second fault of a strike begins at most so many seconds after the first."""


class Part(enum.Flag):
    """The part of a system that a fault breaks."""

    DISPATCHER = enum.auto()
    SERVER = enum.auto()
    CONNECTION = enum.auto()
    SUBSCRIBER = enum.auto()
    WANTED = enum.auto()
    CLOCK = enum.auto()


class Doubles(enum.Enum):
    """Whether a fault excuses duplicates.

    A dispatcher knows what it has delivered, whatever server and connection do. Its successor does
    not.
    """

    NEVER = enum.auto()
    IF_TAKEN_OVER = enum.auto()  # by another dispatcher, if there is one
    UNLESS_ALONE = (
        enum.auto()
    )  # it informs its successor through the server, if that can be reached
    ALWAYS = enum.auto()


@dataclass(frozen=True)
class Fault:
    """One way to break something.

    Attributes:
        name: Its name in the table of figures.
        touches: What it breaks; two faults at the same time touch different parts.
        run: Breaks it, and returns when the cause is gone.
        doubles: Whether it excuses duplicates.
    """

    name: str
    touches: Part
    run: Callable[[System, random.Random], Awaitable[None]]
    doubles: Doubles = Doubles.NEVER

    def may_double(self, dispatchers: int, at_once: int) -> bool:
        """Return whether it excuses duplicates, with so many dispatchers and faults at once."""
        match self.doubles:
            case Doubles.IF_TAKEN_OVER:
                return dispatchers > 1
            case Doubles.UNLESS_ALONE:
                return at_once > 1
            case _:
                return self.doubles is Doubles.ALWAYS


class Nemesis:
    """Strikes a system.

    Args:
        system: The system to break.
        history: The history of the system; records the faults.
        seed: Gives faults their own random numbers, however long the others take.
    """

    def __init__(self, system: System, history: History, seed: str) -> None:
        self._system = system
        self._history = history
        self._seed = seed
        self._debts = Debts(history)
        self._number = 0
        self._strikes = 0

    async def strike(self, *faults: Fault) -> None:
        """Break these at the same time; return when everything runs again.

        Raises:
            NotApplied, ProcessFailed, ServerFailed: something does not run, or the fault had no
                effect.
        """
        self._strikes += 1
        dispatchers = self._system.setup.dispatchers
        running = []
        for place, fault in enumerate(faults):
            self._number += 1
            began = FaultBegan(
                at=0.0,
                fault=fault.name,
                number=self._number,
                strike=self._strikes,
                may_double=fault.may_double(dispatchers, len(faults)),
            )
            running.append(self._run(fault, began, place))
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if outcome is not None:
                raise outcome
        await self._system.ready()

    async def recover(self) -> None:
        """Wait until events are accepted again, and those due have arrived.

        Not for ever: what never arrives shows at the end of the run.
        """
        now = time.monotonic()
        await self._wait(
            lambda: self._debts.is_accepting(now, _ON_TIME) and self._debts.are_settled(_ON_TIME)
        )

    async def settle(self) -> None:
        """Wait until every accepted event has arrived, but not for ever."""
        await self._wait(lambda: self._debts.are_settled(0.0))

    async def _run(self, fault: Fault, began: FaultBegan, place: int) -> None:
        history = self._history
        chance = random.Random(f"{self._seed} {began.number} {fault.name}")
        await asyncio.sleep(place * chance.uniform(0.0, _LATEST))
        history.add(replace(began, at=time.monotonic()))
        await fault.run(self._system, chance)
        history.add(FaultEnded(at=time.monotonic(), number=began.number))

    async def _wait(self, holds: Callable[[], bool]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._system.setup.patience):
                while not holds():  # noqa: ASYNC110  it is read from what is noted
                    await asyncio.sleep(0.25)
