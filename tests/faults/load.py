"""Publishers of a run: they post events at a pace of their own, whatever the outcome."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from tests.faults import events
from tests.faults.history import NO_ANSWER, Answered, Notes, Posted
from tests.support.channel_files import host

ANSWER_SECONDS = 20.0
"""Seconds after which a publisher gives up; the dispatchers answer much sooner."""

_AT_ONCE = 64
"""Posts of one publisher that may wait for their answers."""


@dataclass(frozen=True)
class Pace:
    """How much is posted."""

    publishers: int = 4
    per_second: float = 60.0
    """Events of all publishers together."""


class Load:
    """Several publishers at once.

    No event is posted twice: a duplicate was made by the dispatcher.

    Args:
        history: Records every post and answer.
        channels: Returns the channels to post to in turn, at each call.
        dispatchers: Returns their URLs, at each call.
        pace: How much is posted.
        chance: For the times between posts.
    """

    def __init__(
        self,
        history: Notes,
        channels: Callable[[], Sequence[str]],
        dispatchers: Callable[[], Sequence[str]],
        pace: Pace,
        chance: random.Random,
    ) -> None:
        self._history = history
        self._channels = channels
        self._dispatchers = dispatchers
        self._pace = pace
        self._chance = chance
        self._stop = asyncio.Event()
        self._posts: set[asyncio.Task[None]] = set()
        self._publishers: list[asyncio.Task[None]] = []
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            connector=aiohttp.TCPConnector(limit=0),
        )
        self._publishers = [
            asyncio.create_task(self._publish(f"p{number}", self._http), name=f"publisher {number}")
            for number in range(self._pace.publishers)
        ]

    async def stop(self) -> None:
        """Post no more, and wait for the answers that are still to come."""
        self._stop.set()
        await asyncio.gather(*self._publishers)
        await asyncio.gather(*self._posts)
        if self._http is not None:
            await self._http.close()

    async def _publish(self, name: str, http: aiohttp.ClientSession) -> None:
        under_way: set[asyncio.Task[None]] = set()
        mean = self._pace.publishers / self._pace.per_second
        number = 0
        while not self._stop.is_set():
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * mean)
            if len(under_way) >= _AT_ONCE:
                continue
            number += 1
            channels = self._channels()
            channel = channels[number % len(channels)]
            event = events.event_id(name, number, channel)
            task = asyncio.create_task(self._post(http, event, number), name=f"post {event}")
            for tasks in (under_way, self._posts):
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def _post(self, http: aiohttp.ClientSession, event: str, number: int) -> None:
        urls = self._dispatchers()
        index = number // len(self._channels()) % len(urls)
        channel = events.channel_of(event)
        self._history.add(
            Posted(at=time.monotonic(), event=event, channel=channel, dispatcher=index)
        )
        headers = {"Host": host(channel), **events.headers(event)}
        status = NO_ANSWER
        try:
            async with http.post(urls[index], data=events.body(event), headers=headers) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            pass
        self._history.add(Answered(at=time.monotonic(), event=event, status=status))
