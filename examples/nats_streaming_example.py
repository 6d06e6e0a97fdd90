"""Ten orders over NATS Streaming: published, stored and handled, whatever dies in between.

Arguments: the URL of a NATS server, and the cluster id of the NATS Streaming server there.
"""

import asyncio
import sys
from typing import Any

from natss import nats_streaming
from natss.nats_streaming import (
    ConnectionOptions,
    Message,
    NatsOptions,
    StartAt,
    SubscriptionOptions,
)


async def main(url: str, cluster_id: str) -> None:
    options = ConnectionOptions(
        cluster_id=cluster_id, client_id="order-desk", nats=NatsOptions(servers=(url,))
    )
    durable = SubscriptionOptions(durable="desk", start=StartAt.first(), ack_wait=5)
    to_publish = [f"{number} apples".encode() for number in range(10)]
    handled: set[int] = set()
    finished = asyncio.Event()

    async def handle(message: Message) -> None:
        """Handle a message: returning acks it; if this raises, it comes again after ack_wait."""
        print(f"order {message.sequence}: {message.data.decode()}")
        handled.add(message.sequence)
        if len(handled) == 10:
            finished.set()

    while not finished.is_set():
        try:
            async with await nats_streaming.connect(options) as connection:
                await connection.subscribe("orders", handle, durable)
                while to_publish:
                    guid = await connection.publish("orders", to_publish[0])
                    print(f"stored as {guid}")
                    to_publish.pop(0)
                # The connection handles reconnects, this program a lost session.
                ends: list[asyncio.Future[Any]] = [
                    asyncio.create_task(finished.wait()),
                    connection.lost,
                ]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except nats_streaming.NatsStreamingError as error:
            if not error.retriable:
                raise
            print(f"again in a second: {error}")
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
