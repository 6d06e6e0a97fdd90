"""Whether many well-behaved subscribers notice what one of them, or one channel, does.

A trickle of events goes to channels whose subscribers are all quick, in turns without and with the
disturbance, so that whatever else the machine does falls on both. What is compared is the time
from posting an event to its delivery.

A dispatcher is one process: what keeps all of it busy, others have to share. Beside a channel at
full rate they wait as its own publishers do, but must not wait behind its backlog.
"""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.ends import Latency, Sink, post
from tests.channel_files import host
from tests.endurance.overload_system import Layout, System, running

MOST = 2.0
"""How many times as long it may take with the disturbance."""

MOST_BESIDE = 4.0
"""Or, beside a loud channel, how many times as long as its publishers wait for their answers."""

HEAD = (
    "| disturbance | without it: p50, p99 | with it: p50, p99 | its own publishers: p50, p99 |\n"
    "|---|---:|---:|---:|"
)

_ALL_HOSTS = "c%04d.default.channels.cluster.local"
_BODY = 64
_LOUD_EVENTS = 1000
"""Posted at a time, on 64 connections, as long as the disturbance lasts."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; the subscribers of all channels are a thousand in full size."""

    channels: int
    fan_out: int
    turns: int
    seconds: float
    """Of each turn, without and with the disturbance."""

    rate: float
    """Events a second to all channels together."""

    @property
    def events(self) -> int:
        """In a turn; as many to each channel."""
        return round(self.rate * self.seconds / self.channels) * self.channels


class What(enum.Enum):
    """Who disturbs."""

    DEAD_SUBSCRIBER = enum.auto()
    LOUD_CHANNEL = enum.auto()


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What one of many does."""

    name: str
    what: What
    full: Size
    short: Size


DISTURBANCES = (
    Disturbance(
        "one dead subscriber of 1,000",
        What.DEAD_SUBSCRIBER,
        full=Size(channels=100, fan_out=10, turns=4, seconds=5, rate=100),
        short=Size(channels=20, fan_out=5, turns=2, seconds=1, rate=100),
    ),
    Disturbance(
        "one channel at full rate",
        What.LOUD_CHANNEL,
        full=Size(channels=100, fan_out=3, turns=4, seconds=5, rate=200),
        short=Size(channels=20, fan_out=3, turns=2, seconds=1, rate=100),
    ),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How long deliveries to the others take; medians of all turns."""

    name: str
    without: Latency
    with_it: Latency
    own: Latency | None
    """Until the publishers of the loud channel are answered."""

    def as_row(self) -> str:
        """Of the table under ``HEAD``."""
        cells = [_shown(self.without), _shown(self.with_it), _shown(self.own)]
        return f"| {self.name} | {' | '.join(cells)} |"

    def is_fair(self, quantile: str) -> bool:
        """Whether the others take no longer than they may, by ``p50`` or ``p99``."""
        allowed = MOST * getattr(self.without, quantile)
        if self.own is not None:
            allowed = max(allowed, MOST_BESIDE * getattr(self.own, quantile))
        return bool(getattr(self.with_it, quantile) <= allowed)


def _shown(latency: Latency | None) -> str:
    return "" if latency is None else f"{latency.p50:.1f}, {latency.p99:.1f} ms"


def _median(latencies: Sequence[Latency]) -> Latency:
    return Latency(median(each.p50 for each in latencies), median(each.p99 for each in latencies))


async def compare(disturbance: Disturbance, size: Size, folder: Path) -> Comparison:
    """Measure in turns with everything fresh.

    Raises:
        MeasurementFailed: an event was not answered 202, or not delivered to one of the others.
    """
    async with _sink() as others, _sink() as one:
        loud = size.channels  # the last channel, to which nobody else posts
        channels = size.channels + (disturbance.what is What.LOUD_CHANNEL)

        def address(channel: int, subscriber: int) -> str:
            is_dead = disturbance.what is What.DEAD_SUBSCRIBER and channel == subscriber == 0
            return one.address if is_dead or channel == loud else others.address

        layout = Layout(sink_of=address, channels=channels, fan_out=size.fan_out)
        async with running(folder, layout) as system:
            trickle = _Trickle(system, others, size, disturbance.what)
            await trickle.turn()  # not counted: the first events open connections
            without, with_it, own = [], [], list[Latency]()
            for _ in range(size.turns):
                without.append(await trickle.turn())
                async with _disturbed(disturbance.what, system, one, own):
                    with_it.append(await trickle.turn())
    return Comparison(
        disturbance.name, _median(without), _median(with_it), _median(own) if own else None
    )


class _Trickle:
    """Events now and then, to every channel but the loud one."""

    def __init__(self, system: System, others: Sink, size: Size, what: What) -> None:
        self._address = f"127.0.0.1:{system.dispatcher.port}"
        self._others = others
        self._size = size
        self._deliveries = size.events * size.fan_out
        if what is What.DEAD_SUBSCRIBER:
            self._deliveries -= size.events // size.channels

    async def turn(self) -> Latency:
        """Of the deliveries to the others in one turn."""
        size = self._size
        await self._others.reset()
        arriving = asyncio.create_task(self._others.wait_for(self._deliveries, 30), name="others")
        try:
            await post(
                self._address, _ALL_HOSTS, size.events, _BODY, hosts=size.channels, rate=size.rate
            )
            return (await arriving).latency
        finally:
            arriving.cancel()


@contextlib.asynccontextmanager
async def _disturbed(
    what: What, system: System, one: Sink, own: list[Latency]
) -> AsyncIterator[None]:
    if what is What.DEAD_SUBSCRIBER:
        await one.stop()
        yield
        await one.start_again()
        return
    stop = asyncio.Event()
    posting = asyncio.create_task(_be_loud(system, stop, own), name="loud channel")
    try:
        yield
    finally:
        stop.set()
        await posting


async def _be_loud(system: System, stop: asyncio.Event, own: list[Latency]) -> None:
    address = f"127.0.0.1:{system.dispatcher.port}"
    loud = host(f"c{system.layout.channels - 1:04d}")
    while not stop.is_set():
        own.append((await post(address, loud, _LOUD_EVENTS, _BODY)).latency)


@contextlib.asynccontextmanager
async def _sink() -> AsyncIterator[Sink]:
    sink = await Sink.start()
    try:
        yield sink
    finally:
        await sink.stop()
