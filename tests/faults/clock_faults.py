"""The wall clock of the dispatchers jumps, and so differs from the server's."""

import asyncio
from random import Random

from tests.faults.nemesis import Doubles, Fault, Part
from tests.faults.process_faults import kill_dispatcher
from tests.faults.store_faults import wipe
from tests.faults.system import System
from tests.support.shifted_server import set_shift

_HOUR = 3600.0


async def jump(system: System, chance: Random) -> None:
    """Jump there and back, as when a wrong time server is believed for a while."""
    _move(system, chance)
    await asyncio.sleep(chance.uniform(0.5, 3.0))
    set_shift(system.setup.clock, 0.0)


async def jump_and_kill(system: System, chance: Random) -> None:
    """Kill a dispatcher, so that what it has written by one clock is read by another."""
    _move(system, chance)
    await asyncio.sleep(chance.uniform(0.0, 1.0))
    await kill_dispatcher(system, chance)
    set_shift(system.setup.clock, 0.0)


async def jump_and_wipe(system: System, chance: Random) -> None:
    """Wipe the store: every durable is new to the server then, and starts at a time."""
    _move(system, chance)
    await wipe(system, chance)
    set_shift(system.setup.clock, 0.0)


def _move(system: System, chance: Random) -> None:
    set_shift(system.setup.clock, chance.choice((-1, 1)) * chance.uniform(5.0, 2 * _HOUR))


CLOCK_FAULTS = (
    Fault("clock: jumps there and back", Part.CLOCK, jump),
    Fault(
        "clock: jumps, dispatcher killed",
        Part.CLOCK | Part.DISPATCHER,
        jump_and_kill,
        Doubles.ALWAYS,
    ),
    Fault(
        "clock: jumps, store wiped", Part.CLOCK | Part.SERVER, jump_and_wipe, Doubles.IF_TAKEN_OVER
    ),
)
"""For runs whose ``clocks`` can be moved."""
