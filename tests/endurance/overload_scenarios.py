"""Overloads of a dispatcher: each scenario in its full size and in a short one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.ends import Sink
from tests.endurance.overload_run import Load, Outcome, overload
from tests.endurance.overload_system import Layout, running
from tests.support.servers import Store

_PROCESS_MIB = 128
"""For a dispatcher by itself, with a thousand channels (docs/sizing.md)."""

_SPARE = 1.2
"""For what is being made or sent, and what the allocator does not return."""


@dataclass(frozen=True, slots=True)
class Size:
    """The amount of everything."""

    connections: int
    each: int
    """Events on each connection."""

    channels: int = 1
    buffered_mib: int = 256
    """Limit of the way in, and of the way out."""

    @property
    def allowed(self) -> float:
        """MiB that the dispatcher may take (docs/sizing.md)."""
        return (_PROCESS_MIB + 2 * self.buffered_mib) * _SPARE

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of the dispatcher."""
        return (
            f"--max-buffered-bytes={self.buffered_mib}Mi",
            f"--egress-max-buffered-bytes={self.buffered_mib}Mi",
            "--max-body-bytes=1Mi",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """An overload. Its subscribers are all well unless it says otherwise."""

    name: str
    full: Size
    short: Size
    fan_out: int = 1
    """Subscriptions of each channel."""

    body_bytes: int = 64
    refuses: bool = False
    """Whether there is more than the limits allow, so that some publishers have to wait."""

    delay_ms: int = 0
    """Delay until a subscriber answers."""

    is_down: bool = False
    """Whether the subscriber starts once all is stored."""

    stored_rate: int | None = None
    """Bytes a second that NATS Streaming accepts."""

    arguments: Mapping[str, object] = field(default_factory=dict)
    """``spec.arguments`` of the channels."""

    flags: Sequence[str] = ()
    store: Store = "MEMORY"


SCENARIOS = (
    Scenario(
        name="publishers faster than the store, 16 KiB each",
        full=Size(500, 20, buffered_mib=8),
        short=Size(60, 4, buffered_mib=2),
        body_bytes=16 * 1024,
        stored_rate=4_000_000,
        refuses=True,
    ),
    Scenario(
        name="2,000 connections, each posting",
        full=Size(2000, 20),
        short=Size(2000, 1),
    ),
    Scenario(
        name="2,000 connections, 200 allowed",
        full=Size(2000, 5),
        short=Size(600, 2),
        flags=("--max-connections=200",),
        refuses=True,
    ),
    Scenario(
        name="2,000 connections, 64 KiB each at once",
        full=Size(2000, 5, buffered_mib=64),
        short=Size(300, 2, buffered_mib=16),
        body_bytes=64 * 1024,
        refuses=True,
    ),
    Scenario(
        name="1,000 channels with 3 subscriptions, events to all",
        full=Size(200, 100, channels=1000),
        short=Size(50, 10, channels=100),
        fan_out=3,
    ),
    Scenario(
        name="the same, every delivery takes 500 ms",
        full=Size(200, 150, channels=1000, buffered_mib=64),
        short=Size(50, 20, channels=50),
        fan_out=3,
        delay_ms=500,
        flags=("--egress-max-connections-per-origin=4000",),
    ),
    Scenario(
        name="a subscriber is back to a backlog of 200,000",
        full=Size(64, 3125),
        short=Size(64, 50),
        is_down=True,
        arguments={"ackWait": "PT10S", "timeout": "PT5S"},
        store="FILE",
    ),
)


async def run(scenario: Scenario, size: Size, folder: Path) -> Outcome:
    """Start everything in a folder, overload it, and return the outcome.

    Raises:
        ServerFailed, ProcessFailed, MeasurementFailed: something does not start, or breaks.
    """
    sink = await Sink.start(scenario.delay_ms)
    layout = Layout(
        sink_of=lambda *_: sink.address,
        channels=size.channels,
        fan_out=scenario.fan_out,
        arguments=scenario.arguments,
        flags=(*size.flags, *scenario.flags),
        store=scenario.store,
    )
    load = Load(
        scenario=scenario.name,
        connections=size.connections,
        each=size.each,
        body=b'"%b"' % (b"x" * (scenario.body_bytes - 2)),
        allowed=size.allowed,
        is_down=scenario.is_down,
        stored_rate=scenario.stored_rate,
    )
    try:
        async with running(folder, layout, proxied=load.stored_rate is not None) as system:
            return await overload(system, sink, load)
    finally:
        await sink.stop()
