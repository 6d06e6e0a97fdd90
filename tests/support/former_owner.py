"""A client that was replaced under its client id, and does not know it yet."""

import nats

from natss.nats_streaming.protocol_pb2 import StartPosition, SubscriptionRequest
from tests.support.servers import NatsStreamingServer


async def open_for_nobody(
    server: NatsStreamingServer, client_id: str, channel: str, durable: str
) -> None:
    """Open a durable as that client would, and end; the server then has it open for nobody.

    The server obeys, since such a request carries only the client id.
    """
    request = SubscriptionRequest(
        client_id=client_id,
        subject=channel,
        inbox="_INBOX.nobody",
        max_in_flight=1,
        ack_wait_in_secs=30,
        durable_name=durable,
        start_position=StartPosition.FIRST,
    )
    client = await nats.connect(server.url)
    await client.request(f"_STAN.sub.{server.cluster_id}", request.SerializeToString())
    await client.close()
