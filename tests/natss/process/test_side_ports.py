"""How many connections the ports for probes and people take, on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from natss.process.side_ports import SidePort
from tests.support.waiting import eventually

MOST = 4
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Port:
    """One on 127.0.0.1 and the clients that connect to it."""

    def __init__(self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        app = web.Application()
        app.router.add_get("/", answer)
        self.runner = SidePort(app, most=MOST)
        self._open: list[asyncio.StreamWriter] = []

    async def connect(self) -> Streams:
        streams = await asyncio.open_connection(*self.runner.addresses[0][:2])
        self._open.append(streams[1])
        return streams

    async def close(self) -> None:
        await self.runner.cleanup()
        for writer in self._open:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def port(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[Port]:
    made = Port(answer)
    await made.runner.setup()
    await web.TCPSite(made.runner, "127.0.0.1", 0).start()
    yield made
    await made.close()


async def _ok(_: web.Request) -> web.StreamResponse:
    return web.Response(text="ok\n")


async def is_answered(streams: Streams) -> bool:
    streams[1].write(GET)
    head = await asyncio.wait_for(streams[0].readuntil(b"ok\n"), 5)
    return head.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("said", [b"", b"GE", GET[:20], GET], ids=["", "GE", "half", "whole"])
async def test_connections_that_say_nothing_more_lock_nobody_out(said: bytes) -> None:
    async with port(_ok) as served:
        silent = [await served.connect() for _ in range(MOST * 3)]
        for reader, writer in silent[-MOST:]:
            writer.write(said)
            if said == GET:
                await reader.readuntil(b"ok\n")
        for _ in range(MOST):
            assert await is_answered(await served.connect())
        for reader, _ in silent:
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_an_answer_under_way_is_finished() -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await _ok(request)

    async with port(slow) as served:
        first = await served.connect()
        first[1].write(GET)
        others = [await served.connect() for _ in range(MOST + 1)]
        for _, writer in others[-1:]:
            writer.write(GET)
        await asyncio.sleep(0)
        go_on.set()
        assert (await asyncio.wait_for(first[0].readuntil(b"ok\n"), 5)).startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(first[0].read(), 5) == b"", "then it goes"
        assert (await asyncio.wait_for(others[-1][0].readuntil(b"ok\n"), 5)) != b""


async def test_answers_that_nobody_reads_do_not_hold_their_connections() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))

    async with port(endless) as served:
        for _ in range(MOST * 6):
            _, writer = await served.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket
            writer.write(GET)
            await asyncio.sleep(0)
        server = served.runner._server
        assert server is not None
        await eventually(lambda: len(server.connections) <= 2 * MOST, 5, every=0.001)
