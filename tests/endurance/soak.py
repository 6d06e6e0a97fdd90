"""A run of hours: real processes under continuous load, while the desired state changes.

Nothing is broken on purpose except subscribers: some are never there, one comes and goes, some fail
now and then. ``tests.endurance.verdict`` judges the samples.
"""

import asyncio
import contextlib
import time
import urllib.error
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bench.measure import cpu_seconds, resident_mib
from tests.endurance import counted_dispatcher
from tests.endurance.changes import CHANGES, Unused
from tests.endurance.ledger import Ledger
from tests.endurance.samples import Sample, Scrape, open_files, threads
from tests.endurance.verdict import warm_up
from tests.faults import system
from tests.faults.load import Load, Pace
from tests.faults.subscribers import Nature
from tests.faults.system import HEARTBEATS, POLICY, Setup, System
from tests.support.data_plane import durables

STEADY = "orders"
"""A channel that nothing changes; the delay of events to its quick subscriber is measured."""

CHANNELS = {
    STEADY: POLICY,
    "bills": POLICY,
    "trips": {**POLICY, "order": "channel"},
    "mails": POLICY,
}
THERE = (
    ("orders-quick", STEADY, Nature.QUICK),
    ("orders-faltering", STEADY, Nature.FALTERING),
    ("bills-quick", "bills", Nature.QUICK),
    ("bills-faltering", "bills", Nature.FALTERING),
    ("trips-quick", "trips", Nature.QUICK),
    ("mails-fitful", "mails", Nature.QUICK),
)
NEVER_THERE = (("orders-down", STEADY, Nature.DOWN), ("mails-down", "mails", Nature.DOWN))
FITFUL = "mails-fitful"


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        minutes: Minutes of load.
        per_second: Events that are posted.
        with_down: Whether some subscribers are never there.
        change_every: Seconds between two changes of the desired state.
        sample_every: Seconds between two samples.
        down_and_up: Seconds that the fitful subscriber is away, and present.
        patience: Seconds at the end in which everything has to have arrived.
        leak: One of ``tests.endurance.counted_dispatcher.LEAKS``, to see that it is found.
    """

    minutes: float
    per_second: float = 200.0
    with_down: bool = True
    change_every: float = 10.0
    sample_every: float = 5.0
    down_and_up: tuple[float, float] = (20.0, 40.0)
    patience: float = 180.0
    leak: str | None = None

    def setup(self, folder: Path, seed: str) -> Setup:
        return Setup(
            folder,
            seed,
            pace=Pace(publishers=8, per_second=self.per_second),
            alteration=self.leak,
            channels=CHANNELS,
            subscribers=(*THERE, *(NEVER_THERE if self.with_down else ())),
            steady=frozenset({STEADY}),
            streaming=f"{HEARTBEATS}\n store_limits {{ max_channels: 0 }}",
            is_proxied=False,
            program=counted_dispatcher.__name__,
        )


@dataclass
class Run:
    """The outcome of a run.

    Attributes:
        lost: Events answered 202 that a present subscriber did not receive.
        before: Objects of the dispatcher after the warm-up, by type.
        after: Objects at the end.
    """

    ledger: Ledger
    samples: list[Sample] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    lost: dict[str, set[str]] = field(default_factory=dict)
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)

    def most_grown(self, number: int) -> list[tuple[str, int]]:
        """Return the types whose number has grown most, and by how many."""
        return (self.after - self.before).most_common(number)


async def soak(
    plan: Plan, folder: Path, seed: str, tell: Callable[[Sample], None] = lambda _: None
) -> Run:
    """Run it; the folder receives the logs and the store.

    Args:
        plan: The settings of the run.
        folder: A folder of its own.
        seed: The seed of what is left to chance.
        tell: Called with each sample.

    Raises:
        ExceptionGroup: of NotApplied, ProcessFailed, ServerFailed or OSError: something broke.
    """
    setup = plan.setup(folder, seed)
    chance = Random(seed)
    absent = {name for name, _, nature in setup.subscribers if nature is Nature.DOWN}
    run = Run(Ledger(absent, timed={"orders-quick"}))
    async with system.running(setup, run.ledger, chance) as running:
        load = Load(run.ledger, lambda: tuple(running.channels), running.urls, setup.pace, chance)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(60 * plan.minutes, stop.set)
        await load.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_change(running, plan, run, chance, stop), name="changes")
                group.create_task(_come_and_go(running, plan, stop), name="fitful")
                group.create_task(_look(running, plan, run, tell, stop), name="samples")
        finally:
            await load.stop()
        run.lost = await _settled(run.ledger, plan.patience)
    return run


async def ticks(seconds: float, stop: asyncio.Event) -> AsyncIterator[None]:
    """Yield at once, then at even intervals until ``stop``; missed ones are left out."""
    due = time.monotonic()
    while not stop.is_set():
        yield
        due = max(due + seconds, time.monotonic())
        await pause(due - time.monotonic(), stop)


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait, but not longer than until ``stop``."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _change(
    running: System, plan: Plan, run: Run, chance: Random, stop: asyncio.Event
) -> None:
    """Make every change once, in any order, again and again."""
    unused = Unused(running)
    pack: list[int] = []
    async for _ in ticks(plan.change_every, stop):
        pack = pack or chance.sample(range(len(CHANGES)), len(CHANGES))
        change = CHANGES[pack.pop()]
        await change(running, chance)
        run.changes[change.__name__] += 1
        await unused.end()


async def _come_and_go(running: System, plan: Plan, stop: asyncio.Event) -> None:
    down, up = plan.down_and_up
    while not stop.is_set():
        await pause(up, stop)
        wanted = running.subscriptions.get(FITFUL)
        if wanted is None:  # just removed
            continue
        await wanted.endpoint.stop()
        await pause(down, stop)
        if running.endpoints.get(wanted.endpoint.name) is wanted.endpoint:
            await wanted.endpoint.start()


async def _look(
    running: System,
    plan: Plan,
    run: Run,
    tell: Callable[[Sample], None],
    stop: asyncio.Event,
) -> None:
    begin = time.monotonic()
    async for _ in ticks(plan.sample_every, stop):
        scrape = Scrape(await running.dispatchers[0].metrics())
        sample = await _sample(running, run.ledger, scrape, time.monotonic() - begin)
        run.samples.append(sample)
        run.after = scrape.by_type(counted_dispatcher.OBJECTS)
        if sample.seconds < warm_up(60 * plan.minutes):
            run.before = run.after
        tell(sample)


async def _sample(running: System, ledger: Ledger, scrape: Scrape, seconds: float) -> Sample:
    pid = running.dispatchers[0].pid
    return Sample(
        seconds=seconds,
        resident_mib=resident_mib(pid),
        files=open_files(pid),
        threads=threads(pid),
        tasks=scrape.total(counted_dispatcher.TASKS),
        timers=scrape.total(counted_dispatcher.TIMERS),
        objects=scrape.total(counted_dispatcher.OBJECTS),
        in_flight=scrape.total("natss_subscription_pending_events"),
        cpu_seconds=cpu_seconds(pid),
        load_cpu_seconds=time.process_time(),
        delay_p99=ledger.take_delay(),
        backlog=await _backlog(running),
        server_mib=resident_mib(running.server.pid),
    )


async def _backlog(running: System) -> int:
    """Return what the server has for subscribers that are never there, sent or not."""
    backlog = 0
    for each in tuple(running.subscriptions.values()):
        if each.endpoint.nature is not Nature.DOWN:
            continue
        with contextlib.suppress(urllib.error.HTTPError):
            subject = f"{each.channel}.default"
            last = int((await running.server.channelsz(subject))["last_seq"])
            durable = (await durables(running.server, subject)).get(each.durable)
            if durable is not None:
                backlog += last - int(durable["last_sent"]) + int(durable["pending_count"])
    return backlog


async def _settled(ledger: Ledger, patience: float) -> dict[str, set[str]]:
    """Wait until nothing is owed, but not for ever; return what is then still owed."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while ledger.owed():  # noqa: ASYNC110  it is read from what is noted
                await asyncio.sleep(0.25)
    return ledger.owed()
