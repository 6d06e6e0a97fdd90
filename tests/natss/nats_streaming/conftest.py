"""Connections of a test, and the event loops of the tests in this folder."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import natss.nats_streaming as ns
from tests.conftest import StartServer
from tests.natss.nats_streaming.watching import Connect, Watched
from tests.support.event_loops import BOTH, Factory
from tests.support.servers import NatsStreamingServer


def pytest_asyncio_loop_factories(item: pytest.Function) -> Mapping[str, Factory]:
    """Let a module choose its loop: the two differ in when a broken transport is reported."""
    factories: Mapping[str, Factory] = getattr(item.module, "EVENT_LOOPS", BOTH)
    return factories


@pytest.fixture
async def connect(unique_name: str) -> AsyncIterator[Connect]:
    """Yield a function that takes URLs and options and returns a connection and its events.

    The pace is faster than the default; what is still open at the end of the test is abandoned.
    """
    connections: list[ns.Connection] = []

    async def make(
        *urls: str, nats: dict[str, Any] | None = None, **changes: Any
    ) -> tuple[ns.Connection, Watched]:
        watched = Watched()
        options: dict[str, Any] = {
            "cluster_id": "test-cluster",
            "client_id": unique_name,
            "ping_interval": 0.2,
            "request_timeout": 1.0,
        }
        nats_options: dict[str, Any] = {
            "servers": urls,
            "ping_interval": 0.3,
            "reconnect_wait": 0.05,
            "connect_timeout": 1.0,
        }
        connection = await ns.connect(
            ns.ConnectionOptions(
                nats=ns.NatsOptions(**(nats_options | (nats or {}))), **(options | changes)
            ),
            on_event=watched.take,
        )
        connections.append(connection)
        return connection, watched

    yield make
    for connection in connections:
        await connection.abandon()


@pytest.fixture
async def nats_apart(
    natss_server: StartServer, tmp_path: Path
) -> tuple[NatsStreamingServer, NatsStreamingServer]:
    """Start a NATS that stays, and a NATS Streaming server (FILE) that may come and go."""
    nats = await natss_server()
    streaming = await natss_server(
        store="FILE", cluster_id="apart", streaming=f'nats_server: "{nats.url}"'
    )
    return nats, streaming
