"""One NATS connection: how its end is told, and what becomes of what waits for an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming.link import Link, open_link
from natss.nats_streaming.options import NatsOptions
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer


@asynccontextmanager
async def _link(url: str, unique_name: str) -> AsyncIterator[Link]:
    problems: list[str] = []
    link = await open_link(url, NatsOptions(servers=(url,)), "test", problems.append)
    await link.receive_replies(unique_name)
    await link.flush()
    try:
        yield link
    finally:
        await link.dispose()


async def test_requests_fail_at_once_when_it_goes_down(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    async with Proxy(memory_server.port) as proxy, _link(proxy.url, unique_name) as link:
        proxy.drop_to_client()
        requests = [asyncio.create_task(link.request("a.b", b"", 30)) for _ in range(3)]
        await asyncio.sleep(0)
        proxy.cut()
        async with asyncio.timeout(5):
            results = await asyncio.gather(*requests, return_exceptions=True)
        assert [type(result) for result in results] == [ns.NotConnected] * 3
        assert not link.is_up
        with pytest.raises(ns.NotConnected):
            await link.request("a.b", b"", 30)


async def test_request_that_nobody_takes(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    async with _link(memory_server.url, unique_name) as link:
        with pytest.raises(ns.NoResponders):
            await link.request("nobody.there", b"", 30)
        await link.receive("silent", lambda *_: None)
        await link.flush()
        with pytest.raises(ns.ServerUnavailable, match=r"silent in 0\.05 s"):
            await link.request("silent", b"", 0.05)


async def test_cancelled_request_leaves_nothing(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    """No error of it is reported later, as one that nobody looked at."""
    async with _link(memory_server.url, unique_name) as link:
        await link.receive("silent", lambda *_: None)
        request = asyncio.create_task(link.request("silent", b"", 30))
        await asyncio.sleep(0)
        link.abort("cut by the test")
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert not link._replies


async def test_what_nats_py_has_closed_is_down(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    """Its errors are ours, wherever it notices: subscribing, flushing, or when looked at."""
    for use in ("receive", "flush", "check"):
        async with _link(memory_server.url, unique_name) as link:
            await link._nats._close(link._nats.CLOSED, do_cbs=False)
            if use == "check":
                link.check()
            elif use == "flush":
                with pytest.raises(ns.NotConnected):
                    await link.flush()
            else:
                with pytest.raises(ns.NotConnected):
                    await link.receive("a", lambda *_: None)
            assert not link.is_up
            link.send(b"a", b"", b"")  # is dropped
            await asyncio.sleep(0)


async def test_what_is_sent_in_one_turn_is_one_write(
    memory_server: NatsStreamingServer, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _link(memory_server.url, unique_name) as link:
        writes: list[bytes] = []
        monkeypatch.setattr(link._nats, "write", writes.append)
        link.send(b"a", b"r", b"1")
        link.send(b"b", b"", b"")
        assert writes == []
        await asyncio.sleep(0)
        assert writes == [b"PUB a r 1\r\n1\r\nPUB b  0\r\n\r\n"]


async def test_close_sends_what_is_left(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    arrived = asyncio.Event()
    async with _link(memory_server.url, unique_name) as receiver:
        await receiver.receive(f"{unique_name}.a", lambda *_: arrived.set())
        await receiver.flush()
        async with _link(memory_server.url, f"{unique_name}.r") as sender:
            sender.send(f"{unique_name}.a".encode(), b"", b"last")
            await sender.close()
            assert not sender.is_up
        await asyncio.wait_for(arrived.wait(), 5)
