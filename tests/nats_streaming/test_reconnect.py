"""What a session goes through when NATS goes away and comes back."""

from nats_streaming import ConnectionState, StartAt, SubscriptionOptions
from tests.nats_streaming.watching import Connect, Received
from tests.proxy import Proxy
from tests.servers import NatsStreamingServer

DURABLE = SubscriptionOptions(durable="d", start=StartAt.first(), manual_ack=True)
AWAY_AND_BACK = (
    ConnectionState.DISCONNECTED,
    ConnectionState.RESTORING,
    ConnectionState.OPEN,
)


async def test_nats_cut_and_back(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """NATS reconnected: ping, and if the session lives, re-open every durable."""
    received = Received()
    async with Proxy(memory_server.port) as proxy:
        connection, watched = await connect(proxy.url)
        subscription = await connection.subscribe(unique_name, received, DURABLE)
        await connection.publish(unique_name, b"1")
        await received.until(1)
        inbox = subscription.inbox
        proxy.cut()
        await watched.until(*AWAY_AND_BACK)
        assert subscription.inbox != inbox
        await connection.publish(unique_name, b"2")
        await received.until(2)
        assert received.sequences == [1, 2]
        assert not connection.lost.done()
        await connection.close()
