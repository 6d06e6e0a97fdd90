"""A handler that does not end, and code of ours that breaks: neither is silent, nor holds up."""

import asyncio
import contextlib

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming import StartAt, SubscriptionOptions
from tests.natss.nats_streaming.watching import Connect, Received
from tests.support.servers import NatsStreamingServer

DURABLE = SubscriptionOptions(durable="d", start=StartAt.first(), manual_ack=True)


async def test_a_fault_of_ours_in_restoring_a_durable_is_no_silence(
    memory_server: NatsStreamingServer,
    connect: Connect,
    unique_name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection, _ = await connect(memory_server.url)
    subscription = await connection.subscribe(unique_name, Received(), DURABLE)

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("natss.nats_streaming.opening.Opener.reopen", broken)
    refused = ns.ServerUnavailable("none")
    connection._subscriptions._retry_later(subscription, refused, at_once=True)
    async with asyncio.timeout(20):
        assert "ours" in (await connection.lost).reason
    assert "restore" in caplog.text


async def test_a_handler_that_does_not_end_does_not_keep_the_connection_open(
    memory_server: NatsStreamingServer,
    connect: Connect,
    unique_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection, _ = await connect(memory_server.url)
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def stubborn(_: ns.Message) -> None:
        begun.set()
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    await connection.subscribe(unique_name, stubborn, DURABLE)
    await connection.publish(unique_name, b"")
    await begun.wait()
    try:
        async with asyncio.timeout(20):
            await connection.abandon()
        assert "does not end" in caplog.text
    finally:
        may_end.set()
        await asyncio.sleep(0)
