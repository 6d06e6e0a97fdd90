"""The connection between dispatchers and server breaks, in the ways that networks have."""

import asyncio
from random import Random

from tests.faults.nemesis import Doubles, Fault, Part
from tests.faults.system import System

_SHORT = (0.5, 3.0)
"""Seconds: the session outlives it."""

_LONG = (6.0, 9.0)
"""Seconds: the server has given up every client."""


async def cut(system: System, chance: Random) -> None:
    """Cut connections several times, as a bad cable does."""
    for _ in range(chance.randint(1, 4)):
        system.proxy.cut()
        await asyncio.sleep(chance.uniform(0.0, 0.5))


async def refuse(system: System, chance: Random) -> None:
    system.proxy.refuse()
    await asyncio.sleep(chance.uniform(*_SHORT))
    system.proxy.release()


async def hold(system: System, chance: Random) -> None:
    """Hold connections; what was sent meanwhile comes through afterwards."""
    system.proxy.hold()
    await asyncio.sleep(chance.uniform(*_SHORT))
    system.proxy.release()


async def expire(system: System, chance: Random) -> None:
    """Hold connections until the server forgets the sessions and sets the durables aside."""
    system.proxy.hold()
    await asyncio.sleep(chance.uniform(*_LONG))
    system.proxy.release()


async def drop_to_dispatcher(system: System, chance: Random) -> None:
    """Drop what the server sends: events are stored, and their PubAcks are lost."""
    system.proxy.drop_to_client()
    await asyncio.sleep(chance.uniform(*_SHORT))
    system.proxy.cut()
    system.proxy.release()


async def drop_to_server(system: System, chance: Random) -> None:
    """Drop what the dispatcher sends: events still come, and acks are lost."""
    system.proxy.drop_to_server()
    await asyncio.sleep(chance.uniform(*_SHORT))
    system.proxy.cut()
    system.proxy.release()


async def strand(system: System, _: Random) -> None:
    """Leave the present connections dead without notice."""
    system.proxy.strand()
    await asyncio.sleep(0)


async def delay(system: System, chance: Random) -> None:
    system.proxy.delay(chance.uniform(0.05, 0.7))
    await asyncio.sleep(chance.uniform(2.0, 5.0))
    system.proxy.release()


async def slow_down(system: System, chance: Random) -> None:
    """Slow down to less than is posted."""
    system.proxy.limit(chance.randint(5_000, 30_000))
    await asyncio.sleep(chance.uniform(2.0, 5.0))
    system.proxy.release()


NETWORK_FAULTS = (
    Fault("connection: cut", Part.CONNECTION, cut, Doubles.IF_TAKEN_OVER),
    Fault("connection: refused", Part.CONNECTION, refuse, Doubles.IF_TAKEN_OVER),
    Fault("connection: held", Part.CONNECTION, hold, Doubles.IF_TAKEN_OVER),
    Fault(
        "connection: held until the client record has expired",
        Part.CONNECTION,
        expire,
        Doubles.IF_TAKEN_OVER,
    ),
    Fault(
        "connection: half-open, nothing to the dispatcher",
        Part.CONNECTION,
        drop_to_dispatcher,
        Doubles.IF_TAKEN_OVER,
    ),
    Fault(
        "connection: half-open, nothing to the server",
        Part.CONNECTION,
        drop_to_server,
        Doubles.IF_TAKEN_OVER,
    ),
    Fault("connection: half-open for good", Part.CONNECTION, strand, Doubles.IF_TAKEN_OVER),
    Fault("connection: delayed", Part.CONNECTION, delay, Doubles.IF_TAKEN_OVER),
    Fault("connection: slow", Part.CONNECTION, slow_down, Doubles.IF_TAKEN_OVER),
)
