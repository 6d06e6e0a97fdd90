"""Runs a case through the real dispatcher: HTTP in, NATS Streaming, HTTP out, each a process."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.cases import Case
from bench.ends import Arrived, Latency, MeasurementFailed, Posted, Sink, body_length, post
from bench.measure import cpu_seconds, resident_mib
from tests.support.dispatcher_process import DispatcherProcess
from tests.support.servers import NatsStreamingServer

CLUSTER_ID = "bench"
_NAMESPACE = "bench"
_WARM_UP = 2_000
_SUBSCRIBE_SECONDS = 60.0
_POLL_SECONDS = 0.1
_DELIVER_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Figures of one case. CPU is in microseconds for each event posted."""

    case: Case
    events_per_second: float
    """Events posted and delivered to every subscriber, from the first request to the last delivery.
    """

    deliveries_per_second: float
    dispatcher_cpu: float
    server_cpu: float
    sink_cpu: float
    """The load generator takes about the same."""

    accepted: Latency
    delivered: Latency
    duplicates: int
    idle_mib: float
    end_mib: float


async def run(case: Case, folder: Path) -> Result:
    """Run a case with everything fresh.

    Raises:
        MeasurementFailed: an event was not answered 202, or was not delivered in time.
    """
    server = NatsStreamingServer(
        folder / "server",
        store="FILE" if case.store == "FILE" else "MEMORY",
        cluster_id=CLUSTER_ID,
        streaming="store_limits { max_channels: 0, max_msgs: 0, max_bytes: 0 }",
    )
    async with contextlib.AsyncExitStack() as stack:
        sink = await Sink.start(case.delay_ms)
        stack.push_async_callback(sink.stop)
        stack.push_async_callback(server.kill)
        await server.start()
        channels = folder / "channels.yaml"
        channels.write_text("\n---\n".join(map(json.dumps, documents(case, sink.address))))
        dispatcher = DispatcherProcess(
            channels, server.url, CLUSTER_ID, folder / "dispatcher.log", ["--log-level=warning"]
        )
        stack.push_async_callback(dispatcher.stop)
        await dispatcher.start()
        await subscribed(server, case.channels * case.fan_out)
        idle_mib = resident_mib(dispatcher.pid)
        await _send(case, dispatcher, sink, min(_WARM_UP, case.events // 4))
        await sink.reset()

        pids = dispatcher.pid, server.pid, sink.pid
        before = [cpu_seconds(pid) for pid in pids]
        posted, arrived = await _send(case, dispatcher, sink, case.events)
        cpu = [
            (cpu_seconds(pid) - earlier) / case.events * 1e6
            for pid, earlier in zip(pids, before, strict=True)
        ]
        seconds = arrived.end - posted.begin
        return Result(
            case=case,
            events_per_second=case.events / seconds,
            deliveries_per_second=case.deliveries / seconds,
            dispatcher_cpu=cpu[0],
            server_cpu=cpu[1],
            sink_cpu=cpu[2],
            accepted=posted.latency,
            delivered=arrived.latency,
            duplicates=arrived.duplicates,
            idle_mib=idle_mib,
            end_mib=resident_mib(dispatcher.pid),
        )


def documents(case: Case, sink: str) -> Iterator[dict[str, object]]:
    """Yield Channels and Subscriptions as you would give them to kubectl."""
    api = "eventing.knative.dev/v1alpha1"
    for number in range(case.channels):
        channel = f"c{number:04d}"
        yield {
            "apiVersion": api,
            "kind": "Channel",
            "metadata": {"name": channel, "namespace": _NAMESPACE},
            "spec": {"provisioner": {"name": "natss"}},
        }
        for subscriber in range(case.fan_out):
            name = f"{channel}-s{subscriber:03d}"
            yield {
                "apiVersion": api,
                "kind": "Subscription",
                "metadata": {"name": name, "namespace": _NAMESPACE},
                "spec": {
                    "channel": {"apiVersion": api, "kind": "Channel", "name": channel},
                    "subscriber": {"dnsName": f"http://{sink}/{name}"},
                },
            }


async def _send(
    case: Case, dispatcher: DispatcherProcess, sink: Sink, events: int
) -> tuple[Posted, Arrived]:
    host = f"c%04d.{_NAMESPACE}.channels.cluster.local"
    body = body_length(case.stored_bytes, host)
    address = f"127.0.0.1:{dispatcher.port}"
    arriving = asyncio.create_task(
        sink.wait_for(events * case.fan_out, _DELIVER_SECONDS), name="deliveries"
    )
    try:
        posted = await post(address, host, events, body, hosts=case.channels, rate=case.rate)
        return posted, await arriving
    except MeasurementFailed as error:
        raise MeasurementFailed(f"{case.name}: {error}\n{dispatcher.end_of_log()}") from error
    finally:
        arriving.cancel()


async def subscribed(server: NatsStreamingServer, subscriptions: int) -> None:
    """Wait until every durable is open: a late one would miss what came before.

    Raises:
        MeasurementFailed: they are not open after a minute.
    """
    for _ in range(int(_SUBSCRIBE_SECONDS / _POLL_SECONDS)):
        if (await server.monitor("/streaming/serverz"))["subscriptions"] == subscriptions:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise MeasurementFailed(f"not all of {subscriptions} durables were opened")
