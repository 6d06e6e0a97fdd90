"""The data plane without HTTP in: store, egress and fan-out in the process of the test."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from dispatcher.durables.ledger import Ledger
from dispatcher.durables.members import DeliveryParts
from dispatcher.durables.reconciler import Reconciler
from dispatcher.egress.client import Egress
from dispatcher.egress.limits import EgressLimits
from dispatcher.event.stored_form import encode
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.fair_share import FairShares, never_busy
from dispatcher.runtime.metrics import Metrics
from dispatcher.runtime.state_folder import StateFolder
from dispatcher.runtime.tasks import cancel
from dispatcher.stores.nats_streaming.store import NatsStreamingStore
from natss.contract.resources import (
    Channel,
    DeliveryPolicy,
    DesiredState,
    ResourceName,
    Subscriber,
)
from natss.nats_streaming import ConnectionOptions, NatsOptions
from tests.support.channel_ids import channel_id
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

MIB = 1024 * 1024

T = TypeVar("T")


def connection_options(server: NatsStreamingServer, client_id: str) -> ConnectionOptions:
    return ConnectionOptions(
        cluster_id=server.cluster_id,
        client_id=client_id,
        nats=NatsOptions(servers=(server.url,), reconnect_wait=0.1),
        publish_timeout=5.0,
        ping_interval=1.0,
    )


def event(event_id: str, body: bytes = b"{}") -> bytes:
    """Return the stored form of an event."""
    return encode([(b"Ce-Id", event_id.encode())], body, "test.host")


class DataPlane:
    """Delivers channels to subscribers; ``async with`` starts and closes it."""

    def __init__(
        self,
        server: NatsStreamingServer,
        client_id: str,
        grace: float = 60.0,
        state_dir: Path | None = None,
        url: str | None = None,
    ) -> None:
        self.client_id = client_id
        self.metrics = Metrics()
        options = connection_options(server, client_id)
        if url is not None:  # a proxy's
            options = replace(options, nats=replace(options.nats, servers=(url,)))
        self.store = NatsStreamingStore(options, "publisher", self.metrics)
        self.egress = Egress(EgressLimits())
        records = Ledger(StateFolder(state_dir), grace)
        self.records = records
        budget = ByteBudget(64 * MIB)
        lanes = FairShares(never_busy)
        self.reconciler = Reconciler(
            self.store, records, DeliveryParts(self.egress, self.metrics, budget, lanes)
        )
        self.channel = channel_id("default", client_id)
        self._recording: asyncio.Task[None] | None = None

    @property
    def subject(self) -> str:
        return f"{self.channel.name}.{self.channel.namespace}"

    async def __aenter__(self) -> Self:
        self.store.start()
        self.store.start_delivering()
        await self.store.publishing.was_open.wait()
        self._recording = asyncio.create_task(self.records.run(), name="records")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self.reconciler.close()
        if self._recording is not None:
            await cancel(self._recording)
        await self.store.close()
        await self.egress.close()

    def subscribe(self, *subscribers: Subscriber, policy: DeliveryPolicy | None = None) -> None:
        """Want exactly these subscribers of the channel."""
        channel = Channel(self.channel, (), subscribers, policy or DeliveryPolicy())
        problems = at_once(self.reconciler.apply(DesiredState({channel.name: channel})))
        assert problems == []

    async def open(self) -> None:
        """Wait until every durable is open."""
        for member in self.reconciler.members.values():
            await member.durable.wait_open()

    async def settled(self, count: int) -> None:
        """Wait until so many events are settled, which is after the subscriber has answered."""

        async def are_settled() -> bool:
            return sum(m.settled for _, _, m in self.metrics.subscriptions()) >= count

        await eventually(are_settled)

    async def publish(self, *ids: str, body: bytes = b"{}") -> None:
        await asyncio.gather(*(self.store.publish(self.subject, event(i, body)) for i in ids))


def at_once(work: Coroutine[None, None, T]) -> T:
    """Return the result of work that waits for nothing, although it lets others have their turn."""
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            result: T = end.value
            return result


def subscriber(url: str, name: str = "mail", uid: str | None = "uid-1") -> Subscriber:
    return Subscriber(ResourceName("default", name), uid, url)


async def durables(server: NatsStreamingServer, subject: str) -> dict[str, dict[str, Any]]:
    """Return the durables of a NATS Streaming channel by name, as its monitoring shows them."""
    found = cast(
        "Sequence[dict[str, Any]] | None", (await server.channelsz(subject)).get("subscriptions")
    )
    return {entry["durable_name"]: entry for entry in found or () if "durable_name" in entry}
