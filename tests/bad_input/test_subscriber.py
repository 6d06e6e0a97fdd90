"""Subscribers that misbehave: each gets a clear failure, and its neighbour notices nothing.

Every case runs beside a well-behaved subscriber that is posted to all the time.
"""

import asyncio
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from dispatcher.egress.client import Egress, EgressError, FailureReason, Response, Target
from dispatcher.egress.limits import EgressLimits
from tests.support.event_loops import BOTH
from tests.support.scripted_server import (
    CLOSE,
    READ,
    READ_HEAD,
    RESET,
    STALL,
    Script,
    ScriptedServer,
    answer,
)
from tests.support.servers import free_port

EVENT_LOOPS = BOTH

LIMITS = EgressLimits(max_response_bytes=100_000, connect_timeout=2.0)

TLS = ssl.create_default_context()


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send 10 GB, if the client would read them."""
    block = b"x" * 2**20
    for _number in range(10_000):
        writer.write(block)
        await writer.drain()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.005)


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    """Yield an egress beside a healthy neighbour, which alone has a connection in the end."""
    egress = Egress(LIMITS, TLS)
    async with ScriptedServer() as neighbour:
        stop = asyncio.Event()
        task = asyncio.create_task(_post_to(egress, Target.parse(neighbour.url), stop))
        yield egress
        stop.set()
        slowest = await task
        assert len(neighbour.requests) > 0
        assert slowest < 2  # all servers run in this process too, on a machine that may be busy
    assert repr(egress) == "<Egress open: 1 origins, 1 connections, 1 idle, 0 waiting>"
    await egress.close()


async def _post_to(egress: Egress, target: Target, stop: asyncio.Event) -> float:
    """Post again and again; return the seconds that the slowest post took."""
    slowest = 0.0
    while not stop.is_set():
        started = time.monotonic()
        assert (await egress.post(target, b"", b"{}", 5.0)).status == 202
        slowest = max(slowest, time.monotonic() - started)
        await asyncio.sleep(0.001)
    return slowest


async def post(
    egress: Egress, script: Script, timeout: float = 5.0, body: bytes = b"{}"
) -> Response | EgressError:
    async with ScriptedServer(script) as server:
        try:
            return await egress.post(Target.parse(server.url), b"", body, timeout)
        except EgressError as error:
            return error


async def test_refuses(egress: Egress) -> None:
    with pytest.raises(EgressError) as caught:
        await egress.post(Target.parse(f"http://127.0.0.1:{free_port()}/"), b"", b"{}", 5.0)
    assert caught.value.reason is FailureReason.CONNECT


FAILURES = [
    pytest.param((CLOSE,), FailureReason.CLOSED, id="hangs up"),
    pytest.param((RESET,), FailureReason.CLOSED, id="resets"),
    pytest.param((READ, CLOSE), FailureReason.CLOSED, id="hangs up on the request"),
    pytest.param((READ, RESET), FailureReason.CLOSED, id="resets on the request"),
    pytest.param((READ, b"HTTP/1.1 200", CLOSE), FailureReason.CLOSED, id="half a status line"),
    pytest.param(
        (READ, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", CLOSE),
        FailureReason.CLOSED,
        id="closes after the headers",
    ),
    pytest.param(
        (READ, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", RESET),
        FailureReason.CLOSED,
        id="resets in the body",
    ),
    pytest.param(
        (READ, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", CLOSE),
        FailureReason.CLOSED,
        id="ends without the last chunk",
    ),
    pytest.param(
        (
            READ,
            b"\x16\x03\x01\x02\x00" * 9,
        ),
        FailureReason.MALFORMED,
        id="speaks TLS",
    ),
    pytest.param((b"SSH-2.0-OpenSSH_9.2p1\r\n",), FailureReason.MALFORMED, id="speaks SSH"),
    pytest.param((READ, b"<html>Hello</html>"), FailureReason.MALFORMED, id="speaks HTTP/0.9"),
    pytest.param((READ, bytes(range(256)) * 9), FailureReason.MALFORMED, id="garbage"),
    pytest.param((flood,), FailureReason.MALFORMED, id="10 GB of garbage"),
    pytest.param(
        (READ, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        FailureReason.MALFORMED,
        id="switches protocols",
    ),
    pytest.param(
        (READ, b"HTTP/1.1 200 OK\r\nX: ", flood), FailureReason.MALFORMED, id="10 GB header"
    ),
    pytest.param(
        (READ, b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000),
        FailureReason.MALFORMED,
        id="continues for ever",
    ),
    pytest.param(
        (READ, b"HTTP/1.1 200 OK\r\n\r\n", flood), FailureReason.TOO_LARGE, id="10 GB until close"
    ),
    pytest.param(
        (READ, b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", flood),
        FailureReason.TOO_LARGE,
        id="10 GB by length",
    ),
    pytest.param(
        (READ, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2540BE400\r\n", flood),
        FailureReason.TOO_LARGE,
        id="10 GB in one chunk",
    ),
]


@pytest.mark.parametrize(("script", "reason"), FAILURES)
async def test_fails(egress: Egress, script: Script, reason: FailureReason) -> None:
    error = await post(egress, script)
    assert isinstance(error, EgressError)
    assert error.reason is reason
    assert str(error).isprintable()


HANGS = [
    pytest.param((STALL,), id="does not even read"),
    pytest.param((READ,), id="hangs"),
    pytest.param((READ, b"HTTP/1.1 200 OK\r\nX: ", drip), id="drips headers"),
    pytest.param((READ, b"HTTP/1.1 100 Continue\r\n\r\n"), id="only 100"),
    pytest.param((READ, b"HTTP/1.1 200 OK\r\n\r\n", drip), id="drips a body"),
    pytest.param((READ, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), id="half a body"),
]


@pytest.mark.parametrize("script", HANGS)
async def test_time_runs_out(egress: Egress, script: Script) -> None:
    """The timeout is for all of the attempt, however lively the subscriber looks."""
    started = time.monotonic()
    error = await post(egress, script, timeout=0.1)
    assert isinstance(error, EgressError)
    assert error.reason is FailureReason.TIMEOUT
    assert 0.09 < time.monotonic() - started < 3


async def test_does_not_read_a_large_request(egress: Egress) -> None:
    error = await post(egress, (READ_HEAD, STALL), 0.1, b"b" * 20_000_000)
    assert isinstance(error, EgressError)
    assert error.reason is FailureReason.TIMEOUT


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 306])
async def test_redirects_that_change_the_request(egress: Egress, status: int) -> None:
    """They are not followed: what they ask for is no POST of the event."""
    async with ScriptedServer() as elsewhere:
        response = await post(
            egress, (READ, answer(status, b"", b"Location: " + elsewhere.url.encode()))
        )
        assert isinstance(response, Response)
        assert response.status == status
        assert elsewhere.accepted == 0


async def test_failure_with_a_body_of_10_gb_keeps_its_status(egress: Egress) -> None:
    response = await post(egress, (READ, b"HTTP/1.1 503 Service Unavailable\r\n\r\n", flood))
    assert isinstance(response, Response)
    assert response.status == 503
    assert response.body == b"x" * 100_000


async def test_10_gb_take_no_memory(egress: Egress) -> None:
    script = (READ, b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", flood)
    tracemalloc.start()
    try:
        await asyncio.gather(*(post(egress, script) for _ in range(5)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000  # the flooding servers are in this process too


async def test_answers_before_it_has_read_the_request(egress: Egress) -> None:
    response = await post(
        egress, (READ_HEAD, answer(413, b"too large"), STALL), body=b"b" * 20_000_000
    )
    assert isinstance(response, Response)
    assert (response.status, response.body) == (413, b"too large")


async def test_answers_before_it_is_asked(egress: Egress) -> None:
    """An answer that was sent with the connection may be an error of a proxy, and is taken."""
    async with ScriptedServer((answer(503), READ)) as server:
        result = (
            await asyncio.gather(
                egress.post(Target.parse(server.url), b"", b"{}", 5.0), return_exceptions=True
            )
        )[0]
        if isinstance(result, EgressError):  # it came before the request was sent
            assert result.reason is FailureReason.CLOSED
        else:
            assert isinstance(result, Response)
            assert result.status == 503


async def test_sends_two_answers(egress: Egress) -> None:
    """The second must not be taken for the answer to the next event."""
    async with ScriptedServer((READ, answer(202) + answer(500)), (READ, answer(204))) as server:
        target = Target.parse(server.url)
        statuses = [(await egress.post(target, b"", b"{}", 5.0)).status for _ in range(2)]
        assert statuses == [202, 204]
        assert server.accepted == 2


async def test_sends_a_second_answer_later(egress: Egress) -> None:
    later = asyncio.Event()
    async with ScriptedServer(
        (READ, answer(202), later, answer(500)), (READ, answer(204))
    ) as server:
        target = Target.parse(server.url)
        statuses = [(await egress.post(target, b"", b"{}", 5.0)).status]
        later.set()
        await server.until(lambda: server.open == 0)
        statuses.append((await egress.post(target, b"", b"{}", 5.0)).status)
        assert statuses == [202, 204]


async def test_thousand_posts_to_one_that_hangs(egress: Egress) -> None:
    async with ScriptedServer((READ,)) as server:
        target = Target.parse(server.url)
        results = await asyncio.gather(
            *(egress.post(target, b"", b"{}", 0.5) for _ in range(1000)), return_exceptions=True
        )
        assert server.most_open <= LIMITS.max_connections_per_origin
    assert {type(result) for result in results} == {EgressError}
    reasons = {result.reason for result in results if isinstance(result, EgressError)}
    assert reasons == {FailureReason.TIMEOUT}
