"""The ordinary way of a message, against the real server."""

import asyncio

import natss.nats_streaming as ns
from natss.nats_streaming import ConnectionOptions, NatsOptions, StartAt, SubscriptionOptions
from tests.support.servers import NatsStreamingServer


async def test_what_is_published_is_delivered_and_acked(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    options = ConnectionOptions(
        cluster_id=memory_server.cluster_id,
        client_id=unique_name,
        nats=NatsOptions(servers=(memory_server.url,)),
    )
    received: asyncio.Queue[ns.Message] = asyncio.Queue()
    async with await ns.connect(options) as connection:
        guids = [await connection.publish(unique_name, b"%d" % number) for number in range(3)]
        assert len(set(guids)) == 3
        subscription = await connection.subscribe(
            unique_name,
            received.put_nowait,
            SubscriptionOptions(durable="d", start=StartAt.first(), manual_ack=True),
        )
        messages = [await received.get() for _ in range(3)]
        assert [(message.sequence, message.data) for message in messages] == [
            (1, b"0"),
            (2, b"1"),
            (3, b"2"),
        ]
        for message in messages:
            message.ack()
        await subscription.close()  # is handled after the acks
        (durable,) = (await memory_server.channelsz(unique_name))["subscriptions"]
        assert (durable["last_sent"], durable["pending_count"]) == (3, 0)
