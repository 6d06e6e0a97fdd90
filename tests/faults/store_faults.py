"""The server's store fails or is lost."""

import asyncio
import resource
import sys
import time
from random import Random

from tests.faults.history import Wiped
from tests.faults.nemesis import Doubles, Fault, Part
from tests.faults.system import System

_FULL_SECONDS = 15.0
"""Seconds until the server has noticed that its disk is full."""


async def wipe(system: System, chance: Random) -> None:
    """Wipe the store, as an empty volume would: sessions, positions and events are gone."""
    await system.server.kill()
    system.server.wipe()
    system.history.add(Wiped(at=time.monotonic()))
    await asyncio.sleep(chance.uniform(0.0, 3.0))
    await system.server.start()


async def fill_disk(system: System, chance: Random) -> None:
    """Let the server write a few KB more to any file; then it panics, as for ENOSPC.

    A limit of the process does it, since a separate small file system takes root.
    """
    server = system.server
    largest = max(file.stat().st_size for file in server.store_directory.rglob("*.dat"))
    limit = largest + chance.randint(1_000, 20_000)
    if sys.platform == "linux":
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    async with asyncio.timeout(_FULL_SECONDS):
        while server.is_running:  # noqa: ASYNC110  a thread waits for it
            await asyncio.sleep(0.05)
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    await server.kill()
    await server.start()


STORE_FAULTS = (
    Fault("server: SIGKILL, store wiped", Part.SERVER, wipe, Doubles.IF_TAKEN_OVER),
    *(
        (Fault("server: disk full", Part.SERVER, fill_disk, Doubles.IF_TAKEN_OVER),)
        if sys.platform == "linux"
        else ()
    ),
)
"""Only Linux can limit a running process, so elsewhere no disk is full."""
