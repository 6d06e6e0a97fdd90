"""Fixtures that every folder of tests may use: real servers and names of one's own."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import NatsStreamingServer

StartServer = Callable[..., Awaitable[NatsStreamingServer]]


@pytest.fixture
def unique_name() -> str:
    """For the channels, clients and durables of one test on a server that tests share."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def memory_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsStreamingServer]:
    """One server (MEMORY store, no limit on channels) for all tests that leave it alone."""
    server = NatsStreamingServer(
        tmp_path_factory.mktemp("memory-server"), streaming="store_limits { max_channels: 0 }"
    )
    server.start_blocking()
    yield server
    server.stop_blocking()


@pytest.fixture
async def file_server(natss_server: StartServer) -> NatsStreamingServer:
    """A server with FILE store of the test's own, to be killed, paused and restarted."""
    return await natss_server(store="FILE")


@pytest.fixture
async def natss_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Call it, with ``store="FILE"`` or so, for servers that are the test's own.

    Arguments as of tests.servers.NatsStreamingServer; all are stopped with the test.
    """
    servers: list[NatsStreamingServer] = []

    async def start(**options: Any) -> NatsStreamingServer:
        server = NatsStreamingServer(tmp_path / f"server-{len(servers)}", **options)
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.kill()
