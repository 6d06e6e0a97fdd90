"""Two dispatchers want one client id, and with it every durable."""

import asyncio
from random import Random

from tests.faults.nemesis import Doubles, Fault, Part
from tests.faults.system import System


async def take_over(system: System, chance: Random) -> None:
    """Start a second dispatcher that takes over the client id when the first dies, and end it."""
    first = chance.choice(system.dispatchers)
    rival = system.add_dispatcher()
    await rival.start()
    await first.kill()
    await asyncio.sleep(chance.uniform(0.5, 4.0))
    await first.launch()
    await first.wait_ready()
    await rival.stop()
    system.dispatchers.remove(rival)


async def fight(system: System, chance: Random) -> None:
    """Pause the delivering dispatcher until it has lost the client id without knowing."""
    rival = system.add_dispatcher()
    await rival.start()
    for _ in range(chance.randint(1, 3)):
        champion = await system.delivering() or rival
        champion.pause()
        await asyncio.sleep(chance.uniform(0.6, 3.0))
        champion.resume()
        await asyncio.sleep(chance.uniform(0.0, 2.0))
    await (rival.stop() if chance.random() < 0.5 else rival.kill())
    system.dispatchers.remove(rival)


RIVAL_FAULTS = (
    Fault("dispatchers: a second one takes over", Part.DISPATCHER, take_over, Doubles.ALWAYS),
    Fault("dispatchers: two fight for the client id", Part.DISPATCHER, fight, Doubles.ALWAYS),
)
