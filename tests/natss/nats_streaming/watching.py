"""What a connection tells and what a subscription delivers, to be awaited instead of polled."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import natss.nats_streaming as ns
from tests.support.waiting import Changes


class Watched:
    """The events of a connection; ``take`` is its ``on_event``."""

    def __init__(self) -> None:
        self.events: list[ns.ConnectionEvent] = []
        self._changes = Changes()

    def take(self, event: ns.ConnectionEvent) -> None:
        self.events.append(event)
        self._changes.note()

    @property
    def states(self) -> list[ns.ConnectionState]:
        return [event.new for event in self.events if isinstance(event, ns.StateChanged)]

    async def until(self, *states: ns.ConnectionState, timeout: float = 15) -> None:
        """Wait until these states have come in turn, since the beginning or ``forget``."""
        count = len(states)
        await self.until_true(
            lambda: any(
                tuple(self.states[start : start + count]) == states
                for start in range(len(self.states))
            ),
            timeout,
        )

    async def until_true(self, check: Callable[[], bool], timeout: float = 15) -> None:
        """Wait until something is true; check it with each event."""
        await self._changes.until(check, timeout)

    def forget(self) -> None:
        self.events.clear()


class Received:
    """A handler that keeps what it got, and acks it if told to."""

    def __init__(self, *, ack: bool = True) -> None:
        self.messages: list[ns.Message] = []
        self.ack = ack
        self._changes = Changes()

    def __call__(self, message: ns.Message) -> None:
        self.messages.append(message)
        if self.ack:
            message.ack()
        self._changes.note()

    @property
    def sequences(self) -> list[int]:
        return [message.sequence for message in self.messages]

    async def until(self, count: int, timeout: float = 10) -> None:
        """Wait until so many have come, copies included."""
        await self._changes.until(lambda: len(self.messages) >= count, timeout)


Connect = Callable[..., Awaitable[tuple[ns.Connection, Watched]]]
"""See the fixture ``connect``."""


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
