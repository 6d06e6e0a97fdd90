"""Connecting can be given up at every moment."""

import asyncio

from natss import nats_streaming
from natss.nats_streaming import ConnectionOptions, NatsOptions
from tests.support.event_loops import BOTH
from tests.support.servers import NatsStreamingServer

EVENT_LOOPS = BOTH


async def test_a_cancelled_connect_always_ends_as_cancelled(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    """Not with a connection: whoever cancelled it would wait for its end for ever."""
    ended_by_itself = 0
    for step in range(200):
        options = ConnectionOptions(
            cluster_id=memory_server.cluster_id,
            client_id=f"{unique_name}-{step}",
            nats=NatsOptions(servers=(memory_server.url,)),
        )
        connecting = asyncio.create_task(nats_streaming.connect(options))
        await asyncio.sleep(step * 0.00005)
        if connecting.done():
            ended_by_itself += 1
            await connecting.result().close()
            continue
        connecting.cancel()
        await asyncio.wait((connecting,))
        assert connecting.cancelled(), f"cancelled after {step * 0.05:.2f} ms"
    assert ended_by_itself < 200
