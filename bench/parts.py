"""What the dispatcher is made of, each part alone in a process: ``python -m bench.parts PART``.

Each prints a line of JSON with the CPU time that an event costs in that part. Together they are
what the dispatcher cannot be faster than with these parts; bench/RESULTS.md compares.
"""

import argparse
import asyncio
import json
import sys
import time

import uvloop

from bench.ends import CONNECTIONS, body_length, headers
from dispatcher.egress.client import Egress, Target
from dispatcher.egress.limits import EgressLimits
from dispatcher.event import stored_form as event
from dispatcher.ingress.context import Services
from dispatcher.ingress.limits import IngressLimits
from dispatcher.ingress.routing import Router, RoutingTable
from dispatcher.ingress.server import Ingress
from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.interface import NotStored
from natss import nats_streaming
from natss.contract import eventing
from natss.contract.channel_id import ChannelId
from natss.contract.names import DEFAULT_CLUSTER_DOMAIN, channel_host
from natss.contract.resources import Channel
from natss.nats_streaming import ConnectionOptions, Message, NatsOptions, SubscriptionOptions

CHANNEL = ChannelId(eventing.CHANNEL, "bench", "c0000")
HOST = channel_host(CHANNEL.namespace, CHANNEL.name, DEFAULT_CLUSTER_DOMAIN)
_MAX_PAYLOAD = 1 << 20


def stored_event(stored_bytes: int) -> bytes:
    """Return an event as the dispatcher stores it."""
    return event.encode(headers(), b"x" * body_length(stored_bytes, HOST), HOST)


class NatsStreamingAlone:
    """Publish, PubAck, deliver, ack; as many at once as the load generator has connections.

    Two sessions, as the dispatcher has them.
    """

    def __init__(self, stored_bytes: int) -> None:
        self._data = stored_event(stored_bytes)
        self._to_publish = 0
        self._to_deliver = 0
        self._done = asyncio.Event()

    async def measure(self, url: str, cluster_id: str, events: int) -> float:
        """Measure; return CPU in microseconds for each event."""
        nats = NatsOptions(servers=(url,))
        options = [
            ConnectionOptions(cluster_id=cluster_id, client_id=f"bench-{role}", nats=nats)
            for role in ("publish", "deliver")
        ]
        self._publisher, deliverer = [await nats_streaming.connect(o) for o in options]
        durable = SubscriptionOptions(durable="bench", max_inflight=CONNECTIONS, manual_ack=True)
        await deliverer.subscribe("parts", self._deliver, durable)
        await self._run(min(events, 2_000))
        begin = time.process_time()
        await self._run(events)
        cpu = (time.process_time() - begin) / events * 1e6
        await asyncio.gather(self._publisher.close(), deliverer.close())
        return cpu

    async def _run(self, events: int) -> None:
        self._done.clear()
        self._to_publish = self._to_deliver = events
        for _ in range(min(CONNECTIONS, events)):
            self._publish()
        await self._done.wait()

    def _publish(self) -> None:
        self._to_publish -= 1
        future = self._publisher.publish_nowait("parts", self._data)
        future.add_done_callback(self._published)

    def _published(self, future: "asyncio.Future[str]") -> None:
        future.result()
        if self._to_publish:
            self._publish()

    def _deliver(self, message: Message) -> None:
        message.subscription.ack(message.sequence)
        self._to_deliver -= 1
        if not self._to_deliver:
            self._done.set()


class _InstantSink:
    """Every event counts as stored at once."""

    max_event_bytes = _MAX_PAYLOAD

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def publish(self, _: str, __: bytes) -> "asyncio.Future[str]":
        future: asyncio.Future[str] = self._loop.create_future()
        future.set_result("")
        return future

    def not_stored(self, error: BaseException) -> NotStored:
        raise AssertionError("every event is stored") from error


async def serve_alone() -> None:
    """Serve HTTP and count every event as stored at once, until stdin ends."""
    metrics = Metrics()
    channel = Channel(CHANNEL, (HOST,))
    table = RoutingTable.build([channel], metrics.channel)
    services = Services(Router(table), _InstantSink(), metrics)
    ingress = Ingress(services, IngressLimits())
    print(json.dumps({"port": await ingress.start("127.0.0.1", 0)}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await ingress.close()


async def post_alone(sink: str, stored_bytes: int, events: int) -> float:
    """Send as many requests at once as a subscription does; return CPU in microseconds."""
    target = Target.parse(f"http://{sink}/")
    egress = Egress(EgressLimits())
    sent = time.time_ns()
    published = [*headers()[:-2], (b"Ce-Sentat", b"%d" % sent)]
    read = event.decode(event.encode(published, b"x" * body_length(stored_bytes, HOST), HOST))

    async def post(numbers: range) -> None:
        for number in numbers:
            head = b"%bCe-Id: %010d\r\n" % (read.head, number)
            await egress.post(target, head, read.body, 30.0)

    async def run(first: int, count: int) -> None:
        numbers = range(first, first + count)
        async with asyncio.TaskGroup() as group:
            for each in range(CONNECTIONS):
                group.create_task(post(numbers[each::CONNECTIONS]), name=f"post {each}")

    await run(0, 2_000)
    begin = time.process_time()
    await run(2_000, events)
    cpu = (time.process_time() - begin) / events * 1e6
    await egress.close()
    return cpu


def stored_form(stored_bytes: int, events: int) -> float:
    """Make and read the stored form of an event; return CPU in microseconds for both."""
    published, body = headers(), b"x" * body_length(stored_bytes, HOST)
    begin = time.process_time()
    for _ in range(events):
        event.decode(event.encode(published, body, HOST))
    return (time.process_time() - begin) / events * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.parts", description=__doc__)
    parser.add_argument("part", choices=["nats-streaming", "server", "client", "stored-form"])
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--stored-bytes", type=int, default=270)
    parser.add_argument("--url", default="nats://127.0.0.1:4222", help="of NATS Streaming")
    parser.add_argument("--cluster-id", default="bench")
    parser.add_argument("--sink", default="127.0.0.1:9001", help="address to post to")
    given = parser.parse_args()
    match given.part:
        case "server":
            uvloop.run(serve_alone())
            return
        case "stored-form":
            cpu = stored_form(given.stored_bytes, given.events)
        case "nats-streaming":
            part = NatsStreamingAlone(given.stored_bytes)
            cpu = uvloop.run(part.measure(given.url, given.cluster_id, given.events))
        case _:
            cpu = uvloop.run(post_alone(given.sink, given.stored_bytes, given.events))
    print(json.dumps({"cpu": cpu}))


if __name__ == "__main__":
    main()
