"""Blocking calls that the end of the process does not wait for."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_daemon_thread(name: str, function: Callable[[], T]) -> asyncio.Future[T]:
    """Run a blocking call in a thread of its own, for what may hang and cannot be interrupted.

    Neither cancelling the future nor the end of the loop or the interpreter waits for the thread,
    unlike threads of ``loop.run_in_executor`` and of libuv. Use those for work that must not be cut
    off. The caller bounds how many threads run at once.

    Args:
        name: Name of the thread.
        function: Called in it.

    Raises:
        OSError: The system allows no more threads.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if outcome.done():  # cancelled
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]  # T may be None as well

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody needs the outcome
            loop.call_soon_threadsafe(settle, result, failure)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # what Python raises for a refused thread
        raise OSError(f"no thread for {name}: {error}") from error
    return outcome
