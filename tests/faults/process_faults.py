"""Dispatcher and server die, end, or stand still."""

import asyncio
from random import Random

from tests.faults.nemesis import Doubles, Fault, Part
from tests.faults.system import System

_AWAY = (0.0, 3.0)
"""Seconds that a process is away."""

_FROZEN = (0.3, 8.0)
"""Seconds that a process is paused: from a hiccup to longer than the server waits for heartbeats.
"""


async def kill_dispatcher(system: System, chance: Random) -> None:
    dispatcher = chance.choice(system.dispatchers)
    await dispatcher.kill()
    await asyncio.sleep(chance.uniform(*_AWAY))
    await dispatcher.launch()


async def stop_dispatcher(system: System, chance: Random) -> None:
    """Stop a dispatcher, as a rolling update does."""
    dispatcher = chance.choice(system.dispatchers)
    await dispatcher.stop()
    await asyncio.sleep(chance.uniform(*_AWAY))
    await dispatcher.launch()


async def freeze_dispatcher(system: System, chance: Random) -> None:
    dispatcher = chance.choice(system.dispatchers)
    dispatcher.pause()
    await asyncio.sleep(chance.uniform(*_FROZEN))
    dispatcher.resume()


async def kill_server(system: System, chance: Random) -> None:
    await system.server.kill()
    await asyncio.sleep(chance.uniform(*_AWAY))
    await system.server.start()


async def restart_server(system: System, chance: Random) -> None:
    await system.server.stop()
    await asyncio.sleep(chance.uniform(*_AWAY))
    await system.server.start()


async def freeze_server(system: System, chance: Random) -> None:
    system.server.pause()
    await asyncio.sleep(chance.uniform(*_FROZEN))
    system.server.resume()


PROCESS_FAULTS = (
    Fault("dispatcher: SIGKILL", Part.DISPATCHER, kill_dispatcher, Doubles.ALWAYS),
    Fault("dispatcher: SIGTERM", Part.DISPATCHER, stop_dispatcher, Doubles.UNLESS_ALONE),
    Fault("dispatcher: SIGSTOP, SIGCONT", Part.DISPATCHER, freeze_dispatcher, Doubles.ALWAYS),
    Fault("server: SIGKILL", Part.SERVER, kill_server, Doubles.IF_TAKEN_OVER),
    Fault("server: SIGTERM", Part.SERVER, restart_server, Doubles.IF_TAKEN_OVER),
    Fault("server: SIGSTOP, SIGCONT", Part.SERVER, freeze_server, Doubles.IF_TAKEN_OVER),
)
