"""What the demo runs: NATS Streaming, the dispatcher, and subscribers, all on 127.0.0.1."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from examples.demo.subscribers import Subscriber
from natss.contract.names import DEFAULT_CLUSTER_ID
from tests.support.dispatcher_process import DispatcherProcess
from tests.support.servers import NatsStreamingServer

CHANNELS_FILE = Path(__file__).parent.parent / "channels.yaml"
NAMESPACE = "shop"
PORT_IN_FILE = {"quick": 9001, "slow": 9002, "flaky": 9003, "ledger": 9004}


@dataclass
class Demo:
    server: NatsStreamingServer
    dispatcher: DispatcherProcess
    subscribers: list[Subscriber]
    delivered_one: asyncio.Event


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Demo]:
    """Start everything on free ports, with files in ``folder``; end it all, whatever happens."""
    delivered_one = asyncio.Event()
    subscribers = [
        Subscriber("quick", "orders", delivered_one),
        Subscriber("slow", "orders", delivered_one, delay=0.2),
        Subscriber("flaky", "orders", delivered_one, fails_every=3),
        Subscriber("ledger", "payments", delivered_one),
    ]
    server = NatsStreamingServer(folder / "server", store="FILE", cluster_id=DEFAULT_CLUSTER_ID)
    async with contextlib.AsyncExitStack() as stack:
        for subscriber in subscribers:
            await subscriber.start()
            stack.push_async_callback(subscriber.stop)
        stack.push_async_callback(server.kill)
        await server.start()
        channels = folder / "channels.yaml"
        channels.write_text(with_ports(CHANNELS_FILE.read_text(), subscribers))
        dispatcher = DispatcherProcess(
            channels, server.url, DEFAULT_CLUSTER_ID, folder / "dispatcher.log"
        )
        stack.push_async_callback(dispatcher.kill)
        await dispatcher.start()
        yield Demo(server, dispatcher, subscribers, delivered_one)


def with_ports(text: str, subscribers: list[Subscriber]) -> str:
    """Return the documents with the real addresses of the subscribers."""
    for subscriber in subscribers:
        text = text.replace(f":{PORT_IN_FILE[subscriber.name]}/", f":{subscriber.port}/")
    return text
