"""Egress.post against real sockets: reuse, retry on a fresh connection, limits, time, closing."""

import asyncio
import gc
import ssl
import time
from collections.abc import AsyncIterator
from importlib.metadata import version

import pytest

from dispatcher.egress.client import Egress, EgressError, FailureReason, Target
from dispatcher.egress.limits import EgressLimits
from dispatcher.event.stored_form import decode
from tests.support.event_loops import BOTH
from tests.support.scripted_server import (
    ALWAYS_202,
    CLOSE,
    READ,
    READ_HEAD,
    REPEAT,
    RESET,
    SILENT,
    ScriptedServer,
    answer,
)

EVENT_LOOPS = BOTH

HEAD = b"Content-Type: application/json\r\nCe-Id: 1\r\n"
LIMITS = EgressLimits()
TLS = ssl.create_default_context()


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    egress = Egress(LIMITS, TLS)
    yield egress
    await egress.close()


def target(server: ScriptedServer, path: str = "") -> Target:
    return Target.parse(server.url + path)


async def failure(egress: Egress, to: Target, timeout: float = 5.0) -> EgressError:
    with pytest.raises(EgressError) as caught:
        await egress.post(to, HEAD, b"{}", timeout)
    return caught.value


async def test_the_request_to_the_byte(egress: Egress) -> None:
    async with ScriptedServer() as server:
        to = Target.parse(f"http://user:secret@127.0.0.1:{server.port}/in?a=%20b")
        response = await egress.post(to, HEAD, b'{"a":1}', 5.0)
        assert response.status == 202
        assert server.requests == [
            b"POST /in?a=%%20b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
            b"Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"
            b"User-Agent: natss-dispatcher/%b\r\nAccept-Encoding: identity\r\n"
            b"Content-Type: application/json\r\nCe-Id: 1\r\n"
            b'Content-Length: 7\r\n\r\n{"a":1}' % (server.port, version("natss-channel").encode())
        ]


async def test_empty_head_and_empty_body(egress: Egress) -> None:
    async with ScriptedServer() as server:
        await egress.post(target(server), b"", b"", 5.0)
        assert server.requests[0].endswith(b"Content-Length: 0\r\n\r\n")


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1, 5 * 1024 * 1024])
async def test_large_bodies_arrive_whole(egress: Egress, size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    async with ScriptedServer() as server:
        for _ in range(2):
            assert (await egress.post(target(server), HEAD, body, 5.0)).status == 202
        assert [request.partition(b"\r\n\r\n")[2] == body for request in server.requests] == [
            True,
            True,
        ]
        assert server.accepted == 1


async def test_connections_are_kept_and_shared_by_paths(egress: Egress) -> None:
    async with ScriptedServer() as server:
        for path in ("a", "b", "c?d"):
            await egress.post(target(server, path), HEAD, b"{}", 5.0)
        assert server.accepted == 1
        assert repr(egress) == "<Egress open: 1 origins, 1 connections, 1 idle, 0 waiting>"


async def test_as_many_connections_as_requests_at_once(egress: Egress) -> None:
    go = asyncio.Event()
    async with ScriptedServer((READ, go, answer(200), REPEAT)) as server:
        posts = [
            asyncio.create_task(egress.post(target(server), HEAD, b"{}", 5.0)) for _ in range(20)
        ]
        await server.until(lambda: len(server.requests) == 20)
        go.set()
        await asyncio.gather(*posts)
        await asyncio.gather(*(egress.post(target(server), HEAD, b"{}", 5.0) for _ in range(20)))
        assert server.accepted == 20


async def test_reply_is_given_whole(egress: Egress) -> None:
    reply = answer(200, b"reply", b"Ce-Id: 2", b"Ce-Id: 3")
    async with ScriptedServer((READ, reply)) as server:
        response = await egress.post(target(server), HEAD, b"{}", 5.0)
    assert response.body == b"reply"
    assert response.headers == [
        (b"Content-Length", b"5"),
        (b"Ce-Id", b"2"),
        (b"Ce-Id", b"3"),
    ]


async def test_connection_that_may_not_be_kept_is_closed(egress: Egress) -> None:
    async with ScriptedServer((READ, answer(202, b"", b"Connection: close"))) as server:
        for number in range(1, 4):
            assert (await egress.post(target(server), HEAD, b"{}", 5.0)).status == 202
            assert server.accepted == number
        await server.until(lambda: server.open == 0)
        assert repr(egress) == "<Egress open: 0 origins, 0 connections, 0 idle, 0 waiting>"


# The one retry


@pytest.mark.parametrize("how", [CLOSE, RESET])
async def test_kept_alive_connection_that_closes_under_the_request(
    egress: Egress, how: bytes
) -> None:
    """The server closes as soon as the second request reaches it: a fresh connection takes it."""
    async with ScriptedServer((READ, answer(202), READ, how), ALWAYS_202) as server:
        assert (await egress.post(target(server), HEAD, b"{}", 5.0)).status == 202
        assert (await egress.post(target(server), HEAD, b"{}", 5.0)).status == 202
        assert (server.accepted, len(server.requests)) == (2, 3)


async def test_kept_alive_connections_closed_while_idle(egress: Egress) -> None:
    close = asyncio.Event()
    async with ScriptedServer((READ, close, answer(202), CLOSE)) as server:
        posts = [
            asyncio.create_task(egress.post(target(server), HEAD, b"{}", 5.0)) for _ in range(5)
        ]
        await server.until(lambda: len(server.requests) == 5)
        close.set()
        await asyncio.gather(*posts)
        await server.until(lambda: server.open == 0)
        assert (await egress.post(target(server), HEAD, b"{}", 5.0)).status == 202
        assert len(server.requests) == 6


async def test_retry_is_not_repeated(egress: Egress) -> None:
    async with ScriptedServer((READ, answer(202), READ, CLOSE), (READ, CLOSE)) as server:
        assert (await egress.post(target(server), HEAD, b"{}", 5.0)).status == 202
        error = await failure(egress, target(server))
        assert error.reason is FailureReason.CLOSED
        assert (server.accepted, len(server.requests)) == (2, 3)


async def test_fresh_connection_is_not_retried(egress: Egress) -> None:
    async with ScriptedServer((READ, CLOSE)) as server:
        error = await failure(egress, target(server))
        assert error.reason is FailureReason.CLOSED
        assert str(error) == "the connection was closed before the answer"
        assert server.accepted == 1


async def test_failure_within_the_answer_is_not_retried(egress: Egress) -> None:
    async with ScriptedServer((READ, answer(202), READ, b"HTTP/1.1 2", CLOSE)) as server:
        await egress.post(target(server), HEAD, b"{}", 5.0)
        assert (await failure(egress, target(server))).reason is FailureReason.CLOSED
        assert server.accepted == 1


async def test_large_body_is_sent_again_from_its_beginning(egress: Egress) -> None:
    body = b"0123456789abcdef" * 2**17
    async with ScriptedServer((READ, answer(202), READ_HEAD, CLOSE), ALWAYS_202) as server:
        await egress.post(target(server), HEAD, b"{}", 5.0)
        assert (await egress.post(target(server), HEAD, body, 5.0)).status == 202
        assert server.requests[-1].partition(b"\r\n\r\n")[2] == body


# Time


async def test_timeout_closes_the_connection(egress: Egress) -> None:
    async with ScriptedServer(SILENT, ALWAYS_202) as server:
        error = await failure(egress, target(server), 0.5)
        assert error.reason is FailureReason.TIMEOUT
        assert str(error) == "timed out before the answer"
        await server.until(lambda: server.open == 0)
        assert (await egress.post(target(server), HEAD, b"{}", 5.0)).status == 202


async def test_timeout_while_waiting_for_a_connection() -> None:
    egress = Egress(EgressLimits(max_connections_per_origin=1), TLS)
    async with ScriptedServer(SILENT) as server:
        first = asyncio.create_task(failure(egress, target(server), 0.3))
        await server.until(lambda: len(server.requests) == 1)
        error = await failure(egress, target(server), 0.05)
        assert error.reason is FailureReason.TIMEOUT
        assert str(error) == "timed out while all connections were in use"
        await first
        assert repr(egress) == "<Egress open: 0 origins, 0 connections, 0 idle, 0 waiting>"
    await egress.close()


async def test_slow_origin_holds_up_nobody_else() -> None:
    """The slow one has used up its own share: half of what there is."""
    egress = Egress(EgressLimits(max_connections=16), TLS)
    async with ScriptedServer(SILENT) as slow, ScriptedServer() as quick:
        hanging = [
            asyncio.create_task(egress.post(target(slow), HEAD, b"{}", 5.0)) for _ in range(20)
        ]
        await slow.until(lambda: len(slow.requests) == 8)
        for _ in range(50):
            assert (await egress.post(target(quick), HEAD, b"{}", 5.0)).status == 202
        assert not any(task.done() for task in hanging), "it has waited for none of them"
        assert quick.accepted == 1
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert repr(egress) == "<Egress open: 1 origins, 1 connections, 1 idle, 0 waiting>"
    await egress.close()


async def test_idle_connections_are_swept() -> None:
    egress = Egress(EgressLimits(idle_timeout=0.1), TLS)
    async with ScriptedServer() as server:
        await egress.post(target(server), HEAD, b"{}", 5.0)
        assert server.open == 1
        await server.until(lambda: server.open == 0)
        assert repr(egress) == "<Egress open: 0 origins, 0 connections, 0 idle, 0 waiting>"
        await egress.post(target(server), HEAD, b"{}", 5.0)
        await server.until(lambda: server.open == 0)  # the sweep has begun again
    await egress.close()


async def test_old_connections_are_replaced() -> None:
    egress = Egress(EgressLimits(max_age=0.05), TLS)
    async with ScriptedServer() as server:
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            await egress.post(target(server), HEAD, b"{}", 5.0)
        assert 3 <= server.accepted <= 8
    await egress.close()


# Closing


async def test_close_fails_what_is_under_way_and_what_comes_later() -> None:
    egress = Egress(EgressLimits(max_connections_per_origin=1), TLS)
    async with ScriptedServer(SILENT) as server:
        posts = [asyncio.create_task(failure(egress, target(server))) for _ in range(3)]
        await server.until(lambda: len(server.requests) == 1)
        await egress.close()
        errors = [*await asyncio.gather(*posts), await failure(egress, target(server))]
        assert {error.reason for error in errors} == {FailureReason.CLOSED}
        await server.until(lambda: server.open == 0)
        assert repr(egress) == "<Egress closed: 0 origins, 0 connections, 0 idle, 0 waiting>"


async def test_close_leaves_nothing_open() -> None:
    """Warnings are errors: an unclosed transport or socket would fail this."""
    egress = Egress(LIMITS, TLS)
    async with ScriptedServer() as server:
        await asyncio.gather(*(egress.post(target(server), HEAD, b"{}", 5.0) for _ in range(10)))
        await egress.close()
        await egress.close()
        await server.until(lambda: server.open == 0)
    del egress
    gc.collect()


async def test_many_posts_at_once_over_few_connections() -> None:
    egress = Egress(EgressLimits(max_connections_per_origin=4), TLS)
    async with ScriptedServer() as server:
        responses = await asyncio.gather(
            *(egress.post(target(server), HEAD, b"%d" % n, 5.0) for n in range(500))
        )
        assert {response.status for response in responses} == {202}
        bodies = [int(request.partition(b"\r\n\r\n")[2]) for request in server.requests]
        assert sorted(bodies) == list(range(500))
        assert server.accepted == 4
    await egress.close()


async def test_what_we_say_of_ourselves_an_event_cannot_say(egress: Egress) -> None:
    """Also one that another program has stored."""
    stored = b'{"headers":{"User-Agent":"x","user-agent":"y","Accept-Encoding":"gzip","Ce-Id":"1"}}'
    event = decode(stored)
    async with ScriptedServer() as server:
        await egress.post(target(server), event.head, event.body, 5.0)
    lines = server.requests[0].split(b"\r\n")
    told = [line for line in lines if line.lower().startswith((b"user-agent", b"accept-"))]
    assert told == [
        b"User-Agent: natss-dispatcher/" + version("natss-channel").encode(),
        b"Accept-Encoding: identity",
    ]
