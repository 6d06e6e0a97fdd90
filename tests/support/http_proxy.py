"""An HTTP proxy for tests: plain requests, and tunnels."""

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self


class HttpProxy:
    """Leads every host to 127.0.0.1, like a proxy that knows names of its own.

    Args:
        ports: By the requested ``host:port``.
        refusal: An answer in place of all others.
    """

    def __init__(self, ports: Mapping[str, int], refusal: bytes = b"") -> None:
        self.heads: list[bytes] = []
        self.port = 0
        self._ports = ports
        self._refusal = refusal
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_close, writer)
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self._refusal:
                writer.write(self._refusal)
                await writer.drain()
                return
            method, where, _ = head.split(b" ", 2)
            host, _, path = where.removeprefix(b"http://").partition(b"/")
            port = self._ports[host.decode()]
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", port)
            stack.push_async_callback(_close, onward)
            if method == b"CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                onward.write(head.replace(where, b"/" + path, 1))
            ways = (_copy(reader, onward), _copy(onward_reader, writer))
            copying = [asyncio.create_task(way) for way in ways]
            try:
                await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in copying:
                    task.cancel()
                await asyncio.gather(*copying, return_exceptions=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
