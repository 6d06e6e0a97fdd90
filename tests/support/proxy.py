"""A TCP proxy that does to connections what networks do: cuts them, slows them, lets them hang."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Self

CHUNK = 65536


class Proxy:
    """Listens on 127.0.0.1 and forwards to a port there; an async context manager.

    ``cut`` ends all connections now; ``strand`` leaves them half-open for good. Until ``release``:
    ``refuse`` ends new ones as well; ``hold`` keeps them open and forwards nothing, neither data
    nor their end; ``drop_to_client`` and ``drop_to_server`` swallow what goes there; ``delay`` and
    ``limit`` make them slow.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.accepted = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._stranded: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._dropping_to_client = False
        self._dropping_to_server = False
        self._delay = 0.0
        self._rate: int | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        for writer in self._writers:
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset every connection, also new ones, as if nobody listened."""
        self._refusing = True
        self.cut()

    def hold(self) -> None:
        """Keep every connection open, also new ones, and let nothing through."""
        self._flowing.clear()

    def drop_to_client(self) -> None:
        self._dropping_to_client = True

    def drop_to_server(self) -> None:
        self._dropping_to_server = True

    def strand(self) -> None:
        """Swallow all that the present connections send, even their end; new ones work.

        That is what happens when the other machine disappears without notice, or a firewall has
        forgotten the connections.
        """
        self._stranded |= self._writers

    def delay(self, seconds: float) -> None:
        """Delay what is sent by so many seconds, each way."""
        self._delay = seconds

    def limit(self, bytes_per_second: int) -> None:
        """Let no more through, on each connection, each way."""
        self._rate = bytes_per_second

    def release(self) -> None:
        """End all faults, for connections that still exist and for new ones."""
        self._refusing = self._dropping_to_client = self._dropping_to_server = False
        self._delay, self._rate = 0.0, None
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            writer.transport.abort()
            return
        self._writers.add(writer)
        self._own(self._connect(reader, writer))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        if writer.transport.is_closing():  # cut meanwhile
            self._writers.discard(writer)
            far_writer.transport.abort()
            return
        self._writers.add(far_writer)
        self._own(self._forward(reader, far_writer, to_client=False))
        self._own(self._forward(far_reader, writer, to_client=True))

    def _own(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name="proxy")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool
    ) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(self._at_once()):
                    await self._flowing.wait()
                    await asyncio.sleep(self._delay)
                    if self._dropping_to_client if to_client else self._dropping_to_server:
                        continue
                    if writer in self._stranded:
                        continue
                    writer.write(data)
                    await writer.drain()
                    if self._rate is not None:
                        await asyncio.sleep(len(data) / self._rate)
                await self._flowing.wait()
        finally:
            if writer not in self._stranded:
                self._writers.discard(writer)
                writer.close()

    def _at_once(self) -> int:
        return CHUNK if self._rate is None else max(1, self._rate // 10)
