"""The reconciler over a store in memory: it needs the interface of a store and nothing more."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest

from dispatcher.durables.ledger import Ledger
from dispatcher.durables.lifecycle import Life
from dispatcher.durables.member import MemberKey
from dispatcher.durables.members import DeliveryParts
from dispatcher.durables.reconciler import Reconciler
from dispatcher.egress.client import Egress, Response
from dispatcher.event.stored_form import encode
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.fair_share import FairShares, never_busy
from dispatcher.runtime.metrics import Metrics
from dispatcher.runtime.state_folder import NO_FOLDER
from dispatcher.stores.evidence import SharedStore
from natss.contract.resources import (
    Channel,
    DeliveryPolicy,
    DesiredState,
    ResourceName,
    Start,
    StartKind,
    Subscriber,
    Unread,
)
from tests.support.channel_ids import channel_id
from tests.support.memory_store import MemoryServer, MemoryStore
from tests.support.waiting import Changes, eventually

ORDERS = channel_id("default", "orders")
MAIL = ResourceName("default", "mail")
POLICY = DeliveryPolicy(ack_wait=1, retry=0, start=Start(StartKind.FIRST))


class Sink:
    """Accepts all events, or refuses all."""

    def __init__(self) -> None:
        self.is_up = True
        self.taken: Counter[str] = Counter()
        self._changes = Changes()

    async def post(
        self, _target: object, head: bytes, _body: bytes, _timeout: float, **_: object
    ) -> Response:
        if not self.is_up:
            return Response(503, [], b"")
        self.taken[head.partition(b"Ce-Id: ")[2].partition(b"\r\n")[0].decode()] += 1
        self._changes.note()
        return Response(200, [], b"")

    async def has(self, *ids: str) -> None:
        await self._changes.until(lambda: set(ids) <= self.taken.keys(), 20)


class Plane:
    """A data plane without sockets."""

    def __init__(self, sink: Sink, grace: float = 3600.0) -> None:
        self.server = MemoryServer()
        self.store = MemoryStore(self.server)
        self.ledger = Ledger(NO_FOLDER, grace)
        shared: SharedStore = self.store
        parts = DeliveryParts(
            cast("Egress", sink), Metrics(), ByteBudget(1 << 26), FairShares(never_busy)
        )
        self.reconciler = Reconciler(shared, self.ledger, parts)
        self.store.start()
        self.store.start_delivering()

    async def want(self, *uids: str) -> None:
        subscribers = tuple(Subscriber(MAIL, uid, "http://sink/") for uid in uids)
        state = DesiredState({ORDERS: Channel(ORDERS, (), subscribers, POLICY)})
        assert not await self.reconciler.apply(state)

    async def post(self, *ids: str) -> None:
        for each in ids:
            body = encode([(b"Ce-Id", each.encode())], b"{}", "orders")
            await self.store.publish("orders.default", body)

    async def durables_are(self, *names: str) -> None:
        """Wait until the server knows these, and the ledger no others."""

        async def are_these() -> bool:
            recorded = {each.durable for each in self.ledger}
            return recorded == {each.durable for each in self.server.positions} == set(names)

        await eventually(are_these)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def plane(sink: Sink) -> AsyncIterator[Plane]:
    plane = Plane(sink)
    yield plane
    await plane.reconciler.close()
    await plane.store.close()


async def test_a_subscriber_gets_what_is_posted(plane: Plane, sink: Sink) -> None:
    await plane.want("u1")
    await plane.post("e1", "e2")
    await sink.has("e1", "e2")
    assert set(sink.taken.values()) == {1}


async def test_another_uid_inherits_what_the_former_one_owes(plane: Plane, sink: Sink) -> None:
    sink.is_up = False
    await plane.want("u1")
    await plane.post("e1", "e2")
    await plane.want()
    sink.is_up = True
    await plane.want("u2")
    await plane.post("e3")
    await sink.has("e1", "e2", "e3")
    await plane.durables_are("u2")
    assert set(sink.taken.values()) == {1}


async def test_a_subscriber_that_is_gone_is_unsubscribed_after_its_grace(sink: Sink) -> None:
    plane = Plane(sink, grace=0.01)
    await plane.want("u1")
    await plane.durables_are("u1")
    await plane.want()
    await plane.durables_are()
    await plane.reconciler.close()


async def test_a_deleted_channel_leaves_nothing_at_once(plane: Plane) -> None:
    await plane.want("u1")
    await plane.durables_are("u1")
    subscribers = (Subscriber(MAIL, "u1", "http://sink/"),)
    deleted = {ORDERS: Channel(ORDERS, (), subscribers, POLICY)}
    await plane.reconciler.apply(DesiredState({}, deleted=deleted))
    await plane.durables_are()
    assert not plane.reconciler.members


async def test_a_deleted_channel_of_which_the_list_changes_gets_no_durable_again(
    plane: Plane,
) -> None:
    """Its Subscriptions are deleted as well, one after the other, while it waits to vanish."""
    await plane.want("u1")
    await plane.durables_are("u1")
    subscribers = (Subscriber(MAIL, "u1", "http://sink/"),)
    channel = Channel(ORDERS, (), subscribers, POLICY)
    await plane.reconciler.apply(DesiredState({}, deleted={ORDERS: channel}))
    await plane.durables_are()
    changed = replace(channel, hosts=("other.host",))
    await plane.reconciler.apply(DesiredState({}, deleted={ORDERS: changed}))
    assert list(plane.ledger) == []


async def test_a_channel_that_is_deleted_no_more_is_served(plane: Plane, sink: Sink) -> None:
    subscribers = (Subscriber(MAIL, "u1", "http://sink/"),)
    channel = Channel(ORDERS, (), subscribers, POLICY)
    await plane.reconciler.apply(DesiredState({}, deleted={ORDERS: channel}))
    await plane.reconciler.apply(DesiredState({ORDERS: channel}))
    await plane.post("e1")
    await sink.has("e1")


async def test_a_grace_does_not_end_while_something_unreadable_is_applied(sink: Sink) -> None:
    """To apply it takes more than one turn; a grace may be over in between."""
    plane = Plane(sink, grace=0.05)
    await plane.want("u1")
    await plane.durables_are("u1")
    await plane.want()
    others = [channel_id("default", f"other-{number}") for number in range(200)]
    channels = {name: Channel(name, (), ()) for name in (*others, ORDERS)}
    for number, name in enumerate(others):
        subscriber = Subscriber(MAIL, f"other-{number}", "http://sink/")
        channels[name] = Channel(name, (), (subscriber,), POLICY)
    unread = Unread(channels=frozenset({ORDERS}))
    applying = asyncio.create_task(plane.reconciler.apply(DesiredState(channels, unread=unread)))
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251  the grace is over when the others have their turn
    await applying
    assert plane.reconciler.members[MemberKey(ORDERS, MAIL)].life is Life.HELD
    await plane.reconciler.close()


async def test_a_channel_that_was_deleted_while_nobody_looked_delivers_nothing(
    plane: Plane, sink: Sink
) -> None:
    """Not even while the rest of the state is applied: its subject may be that of another."""
    await plane.post("e1")
    deleted = {}
    for name in (ORDERS, *(channel_id("default", f"other-{number}") for number in range(200))):
        subscriber = Subscriber(MAIL, f"u-{name.name}", "http://sink/")
        deleted[name] = Channel(name, (), (subscriber,), POLICY)
    await plane.reconciler.apply(DesiredState({}, deleted=deleted))
    await plane.durables_are()
    assert not sink.taken
