"""Event loops of the tests in this folder, and whom they deliver to."""

from collections.abc import AsyncIterator, Mapping

import pytest

from tests.cluster_dispatcher import ChannelsOf
from tests.event_loops import ASYNCIO, Factory
from tests.kubernetes import KubernetesServer
from tests.proxy import Proxy
from tests.servers import NatsStreamingServer
from tests.subscriber import Subscriber


def pytest_asyncio_loop_factories(item: pytest.Function) -> Mapping[str, Factory]:
    """A module may choose by ``EVENT_LOOPS``."""
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
    """Between the dispatcher and NATS Streaming."""
    async with Proxy(file_server.port) as proxy:
        yield proxy
