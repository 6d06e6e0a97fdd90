"""What the log tells of delivery where there is no Kubernetes to tell it to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.channel_files import channel, subscription, write_documents
from tests.observed_dispatcher import ObservedDispatcher
from tests.servers import NatsStreamingServer
from tests.subscriber import Subscriber, status


@pytest.fixture
async def sink() -> AsyncIterator[Subscriber]:
    server = Subscriber(status(503))
    await server.start()
    yield server
    await server.stop()


async def test_a_stuck_subscriber_and_a_lost_connection_are_logged(
    file_server: NatsStreamingServer, sink: Subscriber, tmp_path: Path
) -> None:
    path = tmp_path / "channels.yaml"
    write_documents(
        path, channel("orders", {"ackWait": "2s"}), subscription("mail", "orders", sink.url)
    )
    dispatcher = ObservedDispatcher(file_server, path, ("--stuck-after=1s", "--retry=0"))
    await dispatcher.start()
    try:
        assert await dispatcher.post("orders", "e1") == 202
        await dispatcher.wait_for_log("Channel default/orders: SubscriberStuck", where="status 503")
        await file_server.kill()
        await dispatcher.wait_for_log("Dispatcher: ConnectionLost", where="503")
        await file_server.restart()
        await dispatcher.wait_for_log("Dispatcher: ConnectionRestored")
        sink.answer = status(200)
        await sink.wait_for_events(1)
        await dispatcher.wait_for_log("Channel default/orders: SubscriberRecovered")
    finally:
        await dispatcher.close_http()
        await dispatcher.stop()
