"""A dispatcher process that tests post to, change and observe."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.channel_files import host, write_documents
from tests.support.dispatcher_process import DispatcherProcess
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually


class ObservedDispatcher(DispatcherProcess):
    """Posts by channel name; reads log, status and admin pages.

    Args:
        server: Where events are stored.
        channels: The file with Channels and Subscriptions; the log lies beside it.
        flags: Further flags, as for the command.
    """

    def __init__(
        self, server: NatsStreamingServer, channels: Path, flags: Sequence[str] = ()
    ) -> None:
        log = channels.with_name("dispatcher.log")
        flags = ("--log-format=json", *flags)
        super().__init__(channels, server.url, server.cluster_id, log, flags)
        self._http: aiohttp.ClientSession | None = None

    @property
    def http(self) -> aiohttp.ClientSession:
        """The session, which keeps connections alive; close it with ``close_http``."""
        if self._http is None:
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))
        return self._http

    async def close_http(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    def rewrite(self, *documents: Mapping[str, Any]) -> None:
        """Change the desired channels."""
        write_documents(self.channels, *documents)

    def entries(self) -> list[dict[str, Any]]:
        """Return what was logged, also by former processes."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def wait_for_log(self, event: str, *, where: str = "") -> dict[str, Any]:
        """Return the first entry that begins with ``event`` and has ``where`` in a field."""
        found: list[dict[str, Any]] = []

        async def is_logged() -> bool:
            found[:] = [
                entry
                for entry in self.entries()
                if str(entry["event"]).startswith(event) and where in str(entry)
            ]
            return bool(found)

        await eventually(is_logged)
        return found[0]

    async def post(self, channel_name: str, event_id: str, body: bytes = b"{}") -> int:
        """Post one event; return the status of the answer, 0 if there was none."""
        return await self.post_to_host(host(channel_name), event_id, body)

    async def post_to_host(self, name: str, event_id: str, body: bytes = b"{}") -> int:
        """Post one event by the host of a channel; return the status of the answer, 0 for none."""
        headers = {
            "Host": name,
            "Content-Type": "application/json",
            "Ce-Id": event_id,
            "Ce-Source": "/tests",
            "Ce-Type": "test",
            "Ce-Specversion": "1.0",
        }
        try:
            async with self.http.post(self.url, data=body, headers=headers) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def post_many(self, channel_name: str, ids: Sequence[str], body: bytes = b"{}") -> None:
        """Post events at once, each of which must be answered with 202."""
        answers = await asyncio.gather(*(self.post(channel_name, i, body) for i in ids))
        assert set(answers) == {202}, f"answers: {set(answers)}"

    async def admin(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        async with self.http.get(url) as response:
            return response.status, await response.text()

    async def subscription(self, name: str) -> dict[str, Any]:
        """Return what ``/status`` says about a subscription, by ``namespace/name``."""
        for channel_status in (await self.status())["channels"]:
            for entry in channel_status["subscriptions"]:
                if entry["subscription"] == name:
                    found: dict[str, Any] = entry
                    return found
        raise AssertionError(f"no subscription {name}")
