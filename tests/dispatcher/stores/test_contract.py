"""What any store of events does for the dispatcher: the fake in memory, and the real ones."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.interface import (
    Durable,
    DurableName,
    DurableOptions,
    DurableState,
    EventStore,
    EventTooLarge,
    NotStored,
    StartPosition,
    StoredMessage,
)
from dispatcher.stores.nats_streaming.store import NatsStreamingStore
from natss.contract.resources import Start, StartKind
from tests.support.data_plane import connection_options
from tests.support.memory_store import MemoryServer, MemoryStore
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import Changes

OPTIONS = DurableOptions(max_inflight=64, ack_wait=60)
FIRST = Start(StartKind.FIRST)

MakeStore = Callable[[], EventStore]


def in_memory(_: pytest.FixtureRequest, __: str) -> MakeStore:
    server = MemoryServer()
    return lambda: MemoryStore(server)


def in_nats_streaming(request: pytest.FixtureRequest, client_id: str) -> MakeStore:
    server = request.getfixturevalue("memory_server")
    assert isinstance(server, NatsStreamingServer)
    options = connection_options(server, client_id)
    return lambda: NatsStreamingStore(options, uuid.uuid4().hex[:12], Metrics())


class Inbox:
    """What a durable has received."""

    def __init__(self) -> None:
        self.messages: list[StoredMessage] = []
        self._changes = Changes()

    def receive(self, message: StoredMessage) -> None:
        self.messages.append(message)
        self._changes.note()

    @property
    def sequences(self) -> list[int]:
        return [each.sequence for each in self.messages]

    async def holds(self, count: int) -> list[StoredMessage]:
        """Wait for so many, and take all that are there."""
        await self._changes.until(lambda: len(self.messages) >= count, 20)
        taken, self.messages = self.messages, []
        return taken


class Bench:
    """Stores on one server, one after the other, and their durables.

    Attributes:
        store: The present one.
        subject: That of the channel.
    """

    def __init__(self, make_store: MakeStore, subject: str) -> None:
        self._make_store = make_store
        self.store = make_store()
        self.subject = subject

    async def start(self) -> None:
        self.store.start()
        self.store.start_delivering()
        async with asyncio.timeout(20):
            await self.store.publishing.was_open.wait()
            await self.store.delivering.was_open.wait()

    async def replace(self, *, is_started: bool = True) -> None:
        """Replace the process by another one."""
        await self.store.close()
        self.store = self._make_store()
        if is_started:
            await self.start()

    async def publish(self, *data: bytes) -> None:
        for each in data:
            await self.store.publish(self.subject, each)

    def name(self, durable: str = "mail") -> DurableName:
        return DurableName(self.subject, durable)

    def durable(
        self,
        inbox: Inbox,
        durable: str = "mail",
        start: Start | None = None,
        options: DurableOptions = OPTIONS,
    ) -> Durable:
        beginning = StartPosition(start, time.monotonic())
        return self.store.durable(self.name(durable), beginning, options, inbox.receive)

    async def open(
        self,
        inbox: Inbox,
        durable: str = "mail",
        start: Start | None = None,
        options: DurableOptions = OPTIONS,
    ) -> Durable:
        opened = self.durable(inbox, durable, start, options)
        async with asyncio.timeout(20):
            await opened.wait_open()
        return opened


@pytest.fixture(params=[in_memory, in_nats_streaming])
async def bench(request: pytest.FixtureRequest, unique_name: str) -> AsyncIterator[Bench]:
    """Yield a bench whose store is not started."""
    made = Bench(request.param(request, unique_name), f"{unique_name}.default")
    yield made
    await made.store.close()


# --- publishing -----------------------------------------------------------------------------------


async def test_without_a_connection_nothing_is_stored_and_a_retry_may_succeed(bench: Bench) -> None:
    assert bench.store.max_event_bytes is None
    with pytest.raises(NotStored) as caught:
        bench.store.publish(bench.subject, b"1")
    assert caught.value.retriable
    assert caught.value.reason == "unavailable"
    await bench.start()
    await bench.publish(b"1")
    await bench.store.close()
    with pytest.raises(NotStored) as caught:
        bench.store.publish(bench.subject, b"2")
    assert caught.value.retriable


async def test_an_event_that_is_too_large_is_refused_with_both_sizes(bench: Bench) -> None:
    await bench.start()
    limit = bench.store.max_event_bytes
    assert limit is not None
    with pytest.raises(EventTooLarge) as caught:
        await bench.store.publish(bench.subject, bytes(limit + 1))
    assert caught.value.limit == limit
    assert caught.value.size > limit
    assert not caught.value.retriable


async def test_events_are_received_in_order_with_sequence_and_time(bench: Bench) -> None:
    await bench.start()
    inbox = Inbox()
    await bench.open(inbox)
    before = time.time_ns()
    await bench.publish(b"1", b"2", b"3")
    received = await inbox.holds(3)
    assert [(each.sequence, each.data) for each in received] == [(1, b"1"), (2, b"2"), (3, b"3")]
    assert not any(each.redelivered for each in received)
    times = [each.timestamp for each in received]
    assert before <= times[0] <= times[1] <= times[2] <= time.time_ns()


# --- acknowledging --------------------------------------------------------------------------------


async def test_only_what_is_not_acknowledged_is_sent_again_when_it_is_asked_for(
    bench: Bench,
) -> None:
    await bench.start()
    inbox = Inbox()
    durable = await bench.open(inbox)
    await bench.publish(b"1", b"2", b"3")
    await inbox.holds(3)
    durable.ack(1)
    durable.ack(3)
    durable.reopen()
    (again,) = await inbox.holds(1)
    assert (again.sequence, again.data, again.redelivered) == (2, b"2", True)
    await bench.publish(b"4")
    assert [each.sequence for each in await inbox.holds(1)] == [4]


async def test_a_durable_keeps_its_position_over_the_end_of_a_process(bench: Bench) -> None:
    await bench.start()
    inbox = Inbox()
    durable = await bench.open(inbox)
    await bench.publish(b"1", b"2", b"3")
    first = await inbox.holds(3)
    durable.ack(1)
    durable.ack(3)
    await bench.replace()
    await bench.publish(b"4")
    inbox = Inbox()
    await bench.open(inbox)
    received = await inbox.holds(2)
    assert [(each.sequence, each.redelivered) for each in received] == [(2, True), (4, False)]
    assert received[0].timestamp == first[1].timestamp, "it is the same event"


async def test_two_durables_of_a_channel_are_independent(bench: Bench) -> None:
    await bench.start()
    mail, bills = Inbox(), Inbox()
    acking, silent = await bench.open(mail, "mail"), await bench.open(bills, "bills")
    await bench.publish(b"1", b"2")
    for inbox in (mail, bills):
        assert [each.sequence for each in await inbox.holds(2)] == [1, 2]
    acking.ack(1)
    acking.ack(2)
    acking.reopen()
    silent.reopen()
    assert [each.sequence for each in await bills.holds(2)] == [1, 2]
    await bench.publish(b"3")
    assert [each.sequence for each in await mail.holds(1)] == [3]
    assert [each.sequence for each in await bills.holds(1)] == [3]


async def test_no_more_than_max_inflight_are_on_the_way(bench: Bench) -> None:
    """A second durable tells when the server has looked at each event."""
    await bench.start()
    few, all_of_them = Inbox(), Inbox()
    durable = await bench.open(few, "few", options=DurableOptions(2, 60))
    await bench.open(all_of_them, "all")
    await bench.publish(b"1", b"2", b"3", b"4", b"5")
    await all_of_them.holds(5)
    assert few.sequences == [1, 2]
    await few.holds(2)
    durable.ack(1)
    assert [each.sequence for each in await few.holds(1)] == [3]
    durable.change(DurableOptions(4, 60))
    assert [each.sequence for each in await few.holds(4)] == [2, 3, 4, 5]


# --- the life of a durable ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "sequences"),
    [
        (None, [4]),
        (Start(StartKind.FIRST), [1, 2, 3, 4]),
        (Start(StartKind.SEQUENCE, 3), [3, 4]),
        (Start(StartKind.AGO, 3600), [1, 2, 3, 4]),
    ],
)
async def test_a_new_durable_begins_where_it_is_to(
    bench: Bench, start: Start | None, sequences: list[int]
) -> None:
    await bench.start()
    await bench.publish(b"1", b"2", b"3")
    inbox = Inbox()
    await bench.open(inbox, start=start)
    await bench.publish(b"4")
    assert [each.sequence for each in await inbox.holds(len(sequences))] == sequences


async def test_what_is_stored_since_it_is_wanted_is_not_missed(bench: Bench) -> None:
    """Its store delivers later."""
    bench.store.start()
    await asyncio.wait_for(bench.store.publishing.was_open.wait(), 20)
    inbox = Inbox()
    durable = bench.durable(inbox, start=Start())
    assert durable.state is DurableState.CLOSED
    await bench.publish(b"1")
    bench.store.start_delivering()
    assert [each.sequence for each in await inbox.holds(1)] == [1]


async def test_a_durable_that_was_removed_begins_anew(bench: Bench) -> None:
    await bench.start()
    inbox = Inbox()
    durable = await bench.open(inbox)
    await bench.publish(b"1")
    await inbox.holds(1)
    durable.ack(1)
    durable.remove()
    assert durable.is_leaving
    assert await asyncio.wait_for(bench.store.removed(durable), 20)
    state: DurableState = durable.state
    assert state is DurableState.REMOVED
    assert not bench.store.has(bench.name())
    inbox = Inbox()
    await bench.open(inbox, start=FIRST)
    (received,) = await inbox.holds(1)
    assert (received.sequence, received.redelivered) == (1, False)


async def test_a_removal_before_there_is_a_connection_is_done_later(bench: Bench) -> None:
    await bench.start()
    inbox = Inbox()
    await bench.open(inbox)
    await bench.publish(b"1")
    await inbox.holds(1)
    await bench.replace(is_started=False)
    durable = bench.durable(inbox)
    durable.remove()
    assert durable.state is DurableState.CLOSED
    await bench.start()
    assert await asyncio.wait_for(bench.store.removed(durable), 20)
    inbox = Inbox()
    await bench.open(inbox)
    await bench.publish(b"2")
    assert [each.sequence for each in await inbox.holds(1)] == [2], "1 was forgotten"


async def test_a_durable_that_is_wanted_again_in_time_keeps_its_position(bench: Bench) -> None:
    await bench.start()
    inbox = Inbox()
    await bench.open(inbox)
    await bench.publish(b"1")
    await inbox.holds(1)
    await bench.replace(is_started=False)
    durable = bench.durable(inbox)
    durable.remove()
    removal = asyncio.create_task(bench.store.removed(durable))
    again = bench.durable(inbox)
    await bench.start()
    assert not await asyncio.wait_for(removal, 20)
    assert not again.is_leaving
    assert [(each.sequence, each.redelivered) for each in await inbox.holds(1)] == [(1, True)]


async def test_a_durable_is_taken_until_it_is_given_up(bench: Bench) -> None:
    await bench.start()
    name = bench.name()
    assert not bench.store.is_taken(name)
    assert not bench.store.has(name)
    durable = await bench.open(Inbox())
    assert bench.store.is_taken(name)
    assert durable.name == name
    with pytest.raises(ValueError, match="taken"):
        bench.durable(Inbox())
    free = asyncio.create_task(bench.store.wait_free(name))
    await asyncio.sleep(0)
    assert not free.done()
    durable.remove()
    await asyncio.wait_for(free, 20)
    assert bench.store.has(name)
    assert not bench.store.is_taken(name)


async def test_it_is_told_once_that_a_durable_is_open(bench: Bench) -> None:
    await bench.start()
    told: list[float] = []
    beginning = StartPosition(None, time.monotonic(), on_open=lambda: told.append(time.monotonic()))
    inbox = Inbox()
    durable = bench.store.durable(bench.name(), beginning, OPTIONS, inbox.receive)
    await asyncio.wait_for(durable.wait_open_or_gone(), 20)
    assert durable.state is DurableState.OPEN
    assert (durable.last_error, durable.failure) == (None, None)
    opened_at: float | None = durable.opened_at
    await bench.publish(b"1")
    await inbox.holds(1)
    durable.reopen()
    await inbox.holds(1)
    assert len(told) == 1
    assert opened_at is not None
    assert opened_at <= told[0]
    assert durable.opened_at == opened_at


async def test_each_connection_tells_how_it_is(bench: Bench) -> None:
    store = bench.store
    assert (store.publishing.role, store.delivering.role) == ("publish", "deliver")
    for health in (store.publishing, store.delivering):
        assert not health.is_open
        assert not health.was_open.is_set()
        assert health.last_error
        assert health.failure is None
    await bench.start()
    for health in (store.publishing, store.delivering):
        assert health.is_open
        assert (health.last_error, health.failure) == (None, None)
    await store.close()
    assert not store.publishing.is_open
    assert not store.delivering.is_open
    assert store.delivering.was_open.is_set()
