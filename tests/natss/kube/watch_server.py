"""An API server that tells a watch in pieces, as a test wants them: one connection, no more."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Self


def told(number: int, size: int) -> bytes:
    """Return the line of an event about an object of so many bytes."""
    metadata = {"resourceVersion": str(number), "name": f"object-{number}"}
    document = {"metadata": metadata, "data": {"pad": "x" * size}}
    return json.dumps({"type": "ADDED", "object": document}).encode() + b"\n"


class WatchServer:
    """Answers one watch; an async context manager.

    Args:
        seed: Of the places where lines are cut, into chunks of HTTP and into writes.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.is_asked = asyncio.Event()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        if self._writer is not None:
            self._writer.transport.abort()

    async def tell(self, lines: bytes) -> None:
        """Send lines, and wait as long as the client does not read."""
        assert self._writer is not None
        wire = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in self._cut(lines))
        for part in self._cut(wire):
            self._writer.write(part)
            await self._writer.drain()
            if self._random.random() < 0.3:
                await asyncio.sleep(0)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        longest = self._random.choice((7, 100, 5000, 65536, 300_000, 2**24))
        longest = max(longest, len(data) // 100)
        while data:
            size = self._random.randint(1, longest)
            yield data[:size]
            data = data[size:]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._writer = writer
        self.is_asked.set()
