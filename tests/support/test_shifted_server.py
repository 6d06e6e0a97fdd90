"""What NATS Streaming does when its clock is stepped, which the dispatcher has to live with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from natss import nats_streaming
from natss.nats_streaming import (
    Connection,
    ConnectionOptions,
    Message,
    NatsOptions,
    StartAt,
    SubscriptionOptions,
)
from tests.support.shifted_server import ShiftedServer

HOUR = 3600.0
ACK_WAIT = 1
DURABLE = SubscriptionOptions(
    durable="d", ack_wait=ACK_WAIT, manual_ack=True, start=StartAt.first()
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ShiftedServer]:
    server = ShiftedServer(tmp_path / "server", store="FILE")
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


@contextlib.asynccontextmanager
async def connected(server: ShiftedServer, client: str) -> AsyncIterator[Connection]:
    options = ConnectionOptions(
        cluster_id=server.cluster_id, client_id=client, nats=NatsOptions(servers=(server.url,))
    )
    async with await nats_streaming.connect(options) as connection:
        yield connection


async def read(connection: Connection, count: int) -> list[Message]:
    """Read the first messages that are stored."""
    found: asyncio.Queue[Message] = asyncio.Queue()
    options = SubscriptionOptions(start=StartAt.first())
    subscription = await connection.subscribe("x", found.put_nowait, options)
    messages = [await found.get() for _ in range(count)]
    await subscription.close()
    return messages


@pytest.mark.parametrize("seconds", [0.05, 3.0, HOUR])
async def test_timestamps_stand_still_while_the_clock_is_behind(
    server: ShiftedServer, seconds: float
) -> None:
    async with connected(server, "a") as connection:
        await connection.publish("x", b"1")
        server.shift(-seconds)
        await connection.publish("x", b"2")
        server.shift(seconds)
        await connection.publish("x", b"3")
        one, two, three = await read(connection, 3)
    assert two.timestamp - one.timestamp < 1e9
    assert one.timestamp <= two.timestamp
    assert three.timestamp - two.timestamp >= seconds * 1e9


@pytest.mark.parametrize("seconds", [30.0, HOUR])
async def test_timestamps_decrease_if_the_server_is_started_again_with_a_clock_that_is_behind(
    server: ShiftedServer, seconds: float
) -> None:
    async with connected(server, "a") as connection:
        await connection.publish("x", b"1")
    await server.kill()
    server.shift(-seconds)
    await server.start()
    async with connected(server, "b") as connection:
        await connection.publish("x", b"2")
        one, two = await read(connection, 2)
    assert (one.sequence, two.sequence) == (1, 2)
    assert two.timestamp < one.timestamp


async def test_nothing_is_sent_again_while_the_clock_is_behind(server: ShiftedServer) -> None:
    """Until then, or until the durable is reopened: the server goes by times of that clock."""
    async with connected(server, "a") as connection:
        found: asyncio.Queue[Message] = asyncio.Queue()
        subscription = await connection.subscribe("x", found.put_nowait, DURABLE)
        await connection.publish("x", b"1")
        assert not (await found.get()).redelivered
        assert (await found.get()).redelivered  # the clock is still right
        server.shift(-HOUR)
        await asyncio.sleep(4 * ACK_WAIT)
        assert found.qsize() <= 1  # at most once, by a timer that was set before
        while not found.empty():
            found.get_nowait()
        await subscription.reopen(subscription.options)
        assert (await found.get()).redelivered
