"""A Service of Kubernetes as publishers see it, and publishers.

A new connection leads to one of the ready pods; an open one stays with its pod, whatever happens to
that. Publishers are as strict as possible: what was sent and not answered with 202 counts as
refused.
"""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field
from typing import Self

from tests.support.dispatcher_process import DispatcherProcess
from tests.support.waiting import Changes

_PROBE_PERIOD = 0.1
"""Seconds between two checks of a pod's readiness; a kubelet checks every 2 s."""

_POST = (
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nCe-Id: {id}\r\n"
    "Ce-Source: /tests\r\nCe-Type: test\r\nCe-Specversion: 1.0\r\nContent-Length: 2\r\n\r\n{{}}"
)


class Service:
    """Knows which of its dispatchers are ready; an async context manager."""

    def __init__(self, *dispatchers: DispatcherProcess) -> None:
        self._members = list(dispatchers)
        self._ready: list[DispatcherProcess] = []
        self._turns = itertools.count()
        self._changes = Changes()
        self._probing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._probing = asyncio.create_task(self._probe(), name="readiness probes")
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        assert self._probing is not None
        self._probing.cancel()
        await asyncio.wait([self._probing])

    def add(self, dispatcher: DispatcherProcess) -> None:
        """Add a pod: it gets connections once it is ready."""
        self._members.append(dispatcher)

    def remove(self, dispatcher: DispatcherProcess) -> None:
        """Remove a terminating pod: it gets no new connections."""
        self._members.remove(dispatcher)
        self._ready = [each for each in self._ready if each is not dispatcher]

    async def ready(self, dispatcher: DispatcherProcess) -> None:
        await self._changes.until(lambda: dispatcher in self._ready)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to a ready pod. Raises OSError."""
        if not self._ready:
            raise ConnectionRefusedError("no pod is ready")
        chosen = self._ready[next(self._turns) % len(self._ready)]
        return await asyncio.open_connection("127.0.0.1", chosen.port)

    async def _probe(self) -> None:
        while True:
            for each in tuple(self._members):
                is_ready = await each.is_ready()
                if each in self._members and is_ready != (each in self._ready):
                    others = [one for one in self._ready if one is not each]
                    self._ready = [*others, each] if is_ready else others
                    self._changes.note()
            await asyncio.sleep(_PROBE_PERIOD)


@dataclass
class Publishers:
    """Post to one channel continuously, and record the outcome of each event.

    Args:
        service: Where they post.
        host: That of the channel.
        per_second: Events of each publisher.
    """

    service: Service
    host: str
    per_second: float = 40.0
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Why, by the id of the event."""

    _acceptances: Changes = field(default_factory=Changes)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, *, keeping: int = 2, connecting: int = 2) -> None:
        """Start posting.

        Args:
            keeping: Publishers that keep their connection.
            connecting: Publishers that open a connection for each event, as Kyma's did.
        """
        for number in range(keeping + connecting):
            keeps = number < keeping
            work = self._publish(f"{'keep' if keeps else 'once'}{number}", keeps=keeps)
            self._tasks.append(asyncio.create_task(work, name=f"publisher {number}"))

    async def stop(self) -> None:
        """Post no more; return when every post under way has its answer."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def until(self, count: int) -> None:
        """Wait until so many more events have been accepted."""
        wanted = len(self.accepted) + count
        await self._acceptances.until(lambda: len(self.accepted) >= wanted, 30)

    async def _publish(self, name: str, *, keeps: bool) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        number = 0
        while not self._stop.is_set():
            number += 1
            event_id = f"{name}-{number}"
            try:
                if connection is not None and connection[0].at_eof():
                    await _close(connection[1])
                    connection = None
                connection = connection or await self.service.connect()
                if await self._post(event_id, *connection) or not keeps:
                    await _close(connection[1])
                    connection = None
            except (OSError, EOFError) as error:
                self.refused[event_id] = repr(error)
                if connection is not None:
                    await _close(connection[1])
                connection = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1 / self.per_second)
        if connection is not None:
            await _close(connection[1])

    async def _post(
        self, event_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Post one event; return whether the connection must not be used again. Raises OSError."""
        writer.write(_POST.format(host=self.host, id=event_id).encode())
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = head.split(" ", 2)[1]
        length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
        body = await reader.readexactly(length)
        if status == "202":
            self.accepted.append(event_id)
            self._acceptances.note()
        else:
            self.refused[event_id] = f"{status}: {body.decode()}"
        return "connection: close" in head


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
