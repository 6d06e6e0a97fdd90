"""What a connection tells and what a subscription delivers, to be awaited instead of polled."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import natss.nats_streaming as ns


class Watched:
    """The events of a connection; ``take`` is its ``on_event``."""

    def __init__(self) -> None:
        self.events: list[ns.ConnectionEvent] = []
        self._news = asyncio.Event()

    def take(self, event: ns.ConnectionEvent) -> None:
        self.events.append(event)
        self._news.set()

    @property
    def states(self) -> list[ns.ConnectionState]:
        return [event.new for event in self.events if isinstance(event, ns.StateChanged)]

    async def until(self, *states: ns.ConnectionState, timeout: float = 15) -> None:
        """Until these states have come one after the other, since the beginning or ``forget``."""
        count = len(states)
        await self.until_true(
            lambda: any(
                tuple(self.states[start : start + count]) == states
                for start in range(len(self.states))
            ),
            timeout,
        )

    async def until_true(self, check: Callable[[], bool], timeout: float = 15) -> None:
        """Until something is true; it is looked at with each event."""
        async with asyncio.timeout(timeout):
            while not check():
                self._news.clear()
                await self._news.wait()

    def forget(self) -> None:
        self.events.clear()


class Received:
    """A handler that keeps what it got, and acks it if told to."""

    def __init__(self, *, ack: bool = True) -> None:
        self.messages: list[ns.Message] = []
        self.ack = ack
        self._news = asyncio.Event()

    def __call__(self, message: ns.Message) -> None:
        self.messages.append(message)
        if self.ack:
            message.ack()
        self._news.set()

    @property
    def sequences(self) -> list[int]:
        return [message.sequence for message in self.messages]

    async def until(self, count: int, timeout: float = 10) -> None:
        """Until so many came, copies included."""
        async with asyncio.timeout(timeout):
            while len(self.messages) < count:
                self._news.clear()
                await self._news.wait()


Connect = Callable[..., Awaitable[tuple[ns.Connection, Watched]]]
"""See the fixture ``connect``."""


async def eventually(check: Callable[[], Awaitable[Any]], timeout: float = 10) -> Any:
    """The first true answer; for what only the server's monitoring can tell."""
    async with asyncio.timeout(timeout):
        while not (answer := await check()):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
        return answer


async def no_responders(connection: ns.Connection, channel: str) -> ns.NoResponders:
    """Publish until NATS answers that nobody listens, which it may learn late of a killed server.

    Args:
        connection: Made with a ``publish_timeout`` of a second or so: what goes to the dead server
            in between is not answered.
        channel: Where to.
    """
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ns.PublishTimeout):
                try:
                    await connection.publish(channel, b"")
                except ns.NoResponders as error:
                    return error
