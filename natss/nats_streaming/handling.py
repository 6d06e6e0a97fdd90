"""Calls a subscription's handler: at once if it is a plain function, one at a time if it awaits.

Acks each message that was handled without an exception, unless the handler acks itself. While a
message waits or is in work, its copies are dropped, so no more messages wait than the server may
have in flight.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from natss.nats_streaming.message import Message

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 1.0
"""How long a cancelled handler may take to end; after that nobody waits for it."""

Handler = Callable[[Message], Awaitable[None] | None]

Identity = tuple[int, int]


class Handling:
    """The part between a subscription and its handler.

    Args:
        handler: the user's function.
        ack: called with the sequence of each handled message; None if the handler acks.
        name: name of the task that awaits the handler.
    """

    def __init__(self, handler: Handler, ack: Callable[[int], None] | None, name: str) -> None:
        self._handler = handler
        self._ack = ack
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._in_work: Identity | None = None
        self._waiting: dict[Identity, Message] = {}

    def handle(self, message: Message) -> None:
        """Handle the message now, or when those before it are done."""
        if self._task is not None:
            identity = (message.sequence, message.timestamp)
            if identity != self._in_work:
                self._waiting.setdefault(identity, message)
            return
        awaitable = self._call(message)
        if awaitable is not None:
            self._in_work = (message.sequence, message.timestamp)
            self._task = asyncio.get_running_loop().create_task(
                self._work(message, awaitable), name=self._name
            )

    def drop_waiting(self) -> None:
        """Forget the messages that wait; a server that has the subscription sends them again."""
        self._waiting.clear()

    async def finish(self, timeout: float, caller: asyncio.Task[Any] | None) -> None:
        """Wait for what is in work, unless that is the caller; cancel it after ``timeout`` (s)."""
        self.drop_waiting()
        task = self._task
        if task is None or task is caller:
            return
        await asyncio.wait((task,), timeout=timeout)
        task.cancel()
        _, running = await asyncio.wait((task,), timeout=CANCEL_SECONDS)
        if running:
            logger.error("the %s does not end when it is cancelled", self._name)

    def _call(self, message: Message) -> Awaitable[None] | None:
        """Call the handler; return what is to be awaited, None if the message is handled."""
        try:
            awaitable = self._handler(message)
        except Exception:
            self._log_failure(message)
            return None
        if awaitable is None and self._ack is not None:
            self._ack(message.sequence)
        return awaitable

    async def _work(self, message: Message, awaitable: Awaitable[None] | None) -> None:
        try:
            while awaitable is not None:
                try:
                    await awaitable
                except Exception:
                    self._log_failure(message)
                else:
                    if self._ack is not None:
                        self._ack(message.sequence)
                awaitable = None
                while self._waiting and awaitable is None:
                    self._in_work = next(iter(self._waiting))
                    message = self._waiting.pop(self._in_work)
                    awaitable = self._call(message)
        finally:
            self._task = self._in_work = None

    def _log_failure(self, message: Message) -> None:
        again = "" if self._ack is None else "; without ack it comes again"
        logger.exception(  # noqa: LOG004 - both callers are exception handlers
            "the handler failed for message %d%s", message.sequence, again
        )
