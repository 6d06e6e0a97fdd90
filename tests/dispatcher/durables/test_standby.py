"""A process that waits for the client id: what it makes of what another one records.

It never connects here, so the store is the real one without a server.
"""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.durables.lifecycle import Life
from dispatcher.durables.members import DeliveryParts
from dispatcher.durables.reconciler import Reconciler
from dispatcher.egress.client import Egress
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.fair_share import FairShares, never_busy
from dispatcher.runtime.metrics import Metrics
from dispatcher.runtime.state_folder import NO_FOLDER
from dispatcher.stores.nats_streaming.store import NatsStreamingStore
from natss.contract.resources import Channel, DesiredState, ResourceName, Subscriber, Unread
from natss.nats_streaming import ConnectionOptions
from tests.support.channel_ids import channel_id
from tests.support.data_plane import at_once

ORDERS = channel_id("default", "orders")
MAIL, POST = (ResourceName("default", name) for name in ("mail", "post"))


class Standby:
    def __init__(self) -> None:
        self.ledger = Ledger(NO_FOLDER, 60.0, are_kept=True)
        metrics = Metrics()
        options = ConnectionOptions(cluster_id="test", client_id="natss")
        store = NatsStreamingStore(options, "publisher", metrics)
        parts = DeliveryParts(cast("Egress", None), metrics, ByteBudget(1), FairShares(never_busy))
        self.reconciler = Reconciler(store, self.ledger, parts)

    def want(self, *uids: str) -> None:
        """Want a Subscription of the name ``mail`` with each of these uids."""
        subscribers = tuple(Subscriber(MAIL, uid, "http://sink/") for uid in uids)
        state = DesiredState({ORDERS: Channel(ORDERS, (), subscribers)})
        assert not at_once(self.reconciler.apply(state))

    def tell(self, *records: DurableRecord, is_complete: bool = True) -> None:
        told = {each.durable: each for each in records}
        self.ledger.merge(ORDERS, told, is_complete=is_complete)


@pytest.fixture
async def standby() -> AsyncIterator[Standby]:
    standby = Standby()
    yield standby
    await standby.reconciler.close()


async def test_what_was_wanted_when_it_was_unsubscribed_elsewhere_has_its_grace(
    standby: Standby,
) -> None:
    """Whoever delivers has opened it again, but the Channel has no room to tell of all."""
    standby.tell(DurableRecord(ORDERS, MAIL, "u1"))
    standby.want("u1")
    standby.tell()
    standby.want("u1")
    standby.tell(DurableRecord(ORDERS, POST, "u8"), is_complete=False)
    standby.want()
    assert standby.ledger.get(ORDERS, "u1") is not None
    assert MAIL in {key.ref for key in standby.reconciler.members}


async def test_one_that_comes_back_as_its_durable_is_unsubscribed_elsewhere_begins_anew(
    standby: Standby,
) -> None:
    """One change of the Channel brings both. Nothing is left to take over, so nothing waits."""
    standby.tell(DurableRecord(ORDERS, MAIL, "u1"))
    standby.want("u1")
    standby.want()
    standby.tell()
    standby.want("u2")
    (member,) = standby.reconciler.members.values()
    assert member.is_handed_over
    assert [each.durable for each in standby.ledger] == ["u2"]


async def test_what_is_held_is_not_recorded_again_once_it_was_unsubscribed_elsewhere(
    standby: Standby,
) -> None:
    u1, u2 = (DurableRecord(ORDERS, MAIL, name) for name in ("u1", "u2"))
    standby.tell(u1, u2)
    standby.want()
    standby.tell(u2)
    standby.want()
    channels = {ORDERS: Channel(ORDERS, ())}
    unread = Unread(channels=frozenset({ORDERS}))
    at_once(standby.reconciler.apply(DesiredState(channels, unread=unread)))
    (member,) = standby.reconciler.members.values()
    assert member.life is Life.HELD
    assert list(standby.ledger) == [u2]
