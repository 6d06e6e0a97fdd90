"""Event loops of the tests in this folder, and whom they deliver to."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.channel_files import write_documents
from tests.support.cluster_dispatcher import ChannelsOf
from tests.support.event_loops import ASYNCIO, Factory
from tests.support.kubernetes import KubernetesServer
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber

StartDispatcher = Callable[..., Awaitable[ObservedDispatcher]]
StartSubscriber = Callable[..., Awaitable[Subscriber]]


def pytest_asyncio_loop_factories(item: pytest.Function) -> Mapping[str, Factory]:
    """Let a module choose by ``EVENT_LOOPS``."""
    factories: Mapping[str, Factory] = getattr(item.module, "EVENT_LOOPS", ASYNCIO)
    return factories


@pytest.fixture
async def sink() -> AsyncIterator[Subscriber]:
    server = Subscriber()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def other_sink() -> AsyncIterator[Subscriber]:
    server = Subscriber()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def channels(kubernetes: KubernetesServer, namespace: str) -> ChannelsOf:
    return ChannelsOf(kubernetes, namespace)


@pytest.fixture
async def nats(file_server: NatsStreamingServer) -> AsyncIterator[Proxy]:
    """Yield a proxy between the dispatcher and NATS Streaming."""
    async with Proxy(file_server.port) as proxy:
        yield proxy


@pytest.fixture
async def start_subscriber() -> AsyncIterator[StartSubscriber]:
    started: list[Subscriber] = []

    async def start(*answer: Any) -> Subscriber:
        sink = Subscriber(*answer)
        await sink.start()
        started.append(sink)
        return sink

    yield start
    for sink in started:
        await sink.stop()


@pytest.fixture
async def start_dispatcher(tmp_path: Path) -> AsyncIterator[StartDispatcher]:
    """Yield a function that starts the dispatcher with documents; it ends with the test."""
    started: list[ObservedDispatcher] = []

    async def start(
        server: NatsStreamingServer, *documents: dict[str, Any], flags: tuple[str, ...] = ()
    ) -> ObservedDispatcher:
        path = write_documents(tmp_path / "channels.yaml", *documents)
        process = ObservedDispatcher(server, path, flags)
        started.append(process)
        await process.start()
        return process

    yield start
    for process in started:
        await process.close_http()
        await process.kill()
