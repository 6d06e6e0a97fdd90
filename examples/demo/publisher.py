"""The demo's publisher: posts CloudEvents and repeats what was not answered with 202."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator

import aiohttp


class Publisher:
    """Posts events to the channels in turn, each until it is accepted.

    Args:
        url: That of the dispatcher.
        hosts: The hosts by channel: the Host header says which channel is meant.
        on_accepted: Called for every event that was answered 202.
    """

    def __init__(self, url: str, hosts: dict[str, str], on_accepted: Callable[[], None]) -> None:
        self.attempts = 0
        self.accepted: dict[str, set[str]] = {channel: set() for channel in hosts}
        self._url = url
        self._hosts = hosts
        self._on_accepted = on_accepted

    async def publish(self, events: int, per_second: float, at_once: int = 8) -> None:
        """Post so many events to each channel, at about this pace."""
        work = iter([(channel, n) for n in range(events) for channel in self._hosts])
        pause = at_once / per_second
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for number in range(at_once):
                group.create_task(self._work_on(work, session, pause), name=f"publisher {number}")

    async def _work_on(
        self, work: Iterator[tuple[str, int]], session: aiohttp.ClientSession, pause: float
    ) -> None:
        for channel, number in work:  # shared by all: each takes the next event
            await self._publish(session, channel, f"{channel}-{number}")
            await asyncio.sleep(pause)

    async def _publish(self, session: aiohttp.ClientSession, channel: str, event_id: str) -> None:
        headers = {
            "Host": self._hosts[channel],
            "Content-Type": "application/json",
            "Ce-Specversion": "1.0",
            "Ce-Id": event_id,
            "Ce-Source": "/demo",
            "Ce-Type": f"demo.{channel}",
        }
        body = json.dumps({"event": event_id})
        for attempt in itertools.count():
            if attempt:
                await asyncio.sleep(0.1)
            if await self._is_accepted(session, headers, body):
                break
        self.accepted[channel].add(event_id)
        self._on_accepted()

    async def _is_accepted(
        self, session: aiohttp.ClientSession, headers: dict[str, str], body: str
    ) -> bool:
        self.attempts += 1
        try:
            async with session.post(self._url, data=body, headers=headers) as response:
                return response.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False  # it may or may not be stored, so it is posted again
