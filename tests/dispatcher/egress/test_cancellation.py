"""A request is given up at every moment of its life; nothing stays open, taken or waiting."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import trustme

from dispatcher.egress.client import Egress, Target
from dispatcher.egress.limits import EgressLimits
from natss.process.event_loops import Address
from tests.support.black_hole import black_hole
from tests.support.event_loops import BOTH
from tests.support.scripted_server import (
    ALWAYS_202,
    READ,
    READ_HEAD,
    SILENT,
    STALL,
    ScriptedServer,
    answer,
)
from tests.support.waiting import eventually

EVENT_LOOPS = BOTH

TLS = ssl.create_default_context()
UNUSED = "<Egress open: 0 origins, 0 connections, 0 idle, 0 waiting>"
ONE_IDLE = "<Egress open: 1 origins, 1 connections, 1 idle, 0 waiting>"


def open_sockets() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return count


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    egress = Egress(EgressLimits(max_connections_per_origin=1), TLS)
    yield egress
    await egress.close()


def begin(egress: Egress, url: str, body: bytes = b"{}") -> "asyncio.Task[object]":
    return asyncio.create_task(egress.post(Target.parse(url), b"", body, 5.0))


async def give_up(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def rounds(count: int = 5) -> None:
    """Let callbacks of transports run."""
    for _ in range(count):
        await asyncio.sleep(0.001)


async def test_while_the_name_is_looked_up() -> None:
    asked = asyncio.Event()

    async def never(host: str, port: int, namespace: str) -> Sequence[Address]:
        asked.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    egress = Egress(EgressLimits(), TLS, resolve=never)
    task = begin(egress, "http://orders/")
    await asked.wait()
    await give_up(task)
    assert repr(egress) == UNUSED
    await egress.close()


async def test_while_connecting(egress: Egress) -> None:
    with black_hole() as port:
        before = open_sockets()
        task = begin(egress, f"http://127.0.0.1:{port}/")
        await rounds()
        assert open_sockets() == before + 1
        await give_up(task)
        await rounds()
        assert open_sockets() == before
    assert repr(egress) == UNUSED


async def test_while_connecting_to_several_addresses() -> None:
    with black_hole() as port:

        async def two(host: str, _: int, namespace: str) -> Sequence[Address]:
            return [(2, 1, 6, "", ("127.0.0.1", port))] * 2

        egress = Egress(EgressLimits(), TLS, resolve=two)
        before = open_sockets()
        task = begin(egress, "http://orders/")
        # The second one comes after 0.25 s.
        await eventually(lambda: open_sockets() >= before + 2, 20, every=0.02)
        await give_up(task)
        await rounds()
        assert open_sockets() == before
        assert repr(egress) == UNUSED
        await egress.close()


async def test_within_the_tls_handshake(egress: Egress) -> None:
    async with ScriptedServer((STALL,)) as server:
        before = open_sockets()
        task = begin(egress, f"https://127.0.0.1:{server.port}/")
        await server.until(lambda: server.open == 1)
        await rounds()
        await give_up(task)
        await rounds()
        assert open_sockets() <= before + 1  # the server's end
    assert repr(egress) == UNUSED


async def test_connecting_that_has_just_succeeded(egress: Egress) -> None:
    """Cancelled in whatever round of the loop: the connection is closed or kept, never lost."""
    async with ScriptedServer() as server:
        for spins in range(12):
            before = open_sockets() - server.open
            task = begin(egress, server.url)
            for _ in range(spins):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await rounds()
            kept = int(repr(egress) == ONE_IDLE)
            assert kept or repr(egress) == UNUSED
            await server.until(lambda kept=kept: server.open == kept)  # type: ignore[misc]  # lambda with a default
            assert open_sockets() - server.open <= before + kept


async def test_while_a_large_body_is_sent(egress: Egress) -> None:
    async with ScriptedServer((READ_HEAD, STALL)) as server:
        task = begin(egress, server.url, b"b" * 20_000_000)
        await server.until(lambda: len(server.requests) == 1)
        await give_up(task)
        assert repr(egress) == UNUSED
        await rounds()


@pytest.mark.parametrize(
    "part", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1"]
)
async def test_while_waiting_for_the_answer(egress: Egress, part: bytes) -> None:
    async with ScriptedServer((READ, part), ALWAYS_202) as server:
        task = begin(egress, server.url)
        await server.until(lambda: len(server.requests) == 1)
        await rounds()
        await give_up(task)
        assert repr(egress) == UNUSED
        await server.until(lambda: server.open == 0)
        await begin(egress, server.url)
        assert repr(egress) == ONE_IDLE


async def test_while_waiting_on_a_kept_alive_connection(egress: Egress) -> None:
    async with ScriptedServer((READ, answer(202), READ)) as server:
        await begin(egress, server.url)
        task = begin(egress, server.url)
        await server.until(lambda: len(server.requests) == 2)
        await give_up(task)
        assert repr(egress) == UNUSED


async def test_when_the_answer_has_come_already(egress: Egress) -> None:
    """The connection may serve another request by then, which must not be harmed."""
    go = asyncio.Event()
    async with ScriptedServer((READ, go, answer(202), READ, answer(200))) as server:
        first = begin(egress, server.url)
        await server.until(lambda: len(server.requests) == 1)
        second = begin(egress, server.url)
        await asyncio.sleep(0)
        go.set()
        await server.until(lambda: len(server.requests) == 2)
        first.cancel()
        response = await second
        assert response is not None
        assert server.accepted == 1
        await asyncio.gather(first, return_exceptions=True)


async def test_while_waiting_in_line(egress: Egress) -> None:
    go = asyncio.Event()
    async with ScriptedServer((READ, go, answer(202)), ALWAYS_202) as server:
        first = begin(egress, server.url)
        await server.until(lambda: len(server.requests) == 1)
        line = [begin(egress, server.url) for _ in range(3)]
        await asyncio.sleep(0)
        assert repr(egress) == "<Egress open: 1 origins, 1 connections, 0 idle, 3 waiting>"
        await give_up(line[1])
        assert repr(egress) == "<Egress open: 1 origins, 1 connections, 0 idle, 2 waiting>"
        await give_up(first)
        await asyncio.gather(line[0], line[2])
        assert repr(egress) == ONE_IDLE


async def test_within_the_retry(egress: Egress) -> None:
    async with ScriptedServer((READ, answer(202), READ, b""), SILENT) as server:
        await begin(egress, server.url)
        task = begin(egress, server.url)
        await server.until(lambda: len(server.requests) == 2)
        await give_up(task)
        assert repr(egress) == UNUSED


async def test_timeouts_of_the_caller_work_as_well(egress: Egress) -> None:
    async with ScriptedServer(SILENT) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await egress.post(Target.parse(server.url), b"", b"{}", 5.0)
        assert repr(egress) == UNUSED


async def test_with_tls_while_waiting_for_the_answer() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    egress = Egress(EgressLimits(), client)
    async with ScriptedServer(SILENT, tls=context) as server:
        task = begin(egress, server.url)
        await server.until(lambda: len(server.requests) == 1)
        await give_up(task)
        assert repr(egress) == UNUSED
        await server.until(lambda: server.open == 0)
    await egress.close()
