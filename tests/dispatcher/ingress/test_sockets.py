"""The HTTP server on real sockets, as many publishers as there may be, and its end."""

import asyncio
import base64
import contextlib
import json
import resource
import socket
from collections.abc import AsyncIterator, Callable
from typing import Self

import pytest

from dispatcher.ingress.context import Services
from dispatcher.ingress.limits import IngressLimits
from dispatcher.ingress.routing import Router, RoutingTable
from dispatcher.ingress.server import Ingress
from dispatcher.runtime.metrics import Metrics
from natss.contract.resources import Channel
from tests.support.event_loops import BOTH
from tests.support.fakes import FakeSink
from tests.support.publishers import HOST, ORDERS, Answer, post, read_answers
from tests.support.waiting import eventually

EVENT_LOOPS = BOTH

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """A server on 127.0.0.1 and what it stored."""

    def __init__(self, limits: IngressLimits | None = None, *, instant: bool = True) -> None:
        self.limits = limits or IngressLimits()
        self.metrics = Metrics()
        self.sink = FakeSink(instant=instant)
        self.port = 0
        self._open: list[asyncio.StreamWriter] = []
        table = RoutingTable.build([Channel(ORDERS, (HOST,))], self.metrics.channel)
        self.ingress = Ingress(Services(Router(table), self.sink, self.metrics), self.limits)

    async def __aenter__(self) -> Self:
        self.port = await self.ingress.start("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._open:
            writer.close()
        await self.ingress.close()
        for writer in self._open:
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await self.until(lambda: self.ingress.connections == 0)

    async def connect(self) -> Streams:
        streams = await asyncio.open_connection("127.0.0.1", self.port)
        self._open.append(streams[1])
        return streams

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the event loop run until something is so."""
        await eventually(condition, 5, every=0.001)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as running:
        yield running


@pytest.fixture
def many_files() -> None:
    """Make room for both ends of a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"needs 4096 open files, {hard} are allowed")
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))


async def read_one(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    (answer,) = read_answers(head + await reader.readexactly(size))
    return answer


async def read_all(reader: asyncio.StreamReader) -> list[Answer]:
    """Return all answers until the server closes."""
    return read_answers(await asyncio.wait_for(reader.read(-1), 5))


async def test_events_come_in_over_one_connection(server: Server) -> None:
    reader, writer = await server.connect()
    for number in range(20):
        writer.write(post(b"%d" % number, f"Ce-Id: {number}"))
        assert (await read_one(reader)).status == 202
    stored = [json.loads(data)["headers"]["Ce-Id"] for _, data in server.sink.calls]
    assert stored == [str(number) for number in range(20)]
    assert server.ingress.connections == 1


async def test_many_connections_are_accepted_in_one_turn_of_the_loop(server: Server) -> None:
    """A busy loop takes milliseconds for a turn, and none of them is to wait for a hundred.

    It is uvloop that accepts one at a time by itself.
    """
    peers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(64)]
    turns = 0
    async with asyncio.timeout(5):
        while server.ingress.connections < len(peers):
            await asyncio.sleep(0)
            turns += 1
    assert turns <= 10
    for peer in peers:
        peer.close()


@pytest.mark.usefixtures("many_files")
async def test_400_publishers_at_once_with_a_connection_for_each_event(server: Server) -> None:
    async def publish(number: int) -> int:
        reader, writer = await server.connect()
        writer.write(post(bytes(1000), f"Ce-Id: {number}", "Connection: close"))
        (answer,) = await read_all(reader)
        return answer.status

    statuses = await asyncio.gather(*(publish(number) for number in range(400)))
    assert statuses == [202] * 400
    assert len(server.sink.calls) == 400


async def test_a_large_event_arrives_byte_for_byte(server: Server) -> None:
    reader, writer = await server.connect()
    body = bytes(range(256)) * 2048
    writer.write(post(body))
    assert (await read_one(reader)).status == 202
    assert base64.b64decode(json.loads(server.sink.calls[0][1])["payload"]) == body


async def test_a_publisher_that_sends_far_too_much_can_read_why(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(post(b"").replace(b"Content-Length: 0", b"Content-Length: 100000000"))
    for _ in range(32):
        writer.write(bytes(65536))
    (answer,) = await read_all(reader)
    assert answer.status == 413


@pytest.mark.usefixtures("many_files")
async def test_1000_silent_connections_do_not_keep_anybody_from_publishing() -> None:
    limits = IngressLimits(header_timeout=0.4)
    async with Server(limits) as server:
        silent = await asyncio.gather(*(server.connect() for _ in range(1000)))
        reader, writer = await server.connect()
        writer.write(post(b"x"))
        assert (await asyncio.wait_for(read_one(reader), 1)).status == 202
        # They are closed in silence, and the one that has spoken is kept.
        answers = await asyncio.gather(*(read_all(quiet) for quiet, _ in silent))
        assert answers == [[]] * 1000
        writer.write(post(b"x"))
        assert (await read_one(reader)).status == 202


async def test_half_a_request_and_then_silence_is_408() -> None:
    async with Server(IngressLimits(header_timeout=0.2, body_timeout=0.2)) as server:
        for data in (post(b"hello")[:30], post(b"hello")[:-1]):
            reader, writer = await server.connect()
            writer.write(data)
            (answer,) = await read_all(reader)
            assert answer.status == 408
            assert answer.headers["connection"] == "close"


async def test_a_publish_without_an_end_is_503() -> None:
    async with Server(IngressLimits(answer_timeout=0.2), instant=False) as server:
        reader, writer = await server.connect()
        writer.write(post(b"x"))
        assert (await asyncio.wait_for(read_one(reader), 2)).status == 503


async def test_a_publisher_that_aborts_harms_nothing() -> None:
    async with Server(instant=False) as server:
        _, writer = await server.connect()
        writer.write(post(b"aborted"))
        await server.until(lambda: len(server.sink.calls) == 1)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST at close
        writer.transport.abort()
        await server.until(lambda: server.ingress.connections == 0)
        server.sink.futures[0].set_result("guid")

        reader, writer = await server.connect()
        writer.write(post(b"next"))
        await server.until(lambda: len(server.sink.calls) == 2)
        server.sink.futures[1].set_result("guid")
        assert (await read_one(reader)).status == 202
        assert server.metrics.channel(ORDERS).results["stored"] == 2


async def test_a_publisher_that_reads_nothing_is_held_and_the_others_served() -> None:
    async with Server() as server:
        _, writer = await server.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket
        refused = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * 1000
        for _ in range(2000):
            writer.write(refused)
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                break  # nobody takes it any more
        else:
            pytest.fail("the server goes on reading from who does not read")
        reader, other = await server.connect()
        other.write(post(b"x"))
        assert (await asyncio.wait_for(read_one(reader), 2)).status == 202
        writer.transport.abort()


async def test_a_connection_too_many_is_503_while_all_are_in_use() -> None:
    async with Server(IngressLimits(max_connections=2), instant=False) as server:
        first = await server.connect()
        second = await server.connect()
        for _, writer in (first, second):
            writer.write(post(b"x"))
        await server.until(lambda: len(server.sink.futures) == 2)
        reader, writer = await server.connect()
        writer.write(post(b"x"))
        (answer,) = await read_all(reader)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        server.sink.futures[0].set_result("guid")
        server.sink.futures[1].set_result("guid")
        for reader, _ in (first, second):
            assert (await read_one(reader)).status == 202


async def test_idle_connections_do_not_lock_publishers_out() -> None:
    """As many as there may be, each of which has published once, as a pool leaves them behind."""
    async with Server(IngressLimits(max_connections=50)) as server:
        idle = [await server.connect() for _ in range(50)]
        for reader, writer in idle:
            writer.write(post(b"x"))
            assert (await read_one(reader)).status == 202
        await _a_new_one_is_served(server)
        for _ in range(49):
            assert await _posted_on_a_new_connection(server) == 202
        for reader, _ in idle:
            assert await asyncio.wait_for(reader.read(), 5) == b"", "closed without a word"


@pytest.mark.parametrize("part", [b"", b"PO", post(b"x")[:40], post(b"hello")[:-1]])
async def test_connections_that_do_not_go_on_do_not_lock_publishers_out(part: bytes) -> None:
    async with Server(IngressLimits(max_connections=20)) as server:
        stalled = [await server.connect() for _ in range(20)]
        for _, writer in stalled:
            writer.write(part)
        await _a_new_one_is_served(server)


async def _a_new_one_is_served(server: Server) -> None:
    async def is_served() -> bool:
        return await _posted_on_a_new_connection(server) == 202

    await eventually(is_served, 8, every=0.1)  # long before the time of the others is up


async def _posted_on_a_new_connection(server: Server) -> int:
    reader, writer = await server.connect()
    writer.write(post(b"x"))
    return (await read_one(reader)).status


async def test_the_port_is_told_and_taken() -> None:
    async with Server() as server:
        assert server.port > 0
        with pytest.raises(OSError, match="in use"):
            await Server().ingress.start("127.0.0.1", server.port)


# --- the end --------------------------------------------------------------------------------------


async def test_draining_takes_what_comes_over_open_connections_and_ends_them() -> None:
    async with Server(instant=False) as server:
        busy_reader, busy_writer = await server.connect()
        busy_writer.write(post(b"on the way"))
        await server.until(lambda: len(server.sink.calls) == 1)
        idle_reader, idle_writer = await server.connect()
        await server.until(lambda: server.ingress.connections == 2)

        drained = asyncio.ensure_future(server.ingress.drain(10))
        await asyncio.sleep(0)
        idle_writer.write(post(b"late"))
        await server.until(lambda: len(server.sink.calls) == 2)
        with pytest.raises(ConnectionRefusedError):
            await server.connect()
        assert not drained.done()

        for number, reader in enumerate((busy_reader, idle_reader)):
            server.sink.futures[number].set_result("guid")
            (answer,) = await read_all(reader)
            assert answer.status == 202
            assert answer.headers["connection"] == "close"
        await asyncio.wait_for(drained, 5)
        assert server.ingress.connections == 0


async def test_draining_ends_in_time_whatever_is_left() -> None:
    async with Server(instant=False) as server:
        reader, writer = await server.connect()
        writer.write(post(b"never stored"))
        await server.until(lambda: len(server.sink.calls) == 1)
        await asyncio.wait_for(server.ingress.drain(0.2), 2)
        assert server.ingress.connections == 1
        await server.ingress.close()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read(-1) == b""


async def test_draining_a_server_that_nobody_uses_takes_no_time() -> None:
    async with Server() as server:
        await asyncio.wait_for(server.ingress.drain(30), 0.5)
