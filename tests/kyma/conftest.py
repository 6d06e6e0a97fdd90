"""Fixtures of Kyma's Event Bus on our two programs, a real Kubernetes API and a real server.

All coroutines of a module run on one event loop, for what takes long to start is started once for
a module. A module that harms it has an ``installation`` of its own for each test instead.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kyma.event_bus import EventBus, EventType, KymaSubscription
from tests.support.installation import Installation
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Answer, Subscriber

CLUSTER_ID = "kyma-nats-streaming"
LIMITS = "store_limits { max_channels: 0, max_age: 24h, max_inactivity: 48h }"
"""As Kyma deployed NATS Streaming, in its later releases."""

StartSubscriber = Callable[..., Awaitable[Subscriber]]


def streaming_server(folder: Path) -> NatsStreamingServer:
    """Return NATS Streaming as Kyma deployed it; not started."""
    return NatsStreamingServer(folder, store="FILE", cluster_id=CLUSTER_ID, streaming=LIMITS)


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsStreamingServer]:
    server = streaming_server(tmp_path_factory.mktemp("nats-streaming"))
    server.start_blocking()
    yield server
    server.stop_blocking()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    request: pytest.FixtureRequest,
    kubernetes: KubernetesServer,
    streaming: NatsStreamingServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Installation]:
    """Yield both programs at work; a module may set ``DISPATCHER_FLAGS``."""
    flags = getattr(request.module, "DISPATCHER_FLAGS", ())
    folder = tmp_path_factory.mktemp("installation")
    async with Installation(kubernetes, streaming, folder, flags) as both:
        yield both


@pytest_asyncio.fixture(loop_scope="module")
async def bus(installation: Installation, namespace: str) -> AsyncIterator[EventBus]:
    """Yield the event bus, with a namespace of the test's own for channels."""
    async with EventBus(installation, namespace) as both_controllers:
        yield both_controllers


@pytest_asyncio.fixture(loop_scope="module")
async def start_subscriber() -> AsyncIterator[StartSubscriber]:
    started: list[Subscriber] = []

    async def start(answer: Answer | None = None) -> Subscriber:
        subscriber = Subscriber(answer)
        await subscriber.start()
        started.append(subscriber)
        return subscriber

    yield start
    for subscriber in started:
        await subscriber.stop()


@pytest.fixture
def order_created() -> EventType:
    """Return the event type whose exact channel name is known."""
    return EventType("ec-default", "order.created", "v1")


def subscription(events: EventType, endpoint: str, name: str = "mail") -> KymaSubscription:
    """Return the Subscription of an application in the namespace ``shop-1``."""
    return KymaSubscription(name, "shop-1", events, endpoint)
