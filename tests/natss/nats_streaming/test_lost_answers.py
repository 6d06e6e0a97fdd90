"""Answers to subscribe requests that are late, lost, or overtaken by messages."""

import asyncio
from dataclasses import replace
from urllib.error import HTTPError

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming import ConnectionState, StartAt, SubscriptionOptions
from natss.nats_streaming import protocol_pb2 as pb
from tests.natss.nats_streaming.fake_streaming import FakeStreaming
from tests.natss.nats_streaming.watching import Connect, Received
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

DURABLE = SubscriptionOptions(durable="d", start=StartAt.first(), manual_ack=True)


async def test_lost_subscribe_answer(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer], connect: Connect
) -> None:
    """Subscribe timeout: ended by its delivery inbox, then again; no `duplicate durable`."""
    nats, streaming = nats_apart
    connection, _ = await connect(
        nats.url, cluster_id="apart", request_timeout=1.0, ping_interval=60
    )
    received = Received()
    streaming.pause()
    with pytest.raises(ns.ServerUnavailable) as raised:
        await connection.subscribe("a", received, DURABLE)
    assert raised.value.retriable
    streaming.resume()
    await connection.subscribe("a", received, DURABLE)
    await connection.publish("a", b"")
    await received.until(1)


async def test_lost_subscribe_answer_of_a_group(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer], connect: Connect
) -> None:
    """No ghost member is left, that would take messages and ack none."""
    nats, streaming = nats_apart
    connection, _ = await connect(
        nats.url, cluster_id="apart", request_timeout=1.0, ping_interval=60
    )
    received = Received()
    options = replace(DURABLE, queue="g", max_inflight=1)
    for _ in range(2):
        streaming.pause()
        with pytest.raises(ns.ServerUnavailable):
            await connection.subscribe("a", received, options)
        streaming.resume()
    await connection.subscribe("a", received, options)
    for _ in range(10):
        await connection.publish("a", b"")
    await received.until(10)
    assert received.sequences == list(range(1, 11))


async def test_lost_subscribe_answer_and_a_cut(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """The answer is lost with the connection: the server has the durable, we know nothing."""
    async with Proxy(memory_server.port) as proxy:
        connection, watched = await connect(proxy.url, ping_interval=60)
        received = Received()
        proxy.drop_to_client()
        subscribing = asyncio.create_task(connection.subscribe(unique_name, received, DURABLE))

        async def server_has_it() -> bool:
            try:
                return "subscriptions" in await memory_server.channelsz(unique_name)
            except HTTPError:  # no such channel yet
                return False

        await eventually(server_has_it)
        proxy.cut()
        with pytest.raises(ns.NotConnected):
            await subscribing
        proxy.release()
        await watched.until(ConnectionState.RESTORING, ConnectionState.OPEN)
        await connection.subscribe(unique_name, received, DURABLE)
        await connection.publish(unique_name, b"")
        await received.until(1)


async def test_a_session_that_is_lost_while_subscribing_says_so(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    async with Proxy(memory_server.port) as proxy:
        connection, _ = await connect(proxy.url, ping_interval=60, client_id=unique_name)
        proxy.hold()
        subscribing = asyncio.create_task(connection.subscribe(unique_name, Received(), DURABLE))
        await connect(memory_server.url, client_id=unique_name)
        await connection.abandon()
        with pytest.raises(ns.NatsStreamingError):
            await subscribing


async def test_late_server_that_still_has_the_durable(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    """`duplicate durable` after a lost answer: close again."""
    async with FakeStreaming(memory_server.url, "late") as fake:
        connection, _ = await connect(memory_server.url, cluster_id="late", request_timeout=0.1)
        fake.subscribe_errors = ["no answer", "stan: duplicate durable registration"]
        with pytest.raises(ns.ServerUnavailable):
            await connection.subscribe("a", Received(), DURABLE)
        subscription = await connection.subscribe("a", Received(), DURABLE)
        assert subscription.is_open
        kinds = [type(request).__name__ for request in fake.requests[1:]]
        assert kinds == [
            "SubscriptionRequest",
            "UnsubscribeRequest",
            "SubscriptionRequest",
            "UnsubscribeRequest",
            "SubscriptionRequest",
            "UnsubscribeRequest",
        ]
        lost = fake.requests[1]
        assert isinstance(lost, pb.SubscriptionRequest)
        ended = [item for item in fake.requests if isinstance(item, pb.UnsubscribeRequest)]
        assert {request.inbox for request in ended} == {lost.inbox}


async def test_message_before_the_subscribe_answer(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    """It is queued until the ackInbox is known."""
    async with FakeStreaming(memory_server.url, "early") as fake:
        fake.early = [pb.MsgProto(sequence=number, timestamp=1) for number in (1, 2)]
        connection, _ = await connect(memory_server.url, cluster_id="early")
        received = Received()
        subscription = await connection.subscribe("a", received, DURABLE)
        await received.until(2)
        await fake.deliver(subscription.inbox, pb.MsgProto(sequence=3, timestamp=1))
        await received.until(3)
        assert received.sequences == [1, 2, 3]


async def test_redelivered_flag_and_count(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    async with FakeStreaming(memory_server.url, "flags") as fake:
        connection, _ = await connect(memory_server.url, cluster_id="flags")
        received = Received()
        subscription = await connection.subscribe("a", received)
        message = pb.MsgProto(sequence=7, timestamp=8, redelivered=True, redelivery_count=3)
        await fake.deliver(subscription.inbox, message)
        await received.until(1)
        assert received.messages[0].redelivered
        assert received.messages[0].redelivery_count == 3
        assert "again(3)" in repr(received.messages[0])
