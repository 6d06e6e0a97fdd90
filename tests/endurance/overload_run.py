"""One overload from its beginning back to full speed, and the rules that must hold."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from bench.ends import Sink
from bench.measure import resident_mib
from tests.endurance.overload_publishers import Publishers
from tests.endurance.overload_system import System
from tests.endurance.overload_watch import Watch

HEALTHY_SECONDS = 1.0
"""An answer to /healthz is due within this time."""

_BATCH_CONNECTIONS = 16
_BATCH_EACH = 10
_BATCH_SECONDS = 20.0
_SLOWER = 2.0
_SLACK_SECONDS = 0.25
"""Full speed: a batch takes no longer than so many times what it took before, plus this."""

_SMALL = b'"overload"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of an overload. Memory is the dispatcher's, in MiB; times are in seconds."""

    scenario: str
    posted: int
    accepted: int
    refused: int
    """429 or 503 with ``Retry-After``."""

    lost: int
    """Deliveries of what was answered 202 that did not arrive."""

    copies: int
    before: float
    highest: float
    after: float
    allowed: float
    """What ``highest`` may be by the settings."""

    slowest_answer: float
    slowest_health: float
    recovery: float | None
    """From the end of the load until all is delivered and a batch is as quick as before."""

    wrong: Counter[str] = field(default_factory=Counter)
    """Other answers, none, and failures of /healthz."""

    def broken_rules(self) -> list[str]:
        """Return which rules were broken, in words; empty if all is well."""
        rules = {
            f"{self.lost} deliveries are lost": self.lost > 0,
            f"wrong answers: {dict(self.wrong)}": self.wrong.total() > 0,
            f"{self.highest:.0f} MiB are more than {self.allowed:.0f}": self.highest > self.allowed,
            f"/healthz took {self.slowest_health:.2f} s": self.slowest_health > HEALTHY_SECONDS,
            "it does not come to full speed again": self.recovery is None,
        }
        return [text for text, is_broken in rules.items() if is_broken]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a scenario does to a dispatcher."""

    scenario: str
    connections: int
    each: int
    """Events posted on each connection, over all channels in turn."""

    body: bytes = _SMALL
    allowed: float
    deliver_seconds: float = 120.0
    """Until all is delivered."""

    is_down: bool = False
    """Whether the subscriber is down until everything is accepted."""

    stored_rate: int | None = None
    """Bytes a second that NATS Streaming takes meanwhile; for a system with a proxy."""

    first: int = 1_000_000
    """Number of the first event; those of batches are lower."""


async def overload(system: System, sink: Sink, load: Load) -> Outcome:
    """Post as the load says; wait for every delivery, and for full speed."""
    dispatcher, fan_out = system.dispatcher, system.layout.fan_out
    batches = _Batches(system, sink)
    await batches.run()
    usual = await batches.run()
    before = resident_mib(dispatcher.pid)
    publishers = Publishers(dispatcher.port, system.hosts, load.body)
    with Watch(dispatcher) as watch:
        await _make_worse(system, sink, load)
        await publishers.post(load.connections, load.each, load.first)
        if await _make_well(system, sink, load):
            batches.delivered = 0
        ended = time.monotonic()
        wanted = batches.delivered + publishers.answers.accepted * fan_out
        arrived = await sink.count_up_to(wanted, load.deliver_seconds)
        batches.delivered = arrived.events
        recovered = arrived.events == wanted and await batches.full_speed(usual)
        recovery = time.monotonic() - ended if recovered else None
        highest = watch.peak
    answers = publishers.answers
    return Outcome(
        scenario=load.scenario,
        posted=answers.posted,
        accepted=answers.accepted,
        refused=answers.refused.total(),
        lost=wanted - arrived.events,
        copies=arrived.duplicates,
        before=before,
        highest=highest,
        after=resident_mib(dispatcher.pid),
        allowed=load.allowed,
        slowest_answer=answers.slowest,
        slowest_health=watch.slowest,
        recovery=recovery,
        wrong=answers.wrong + watch.failures,
    )


async def _make_worse(system: System, sink: Sink, load: Load) -> None:
    if load.stored_rate is not None and system.proxy is not None:
        system.proxy.limit(load.stored_rate)
    if load.is_down:
        await sink.stop()


async def _make_well(system: System, sink: Sink, load: Load) -> bool:
    """Make the subscriber well again; return whether it counts from 0."""
    if system.proxy is not None:
        system.proxy.release()
    if load.is_down:
        await sink.start_again()
    return load.is_down


class _Batches:
    """Small loads that measure how fast the dispatcher is."""

    def __init__(self, system: System, sink: Sink) -> None:
        self.delivered = 0
        """To all subscribers together, by batches and whatever else was waited for."""
        self._system = system
        self._sink = sink
        self._next = 0

    async def run(self) -> float:
        """Return the seconds from posting a batch to its last delivery; infinite if that fails."""
        began = time.monotonic()
        count = _BATCH_CONNECTIONS * _BATCH_EACH
        publishers = Publishers(self._system.dispatcher.port, self._system.hosts, _SMALL)
        await publishers.post(_BATCH_CONNECTIONS, _BATCH_EACH, self._next)
        self._next += count
        wanted = self.delivered + count * self._system.layout.fan_out
        arrived = await self._sink.count_up_to(wanted, _BATCH_SECONDS)
        self.delivered = arrived.events
        return time.monotonic() - began if arrived.events == wanted else float("inf")

    async def full_speed(self, usual: float) -> bool:
        """Run batches until one is about as fast as usual; return False if none is in a minute."""
        try:
            async with asyncio.timeout(60):
                while await self.run() > _SLOWER * usual + _SLACK_SECONDS:
                    pass
        except TimeoutError:
            return False
        return True
