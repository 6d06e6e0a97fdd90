"""Shared by programs that run for an hour and print their results."""

import asyncio
import signal
import sys
from collections.abc import Coroutine


def tell(text: str) -> None:
    """Print at once, also into a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def interruptible(work: Coroutine[None, None, bool], name: str) -> bool:
    """Run the work and end as tidily on SIGTERM as on Ctrl-C, with CancelledError."""
    task = asyncio.create_task(work, name=name)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task
