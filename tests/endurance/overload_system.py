"""The system to overload: a real server and a real dispatcher, with configurable channels.

Channels are named ``c0000`` and so on; the path that a subscriber is posted to names it, so that
one sink (``bench/load``) can be all subscribers.
"""

import contextlib
import json
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.whole import subscribed
from tests.support.channel_files import channel, host, subscription
from tests.support.dispatcher_process import DispatcherProcess
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer, Store

CLUSTER_ID = "overload"
UNLIMITED = "store_limits { max_channels: 0, max_msgs: 0, max_bytes: 0 }"

SinkOf = Callable[[int, int], str]
"""Returns the address (``HOST:PORT``) of a subscriber, by the numbers of its channel and of itself.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The channels and subscribers."""

    sink_of: SinkOf
    channels: int = 1
    fan_out: int = 1
    arguments: Mapping[str, object] = field(default_factory=dict)
    """``spec.arguments`` of every channel."""

    flags: Sequence[str] = ()
    """Further flags for the dispatcher."""

    store: Store = "MEMORY"

    @property
    def subscriptions(self) -> int:
        return self.channels * self.fan_out


@dataclass(frozen=True, slots=True)
class System:
    """All running parts."""

    layout: Layout
    server: NatsStreamingServer
    dispatcher: DispatcherProcess
    proxy: Proxy | None
    """Between the dispatcher and NATS Streaming, if requested."""

    @property
    def hosts(self) -> list[str]:
        """The hosts of all channels."""
        return [host(_channel_name(number)) for number in range(self.layout.channels)]


@contextlib.asynccontextmanager
async def running(folder: Path, layout: Layout, *, proxied: bool = False) -> AsyncIterator[System]:
    """Start everything in a folder of its own, with every durable open.

    Raises:
        ServerFailed, ProcessFailed, MeasurementFailed: something does not start.
    """
    _raise_open_files()
    server = NatsStreamingServer(
        folder / "server", store=layout.store, cluster_id=CLUSTER_ID, streaming=UNLIMITED
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.kill)
        await server.start()
        proxy = await stack.enter_async_context(Proxy(server.port)) if proxied else None
        channels = folder / "channels.yaml"
        channels.write_text("\n---\n".join(map(json.dumps, _documents(layout))))
        dispatcher = DispatcherProcess(
            channels,
            server.url if proxy is None else proxy.url,
            CLUSTER_ID,
            folder / "dispatcher.log",
            ["--log-level=warning", *layout.flags],
        )
        stack.push_async_callback(dispatcher.stop)
        await dispatcher.start()
        await subscribed(server, layout.subscriptions)
        yield System(layout, server, dispatcher, proxy)


def _documents(layout: Layout) -> Iterator[Mapping[str, object]]:
    for number in range(layout.channels):
        name = _channel_name(number)
        yield channel(name, layout.arguments)
        for each in range(layout.fan_out):
            address = layout.sink_of(number, each)
            yield subscription(f"{name}-s{each:03d}", name, f"http://{address}/{name}-s{each:03d}")


def _channel_name(number: int) -> str:
    return f"c{number:04d}"


def _raise_open_files() -> None:
    """Raise the limit of open files: thousands of connections begin in this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
