"""A server that treats each connection by a list of steps, down to the single byte.

For peers that no HTTP library plays: silence, garbage, half answers, endless ones, resets.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import Self


class Do(Enum):
    READ = auto()
    """Read one complete request (framed by Content-Length) and keep it in ``requests``."""

    READ_HEAD = auto()
    """Read up to the end of the headers and leave the body unread."""

    CLOSE = auto()
    """Close properly (FIN)."""

    RESET = auto()
    """Close with RST."""

    STALL = auto()
    """Do nothing, not even read, until the server is stopped."""

    REPEAT = auto()
    """Start the script again."""


READ, READ_HEAD, STALL = Do.READ, Do.READ_HEAD, Do.STALL
CLOSE, RESET, REPEAT = Do.CLOSE, Do.RESET, Do.REPEAT

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Step = Do | bytes | asyncio.Event | Act
Script = Sequence[Step]


def answer(status: int = 200, body: bytes = b"", *headers: bytes) -> bytes:
    """Return a complete answer with Content-Length."""
    lines = (b"HTTP/1.1 %d Text" % status, b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


ALWAYS_202: Script = (READ, answer(202), REPEAT)
SILENT: Script = (READ,)


class ScriptedServer:
    """Listens on a port of its own while it is used as a context.

    Args:
        scripts: For the first, second, … connection; the last one also for all that follow. After
            the last step a connection is left open until the peer closes it.
        host: ``127.0.0.1`` or ``::1``.
        tls: Makes it a TLS server.
        port: 0 for a free one.
    """

    def __init__(
        self,
        *scripts: Script,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.port = port
        self.requests: list[bytes] = []
        self.accepted = 0
        self.open = 0
        self.most_open = 0
        self._scripts = scripts or (ALWAYS_202,)
        self._host = host
        self._tls = tls
        self._changed = asyncio.Condition()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self._host, self.port, ssl=self._tls, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on ``requests``, ``accepted`` and ``open`` is true."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
        self.accepted += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self._notify()
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._play(script, reader, writer):
                    pass
        except asyncio.CancelledError:
            pass  # the server is being stopped; asyncio's streams would log it
        finally:
            writer.transport.abort()
            self.open -= 1
            self._connections.discard(task)
            with contextlib.suppress(asyncio.CancelledError):
                await self._notify()

    async def _play(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Play a script; return True if it is to be played again."""
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif not isinstance(step, Do):
                await step(reader, writer)
            elif step in (Do.READ, Do.READ_HEAD):
                self.requests.append(await _read(reader, body=step is Do.READ))
                await self._notify()
            elif step is Do.STALL:
                await asyncio.get_running_loop().create_future()
            elif step is Do.CLOSE:
                writer.close()
                await writer.wait_closed()
                return False
            elif step is Do.RESET:
                _reset(writer)
                return False
            else:
                return True
        while await reader.read(65536):
            pass
        return False


async def _read(reader: asyncio.StreamReader, *, body: bool) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if not body:
        return head
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return head + await reader.readexactly(length)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
