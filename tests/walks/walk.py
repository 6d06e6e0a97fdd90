"""One random walk: a Subscription is wanted, removed, made anew; processes die; links are slow."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.durables.members import DeliveryParts
from dispatcher.durables.reconciler import Reconciler
from dispatcher.egress.client import Egress, Response
from dispatcher.event.stored_form import encode
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.fair_share import FairShares, never_busy
from dispatcher.runtime.metrics import Metrics
from dispatcher.runtime.state_folder import StateFolder
from dispatcher.stores.nats_streaming.store import NatsStreamingStore
from natss.contract.resources import (
    Channel,
    DeliveryPolicy,
    DesiredState,
    Order,
    ResourceName,
    Subscriber,
)
from natss.nats_streaming import ConnectionOptions
from tests.support.channel_ids import channel_id
from tests.support.data_plane import at_once
from tests.walks.store_model import ModelConnection, Server
from tests.walks.virtual_time import run

CHANNEL = channel_id("default", "walk")
REF = ResourceName("default", "mail")
GRACE = 60.0
END = 600
"""Virtual seconds after the last step in which everything owed has to arrive."""

POLICIES = (
    DeliveryPolicy(ack_wait=2, retry=0, backoff_delay=0.05, max_inflight=4),
    DeliveryPolicy(ack_wait=30, retry=0, backoff_delay=0.05, max_inflight=64),
    DeliveryPolicy(ack_wait=2, retry=0, backoff_delay=0.05, max_inflight=1),
    DeliveryPolicy(ack_wait=2, retry=0, backoff_delay=0.05, order=Order.CHANNEL),
)


@dataclass(slots=True)
class Outcome:
    """What came of a walk."""

    seed: int
    steps: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    twice: int = 0
    events: int = 0
    is_disturbed: bool = False
    """Whether a process has died, or lost its session: then events may come twice."""


class Folder(StateFolder):
    """What a process leaves for the next one, in memory."""

    def __init__(self) -> None:
        super().__init__(None)
        self._values: dict[str, object] = {}

    @property
    def keeps(self) -> bool:
        return True

    def read(self, name: str) -> object:
        return self._values.get(name)

    async def write(self, name: str, value: object) -> bool:
        self._values[name] = value
        return True


class Sink:
    """The subscriber; counts what it has taken."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.is_up = True
        self.refused: set[str] = set()
        self.taken: Counter[str] = Counter()

    async def post(
        self, _target: object, head: bytes, _body: bytes, _timeout: float, **_: object
    ) -> Response:
        event_id = head.partition(b"Ce-Id: ")[2].partition(b"\r\n")[0].decode()
        await asyncio.sleep(self.chance.choice((0.001, 0.01, 0.2)))
        if not self.is_up or event_id in self.refused:
            return Response(503, [], b"")
        self.taken[event_id] += 1
        return Response(200, [], b"")


class Process:
    """A dispatcher without HTTP; its records are told to the others as the Channel tells them."""

    def __init__(self, walk: "Walk", folder: Folder | None) -> None:
        self._walk = walk
        metrics, budget = Metrics(), ByteBudget(1 << 26)
        self.records = Ledger(folder or StateFolder(None), GRACE, are_kept=True)
        options = ConnectionOptions(cluster_id="walk", client_id="walk")
        self._broker = NatsStreamingStore(options, "publisher", metrics, self.records.note_session)
        egress = cast("Egress", walk.sink)
        lanes = FairShares(never_busy)
        self.reconciler = Reconciler(
            self._broker, self.records, DeliveryParts(egress, metrics, budget, lanes)
        )
        self._is_stopped = False
        self._connection: ModelConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._writing = asyncio.create_task(self.records.run())
        self._told: Mapping[str, DurableRecord] = {}

    @property
    def connection(self) -> ModelConnection | None:
        return self._connection

    def apply(self, state: DesiredState) -> None:
        if self._is_stopped:
            return
        at_once(self.reconciler.apply(state))
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._keep_connected())

    def record(
        self, told: Mapping[str, DurableRecord], wanted: str | None
    ) -> Mapping[str, DurableRecord]:
        """Return what stands on the Channel once this process has written what it has to say.

        Only the process that has the session knows what the server has; others add what is wanted.
        """
        mine = {each.durable: replace(each, due=None) for each in self.records}
        if self._connection is not None:
            return told if mine == told else mine
        new = {key: each for key, each in mine.items() if key == wanted and key not in told}
        return {**told, **new} if new else told

    def learn(self, told: Mapping[str, DurableRecord]) -> None:
        self.records.merge(CHANNEL, told)

    async def _keep_connected(self) -> None:
        while True:
            await asyncio.sleep(self._walk.chance.choice((0.0, 0.25, 0.5, 3.0)))
            if self._walk.server.session is not None:
                self._broker.delivering.has_stood_by = True
                await asyncio.sleep(0.25)
                continue
            connection = self._connection = self._walk.server.connect()
            connection.delay = self._walk.delay
            self._broker.delivering.connection = cast("Any", connection)
            self._broker._restore(cast("Any", connection))
            self._broker.delivering.has_stood_by = False
            await asyncio.shield(connection.lost)
            self._connection = self._broker.delivering.connection = None

    async def stop(self, *, kindly: bool) -> None:
        """End as by SIGTERM, or at once as by SIGKILL."""
        self._is_stopped = True
        if kindly:
            await self.reconciler.drain()
            await self.records.write()
        await self._cancel(self._connecting)
        if not kindly:
            await self._cancel(self._writing)
            self._let_go("killed")
        await self.reconciler.close()
        for durable in self._broker._durables.values():
            await durable.close()
        await self._cancel(self._writing)
        self._let_go("closed")

    def _let_go(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.lose(reason)
            self._connection = None

    async def _cancel(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Walk:
    """The state of one walk; ``go`` makes the steps and returns what came of them."""

    def __init__(self, seed: int, processes: int) -> None:
        self.chance = random.Random(seed)
        self.server = Server(self.chance, self.chance.choice((0.0, 0.02, 0.1)))
        self.sink = Sink(self.chance)
        self.delay = 0.001
        self.outcome = Outcome(seed)
        self._policy = self.chance.choice(POLICIES)
        self._numbers = itertools.count(1)
        self._uids = itertools.count(1)
        self._uid: str | None = None
        self._removed_at: float | None = None
        self._owed: set[str] = set()
        self._folders = (
            [Folder() for _ in range(processes)] if processes == 1 else [None] * processes
        )
        self._processes: list[Process] = []
        self._publishing: list[asyncio.Task[None]] = []
        self._told: Mapping[str, DurableRecord] = {}
        """What stands on the Channel."""

    async def go(self, steps: int, choices: "Mapping[Step, int]") -> Outcome:
        self._processes = [Process(self, folder) for folder in self._folders]
        telling = asyncio.create_task(self._tell())
        self._want()
        if len(self._folders) > 1:
            await asyncio.sleep(10.0)  # until it stands on the Channel, nobody else knows of it
        for _ in range(steps):
            step = self.chance.choices(tuple(choices), tuple(choices.values()))[0]
            self.outcome.steps.append(step.__name__)
            result = step(self)
            if result is not None:
                await result
        await asyncio.gather(*self._publishing)
        await self._end()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        return self.outcome

    async def _end(self) -> None:
        self.sink.is_up = True
        self.sink.refused.clear()
        self._set_delay(0.001)
        if self._uid is None:
            self._want()
        self._apply()
        for _ in range(END):
            await asyncio.sleep(1.0)
            if not self._owed - self.sink.taken.keys():
                break
        await asyncio.sleep(0.5)
        self.outcome.lost = sorted(self._owed - self.sink.taken.keys())
        self.outcome.twice = sum(count - 1 for count in self.sink.taken.values())
        for process in self._processes:
            await process.stop(kindly=True)

    def _apply(self, process: Process | None = None) -> None:
        subscribers: tuple[Subscriber, ...] = ()
        if self._uid is not None:
            subscribers = (Subscriber(REF, self._uid, "http://sink/"),)
        channel = Channel(CHANNEL, (), subscribers, self._policy)
        for each in self._processes if process is None else (process,):
            each.apply(DesiredState({CHANNEL: channel}))

    async def _tell(self) -> None:
        """Give every process what the one that has the session has recorded, after a while."""
        while True:
            await asyncio.sleep(0.2)
            for process in self._processes:
                self._told = process.record(self._told, self._uid)
            if len(self._folders) > 1:
                for process in self._processes:
                    process.learn(self._told)
                self._apply()

    # Steps

    def _want(self) -> None:
        """Create the Subscription, or create it anew."""
        now = asyncio.get_running_loop().time()
        if self._removed_at is not None and now - self._removed_at > GRACE - 1.0:
            self._owed.clear()
        self._uid = f"u{next(self._uids)}"
        self._removed_at = None
        self._apply()

    def _remove(self) -> None:
        if self._uid is not None:
            self._uid = None
            self._removed_at = asyncio.get_running_loop().time()
            self._apply()

    def _publish(self) -> None:
        for _ in range(self.chance.choice((1, 1, 2, 8))):
            self._publish_one()

    def _publish_one(self) -> None:
        event_id = f"e{next(self._numbers)}"
        self.server.publish(encode([(b"Ce-Id", event_id.encode())], b"{}", "walk"))
        self._owed.add(event_id)
        self.outcome.events += 1
        if self.chance.random() < 0.1:
            self.sink.refused.add(event_id)

    def _start_publishing(self) -> None:
        """Publish quickly in the background for a while."""
        number = self.chance.choice((20, 100))
        self._publishing.append(asyncio.create_task(self._publish_quickly(number)))

    async def _publish_quickly(self, number: int) -> None:
        for _ in range(number):
            self._publish_one()
            await asyncio.sleep(0.01)

    def _subscriber_fails(self) -> None:
        self.sink.is_up = not self.sink.is_up

    def _slow_link(self) -> None:
        self._set_delay(self.chance.choice((0.001, 0.001, 0.4, 0.9, 3.0)))

    def _set_delay(self, seconds: float) -> None:
        self.delay = seconds
        if self.server.session is not None:
            self.server.session.delay = seconds

    async def _pass_time(self) -> None:
        await asyncio.sleep(self.chance.choice((0.0, 0.01, 0.3, 2.5, 6.0)))

    async def _restart(self) -> None:
        number = self.chance.randrange(len(self._processes))
        self.outcome.is_disturbed = True
        await self._processes[number].stop(kindly=self.chance.random() < 0.5)
        await asyncio.sleep(self.chance.choice((0.0, 0.5, 4.0)))
        process = self._processes[number] = Process(self, self._folders[number])
        if len(self._folders) > 1:
            process.learn(self._told)
        self._apply(process)

    def _wipe(self) -> None:
        self.outcome.is_disturbed = True
        self.server.wipe()
        self._owed.clear()

    def _lose_session(self) -> None:
        if self.server.session is not None:
            self.outcome.is_disturbed = True
            self.server.session.lose("expired")


Step = Callable[[Walk], Awaitable[None] | None]
_CHOICES: Mapping[Step, int] = {
    Walk._publish: 6,
    Walk._start_publishing: 2,
    Walk._pass_time: 8,
    Walk._want: 4,
    Walk._remove: 3,
    Walk._subscriber_fails: 2,
    Walk._slow_link: 1,
    Walk._restart: 2,
    Walk._lose_session: 1,
    Walk._wipe: 1,
}
_DISTURBING = {Walk._restart, Walk._lose_session, Walk._wipe}


def walk(seed: int, *, processes: int = 1, steps: int = 40, is_disturbed: bool = True) -> Outcome:
    """Make a walk; the same one for the same arguments.

    Args:
        seed: Decides on every step.
        processes: One that keeps its records in a folder, or several that take over from each
            other and read them from the Channel.
        steps: How many.
        is_disturbed: Whether processes and sessions may end.
    """
    left_out = set() if is_disturbed else _DISTURBING
    if processes > 1:
        # What a standby knows may be old: a durable that the server does not know may have been
        # removed by another process, as well as lost with the store.
        left_out = left_out | {Walk._wipe}
    choices = {step: weight for step, weight in _CHOICES.items() if step not in left_out}

    async def go() -> Outcome:
        return await Walk(seed, processes).go(steps, choices)

    return run(go())
