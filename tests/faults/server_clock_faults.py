"""The server's clock is stepped while events flow: by milliseconds, by seconds, by hours.

While it runs the server does not let the timestamps of a channel decrease: they stand still until
the clock has caught up. If it is restarted meanwhile, they do decrease, as with another leader in a
cluster. And redelivery waits by this clock (``tests.support.test_shifted_server``).
"""

import asyncio
from random import Random

from tests.faults.desired_faults import remake
from tests.faults.nemesis import Doubles, Fault, Part
from tests.faults.process_faults import kill_dispatcher
from tests.faults.subscriber_faults import victim
from tests.faults.subscribers import Trouble
from tests.faults.system import System

_HOUR = 3600.0
_WRONG = (0.5, 2.0)
"""Seconds that the clock is wrong."""

_UNDER_WAY, _COPIED = 0.5, 1.5
"""Seconds until events are under way, and until their copies have come; attempts may take longer.
"""


async def step(system: System, chance: Random) -> None:
    """Step there and back, while events of a subscriber wait for redelivery."""
    endpoint = victim(system, chance)
    endpoint.be(Trouble.REFUSING)
    system.shift_server(_amount(chance))
    await asyncio.sleep(chance.uniform(*_WRONG))
    system.shift_server(0.0)
    await asyncio.sleep(chance.uniform(*_WRONG))
    endpoint.be(Trouble.NONE)


async def step_and_restart(system: System, chance: Random) -> None:
    """Step back, and right again, each while the server is down: then timestamps decrease.

    Copies come of what a subscriber has refused before, and of what is under way to it since.
    """
    endpoint = victim(system, chance)
    endpoint.be(Trouble.REFUSING)
    await asyncio.sleep(chance.uniform(*_WRONG))
    await _restart(system, -abs(_amount(chance)))
    endpoint.be(Trouble.NONE)
    await system.ready()
    await asyncio.sleep(chance.uniform(*_WRONG))
    endpoint.be(Trouble.HUNG)
    await asyncio.sleep(_UNDER_WAY)
    system.proxy.cut()
    await asyncio.sleep(_COPIED)
    endpoint.be(Trouble.NONE)
    await _restart(system, 0.0)


async def _restart(system: System, seconds: float) -> None:
    await system.server.kill()
    system.shift_server(seconds)
    await system.server.start()


async def step_and_kill(system: System, chance: Random) -> None:
    """Kill the dispatcher, so that a new one reads what another clock has stored."""
    system.shift_server(_amount(chance))
    await kill_dispatcher(system, chance)
    system.shift_server(0.0)
    await kill_dispatcher(system, chance)


async def step_and_remake(system: System, chance: Random) -> None:
    """Hand one durable over to another, each begun by another clock."""
    system.shift_server(_amount(chance))
    await remake(system, chance)
    await asyncio.sleep(chance.uniform(*_WRONG))
    system.shift_server(0.0)
    await remake(system, chance)


def _amount(chance: Random) -> float:
    """Return the seconds that the clock is ahead."""
    size = chance.choice((0.05, chance.uniform(1.0, 30.0), chance.uniform(1.0, 3.0) * _HOUR))
    return chance.choice((-1, 1)) * size


SERVER_CLOCK_FAULTS = (
    Fault(
        "server clock: steps there and back",
        Part.CLOCK | Part.SERVER | Part.SUBSCRIBER,
        step,
    ),
    Fault(
        "server clock: steps, server restarted",
        Part.CLOCK | Part.SERVER | Part.SUBSCRIBER | Part.CONNECTION,
        step_and_restart,
        Doubles.IF_TAKEN_OVER,
    ),
    Fault(
        "server clock: steps, dispatcher killed",
        Part.CLOCK | Part.SERVER | Part.DISPATCHER,
        step_and_kill,
        Doubles.ALWAYS,
    ),
    Fault(
        "server clock: steps, subscriber made anew",
        Part.CLOCK | Part.SERVER | Part.WANTED,
        step_and_remake,
    ),
)
"""For runs whose ``clocks`` can be moved."""
