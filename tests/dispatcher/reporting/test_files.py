"""What the log tells of delivery where there is no Kubernetes to tell it to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.channel_files import channel, subscription, write_documents
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber, status
from tests.support.waiting import eventually


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
        await dispatcher.wait_for_log("events do not get through", where="status 503")
        await file_server.kill()
        await dispatcher.wait_for_log("connection lost", where="deliver")
        await file_server.restart()
        await dispatcher.wait_for_log("connected", where="deliver")
        sink.answer = status(200)
        await sink.wait_for_events(1)
        await dispatcher.wait_for_log("events get through again", where="SubscriberRecovered")
    finally:
        await dispatcher.close_http()
        await dispatcher.stop()


async def test_a_restart_keeps_since_when_a_subscriber_is_stuck(
    file_server: NatsStreamingServer, sink: Subscriber, tmp_path: Path
) -> None:
    path = tmp_path / "channels.yaml"
    write_documents(
        path, channel("orders", {"ackWait": "2s"}), subscription("mail", "orders", sink.url, "u1")
    )
    state = f"--state-dir={tmp_path / 'state'}"
    first = ObservedDispatcher(file_server, path, ("--stuck-after=1s", "--retry=0", state))
    await first.start()
    try:
        assert await first.post("orders", "e1") == 202
        told = await first.wait_for_log("events do not get through")

        async def is_kept() -> bool:
            return (tmp_path / "state" / "delivery.json").exists()

        await eventually(is_kept)
    finally:
        await first.close_http()
        await first.kill()
    second = ObservedDispatcher(file_server, path, ("--stuck-after=1h", "--retry=0", state))
    await second.start()
    try:

        async def is_stuck() -> bool:
            return (await second.subscription("default/mail")).get("delivers") == "no"

        await eventually(is_stuck)
        described = await second.subscription("default/mail")
        assert described["reason"] == f"SubscriberStuck: {told['message']}"
        sink.answer = status(200)
        await second.wait_for_log("events get through again")
    finally:
        await second.close_http()
        await second.stop()
