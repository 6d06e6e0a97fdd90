"""What Kyma relies on when NATS Streaming asks who is there.

Numbers of items are those of the index in ``test_index.py``.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kyma.conftest import CLUSTER_ID, LIMITS, StartSubscriber, subscription
from tests.kyma.event_bus import EventBus, EventType, Outcome
from tests.support.installation import Installation
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "s3cret-of-the-event-bus"


def authorization(password: str) -> str:
    return f'authorization {{ user: "eb", password: "{password}" }}'


@pytest_asyncio.fixture(loop_scope="module")
async def streaming(tmp_path: Path) -> AsyncIterator[NatsStreamingServer]:
    """Yield a server that expects another password than the dispatcher's, at first."""
    server = NatsStreamingServer(
        tmp_path / "nats-streaming",
        store="FILE",
        cluster_id=CLUSTER_ID,
        streaming=LIMITS,
        nats=authorization("another"),
    )
    await server.start()
    yield server
    await server.kill()


async def is_publishing(bus: EventBus, events: EventType) -> None:
    async def is_published() -> bool:
        return await bus.publish(events, "probe") is Outcome.PUBLISHED

    await eventually(is_published, 30.0)


def shown(installation: Installation) -> str:
    return installation.dispatcher.log.read_text()


async def test_item_15_credentials_in_the_url_are_tried_until_they_are_right(
    kubernetes: KubernetesServer,
    streaming: NatsStreamingServer,
    namespace: str,
    order_created: EventType,
    start_subscriber: StartSubscriber,
    tmp_path: Path,
) -> None:
    url = f"nats://eb:{PASSWORD}@127.0.0.1:{streaming.port}"
    flags = ("--natss-url", url)
    installation = Installation(kubernetes, streaming, tmp_path / "installation", flags)
    try:
        await installation.start(until="/healthz")
        dispatcher = installation.dispatcher

        async def is_unready_for_the_credentials() -> bool:
            code, text = await dispatcher.admin("/readyz")
            return code == 503 and "uthori" in text

        await eventually(is_unready_for_the_credentials)
        await streaming.stop()
        streaming.nats = authorization(PASSWORD)
        await streaming.start()
        async with EventBus(installation, namespace) as bus:
            sink = await start_subscriber()
            mail = subscription(order_created, sink.url)
            await bus.activate(mail)
            await bus.delivers(mail)
            await is_publishing(bus, order_created)
            await sink.wait_for_events(1)
            channel = str(await bus.channel(order_created))
        pages = [(await dispatcher.admin(path))[1] for path in ("/status", "/metrics", "/")]
    finally:
        await installation.stop()
    events = kubernetes.get(f"/api/v1/namespaces/{namespace}/events")["items"]
    for text in (shown(installation), channel, str(events), *pages):
        assert PASSWORD not in text
    assert "nats://***@127.0.0.1" in shown(installation)


async def test_item_15_a_password_that_is_rotated_needs_no_restart(
    kubernetes: KubernetesServer,
    streaming: NatsStreamingServer,
    namespace: str,
    order_created: EventType,
    start_subscriber: StartSubscriber,
    tmp_path: Path,
) -> None:
    """By a file, as a Secret that is mounted; a URL in the environment needs another pod."""
    password = tmp_path / "password"
    password.write_text("another")
    flags = ("--natss-user=eb", f"--natss-password-file={password}")
    folder = tmp_path / "installation"
    async with (
        Installation(kubernetes, streaming, folder, flags) as installation,
        EventBus(installation, namespace) as bus,
    ):
        sink = await start_subscriber()
        mail = subscription(order_created, sink.url)
        await bus.activate(mail)
        await bus.delivers(mail)
        assert await bus.publish(order_created, "e1") is Outcome.PUBLISHED
        await streaming.stop()
        streaming.nats = authorization(PASSWORD)
        await streaming.start()
        assert await bus.publish(order_created, "e2") is Outcome.FAILED
        password.write_text(PASSWORD)
        await is_publishing(bus, order_created)
        await sink.wait_for_events(2)
    assert PASSWORD not in shown(installation)
