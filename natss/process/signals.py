"""Ends the process when operators or Kubernetes ask for it."""

import asyncio
import os
import signal
from collections.abc import Callable


def on_termination(stop: Callable[[], object]) -> None:
    """Call ``stop`` at the first SIGTERM or SIGINT; a second one ends the process at once.

    Args:
        stop: Called in the running event loop; begins the orderly end.
    """
    is_stopping = False

    def end(number: signal.Signals) -> None:
        nonlocal is_stopping
        if is_stopping:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        is_stopping = True
        stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
