"""Whether many well-behaved subscribers notice a noisy neighbour: a subscriber, or a channel.

A trickle of events goes to channels whose subscribers are all quick, in turns without and with the
disturbance, so that whatever else the machine does affects both. The figure compared is the time
from posting an event to its delivery.

Besides, a loud channel is given to a second dispatcher with a server of its own: what others notice
then is the machine, which all share, and no dispatcher can spare them that.
"""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.ends import Latency, Sink, post
from tests.endurance.overload_system import Layout, System, running
from tests.support.channel_files import host

MOST = 2.0
"""How many times as long a delivery may take with the disturbance."""

MOST_BESIDE = 3.0
"""The same beside a loud channel: the slowest hundredth takes 1.5 to 2.4 times as long from run to
run, and one verdict in three would be chance.
"""

HEAD = (
    "| disturbance | without it: p50, p99 | with it: p50, p99 | with it elsewhere: p50, p99 |\n"
    "|---|---:|---:|---:|"
)

_ALL_HOSTS = "c%04d.default.channels.cluster.local"
_BODY = 64
_LOUD_RATE = 4000
"""No more events of the loud channel get through in a second. As many as a turn has room for are
posted on the same 64 connections, and then again, as long as the disturbance lasts.
"""

_ONSET = 0.5
"""Seconds from its beginning until its effect is measured."""


@dataclass(frozen=True, slots=True)
class Size:
    """The amount of everything; the subscribers of all channels are a thousand in full size."""

    channels: int
    fan_out: int
    turns: int
    seconds: float
    """Of each turn, without and with the disturbance."""

    rate: float
    """Events a second to all channels together."""

    @property
    def events(self) -> int:
        """Number of events in a turn; as many to each channel."""
        return round(self.rate * self.seconds / self.channels) * self.channels


class What(enum.Enum):
    """What kind of neighbour disturbs."""

    DEAD_SUBSCRIBER = enum.auto()
    LOUD_CHANNEL = enum.auto()


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A disturbance by one of many."""

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
    elsewhere: Latency | None
    """While another dispatcher on the same machine has the loud channel."""

    def as_row(self) -> str:
        """Return a row of the table under ``HEAD``."""
        cells = [_shown(self.without), _shown(self.with_it), _shown(self.elsewhere)]
        return f"| {self.name} | {' | '.join(cells)} |"

    def is_fair(self, quantile: str, most: float | None = None) -> bool:
        """Return whether the others take at most so many times as long, by ``p50`` or ``p99``."""
        if most is None:
            most = MOST if self.elsewhere is None else MOST_BESIDE
        allowed = getattr(self.without, quantile)
        if self.elsewhere is not None:
            allowed = max(allowed, getattr(self.elsewhere, quantile))
        return bool(getattr(self.with_it, quantile) <= most * allowed)


def _shown(latency: Latency | None) -> str:
    return "" if latency is None else f"{latency.p50:.1f}, {latency.p99:.1f} ms"


def _median(latencies: Sequence[Latency]) -> Latency:
    return Latency(median(each.p50 for each in latencies), median(each.p99 for each in latencies))


async def compare(disturbance: Disturbance, size: Size, folder: Path) -> Comparison:
    """Measure in turns with everything fresh.

    Raises:
        MeasurementFailed: an event was not answered 202, or not delivered to one of the others.
    """
    is_loud = disturbance.what is What.LOUD_CHANNEL
    async with _sink() as others, _sink() as one, contextlib.AsyncExitStack() as stack:
        loud = size.channels  # the last channel, to which nothing else is posted

        def address(channel: int, subscriber: int) -> str:
            is_dead = not is_loud and channel == subscriber == 0
            return one.address if is_dead or channel == loud else others.address

        layout = Layout(sink_of=address, channels=size.channels + is_loud, fan_out=size.fan_out)
        here, elsewhere = folder / "here", folder / "elsewhere"
        here.mkdir()
        elsewhere.mkdir()
        system = await stack.enter_async_context(running(here, layout))
        trickle = _Trickle(system, others, size, disturbance.what)
        await trickle.turn()  # not counted: the first events open connections
        if not is_loud:
            without, (with_dead,) = await _turns(trickle, size.turns, lambda: _dead(one))
            return Comparison(disturbance.name, without, with_dead, None)
        alone = Layout(sink_of=lambda *_: one.address, fan_out=size.fan_out)
        second = await stack.enter_async_context(running(elsewhere, alone))
        without, with_it = await _turns(
            trickle, size.turns, lambda: _loud(system, size), lambda: _loud(second, size)
        )
        return Comparison(disturbance.name, without, *with_it)


async def _turns(
    trickle: "_Trickle", turns: int, *disturbances: Callable[[], AbstractAsyncContextManager[None]]
) -> tuple[Latency, list[Latency]]:
    """Return the median without a disturbance, and with each of them."""
    without: list[Latency] = []
    with_each: list[list[Latency]] = [[] for _ in disturbances]
    for _ in range(turns):
        without.append(await trickle.turn())
        for disturbance, with_it in zip(disturbances, with_each, strict=True):
            async with disturbance():
                with_it.append(await trickle.turn())
    return _median(without), [_median(each) for each in with_each]


class _Trickle:
    """A slow stream of events to every channel but the loud one."""

    def __init__(self, system: System, others: Sink, size: Size, what: What) -> None:
        self._address = f"127.0.0.1:{system.dispatcher.port}"
        self._others = others
        self._size = size
        self._deliveries = size.events * size.fan_out
        if what is What.DEAD_SUBSCRIBER:
            self._deliveries -= size.events // size.channels

    async def turn(self) -> Latency:
        """Run a turn; return the latency of deliveries to the others."""
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
async def _dead(one: Sink) -> AsyncIterator[None]:
    await one.stop()
    yield
    await one.start_again()


@contextlib.asynccontextmanager
async def _loud(system: System, size: Size) -> AsyncIterator[None]:
    """Post to the last channel as fast as it is answered."""
    stop = asyncio.Event()
    posting = asyncio.create_task(_be_loud(system, size, stop), name="loud channel")
    try:
        await asyncio.sleep(_ONSET)
        yield
    finally:
        stop.set()
        await posting


async def _be_loud(system: System, size: Size, stop: asyncio.Event) -> None:
    address = f"127.0.0.1:{system.dispatcher.port}"
    loud = host(f"c{system.layout.channels - 1:04d}")
    while not stop.is_set():
        await post(address, loud, round(_LOUD_RATE * size.seconds), _BODY)


@contextlib.asynccontextmanager
async def _sink() -> AsyncIterator[Sink]:
    sink = await Sink.start()
    try:
        yield sink
    finally:
        await sink.stop()
