"""What programs have in common that run for an hour and print what came of it."""

import asyncio
import signal
import sys
from collections.abc import Coroutine


def tell(text: str) -> None:
    """Print at once, also into a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def interruptible(work: Coroutine[None, None, bool], name: str) -> bool:
    """Ended by SIGTERM as tidily as by Ctrl-C: CancelledError comes out of it."""
    task = asyncio.create_task(work, name=name)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task
