"""The proxy does to connections what its methods say: tests of faults rest on that."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import Proxy


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def echoed(self, data: bytes = b"x") -> float:
        """Send and receive the echo; return the seconds that it took."""
        began = time.monotonic()
        self._writer.write(data)
        assert await self.reads(len(data)) == data
        return time.monotonic() - began

    async def reads(self, size: int) -> bytes:
        async with asyncio.timeout(10):
            return await self._reader.readexactly(size)

    async def hears_nothing(self) -> bool:
        """Send, and return whether nothing comes back for a while, not even an end."""
        self._writer.write(b"x")
        try:
            async with asyncio.timeout(0.3):
                await self._reader.read(1)
        except TimeoutError:
            return True
        return False

    async def is_ended(self) -> bool:
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                return await self._reader.read(1) == b""
        return True


@contextlib.asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """Yield a proxy before a server that echoes."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as running:
        yield running


async def test_a_delay_holds_up_what_is_sent_each_way(proxy: Proxy) -> None:
    async with connected(proxy) as client:
        proxy.delay(0.2)
        assert await client.echoed() >= 0.4
        proxy.release()
        await client.echoed()


async def test_a_limit_slows_down_what_is_long(proxy: Proxy) -> None:
    async with connected(proxy) as client:
        proxy.limit(20_000)
        assert await client.echoed(bytes(10_000)) >= 0.4


async def test_a_stranded_connection_is_silent_for_good_and_new_ones_work(proxy: Proxy) -> None:
    async with connected(proxy) as stranded, connected(proxy) as other:
        await stranded.echoed()
        await other.echoed()
        proxy.strand()
        assert await stranded.hears_nothing()
        proxy.release()
        assert await stranded.hears_nothing()
        async with connected(proxy) as new:
            await new.echoed()


async def test_held_connections_go_on_where_they_were(proxy: Proxy) -> None:
    async with connected(proxy) as client:
        await client.echoed()
        proxy.hold()
        assert await client.hears_nothing()
        proxy.release()
        assert await client.reads(1) == b"x"


async def test_refused_connections_end_until_it_is_released(proxy: Proxy) -> None:
    async with connected(proxy) as client:
        await client.echoed()
        proxy.refuse()
        assert await client.is_ended()
    async with connected(proxy) as client:
        assert await client.is_ended()
    proxy.release()
    async with connected(proxy) as client:
        await client.echoed()


@pytest.mark.parametrize("steps", range(10))
async def test_its_end_is_the_end_of_every_connection(steps: int) -> None:
    """Also for a connection that it was about to forward."""
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        async with Proxy(port) as proxy:
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            for _ in range(steps):
                await asyncio.sleep(0)
        reader, last = await asyncio.open_connection("127.0.0.1", port)
        last.write_eof()
        async with asyncio.timeout(10):
            await reader.read()  # the last connection is served, so all before it were accepted
            await asyncio.gather(*served)
        last.close()
        writer.close()
