"""Two replicas write one record of a Channel's durables, and agree on it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cluster.annotation import DURABLES
from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.cluster.finalizers import Finalizers
from dispatcher.durables.ledger import Ledger
from dispatcher.runtime.state_folder import StateFolder
from natss.contract.channel_id import ChannelId
from natss.contract.resources import Defaults
from natss.kube import KubeClient
from tests.support.cluster_dispatcher import ChannelsOf, ClusterDispatcher
from tests.support.data_plane import durables
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually

LONG_ENOUGH = 2.0
"""Seconds in which replicas that disagree have written many times."""

StartReplica = Callable[[], Awaitable[ClusterDispatcher]]


@pytest.fixture
async def start_replica(
    kubernetes: KubernetesServer,
    file_server: NatsStreamingServer,
    unique_name: str,
    tmp_path: Path,
) -> AsyncIterator[StartReplica]:
    started: list[ClusterDispatcher] = []

    async def start() -> ClusterDispatcher:
        folder = tmp_path / f"pod-{len(started)}"
        folder.mkdir()
        flags = (f"--client-id={unique_name}", "--removal-grace=60s")
        replica = ClusterDispatcher(kubernetes, file_server, folder, flags)
        started.append(replica)
        await replica.start()
        return replica

    yield start
    for replica in started:
        await replica.close_http()
        await replica.kill()


async def takes(replica: ClusterDispatcher, channels: ChannelsOf, event: str) -> bool:
    return await replica.post_to(channels.namespace, "orders", event) == 202


async def delivers(replica: ClusterDispatcher) -> bool:
    return bool((await replica.status())["connections"]["deliver"] == "open")


async def test_a_subscription_that_was_made_anew_is_handed_over_once(
    start_replica: StartReplica,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    """And whoever delivers next has nothing left to hand over, hence to send again."""
    first = await start_replica()
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await eventually(lambda: takes(first, channels, "e0"))
    await sink.wait_until(lambda: sink.counts["e0"] >= 1)
    second = await start_replica()
    await eventually(lambda: takes(second, channels, "e1"))

    async def handed_over() -> bool:
        on_server = await durables(file_server, channels.subject("orders"))
        return set(await channels.recorded("orders")) == set(on_server) == {"u2"}

    await channels.apply("orders", channels.entry("mail", sink.url, "u2"))
    await eventually(handed_over)
    until = time.monotonic() + LONG_ENOUGH
    while time.monotonic() < until:
        assert await handed_over(), "nobody brings it back"
        await asyncio.sleep(0.05)
    for number in range(20):
        assert await takes(first, channels, f"later-{number}")
    await sink.wait_for_events(22)
    await first.stop()
    await eventually(lambda: delivers(second))
    assert await takes(second, channels, "last")
    await sink.wait_for_events(23)
    await asyncio.sleep(LONG_ENOUGH)
    assert await handed_over()
    assert sink.duplicates == 0


class Api:
    """Keeps one Channel, and counts what is written."""

    def __init__(self, subscribers: int) -> None:
        self.writes = 0
        entries = [
            {
                "uid": f"{number:036}",
                "ref": {"name": f"with-a-name-{number}"},
                "subscriberURI": "http://a/",
            }
            for number in range(subscribers)
        ]
        self.document: dict[str, Any] = {
            "apiVersion": "eventing.knative.dev/v1alpha1",
            "kind": "Channel",
            "metadata": {
                "name": "orders",
                "namespace": "shop",
                "uid": "u",
                "resourceVersion": "1",
                "finalizers": ["natss-dispatcher"],
            },
            "spec": {"provisioner": {"name": "natss"}, "subscribable": {"subscribers": entries}},
        }

    async def patch(self, _: object, name: str, body: dict[str, Any], namespace: str) -> Any:
        assert (namespace, name) == ("shop", "orders")
        self.writes += 1
        metadata = {**self.document["metadata"], **body["metadata"]}
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        self.document = {**self.document, "metadata": metadata}
        return self.document


class Replica:
    """What one replica writes; it has the client id or not."""

    def __init__(self, api: Api, *, has_session: bool) -> None:
        self.api = api
        self.records = Ledger(StateFolder(None), 60.0)
        self.records.note_session(is_open=has_session)
        self.table = ChannelTable(Defaults())
        client: Any = api
        self.finalizers = Finalizers(
            _client(client), self.table, self.records, _never_released, lambda: None
        )

    def want(self) -> None:
        self.table.put(self.api.document)
        (entry,) = self.table
        assert entry.channel is not None
        for each in entry.channel.subscribers:
            self.records.want(entry.name, each.ref, each.durable, 5.0)
            if self.records.has_session:
                self.records.note_open(entry.name, each.durable)

    async def write(self) -> None:
        self.table.put(self.api.document)
        (entry,) = self.table
        await self.finalizers._write(entry.name, release=False)


def _client(client: Any) -> KubeClient:
    found: KubeClient = client
    return found


async def _never_released(_: ChannelId) -> None:
    raise AssertionError("nothing is deleted here")


@pytest.mark.parametrize("delivers_first", [True, False])
async def test_with_more_subscribers_than_there_is_room_for_they_agree_too(
    delivers_first: bool,
) -> None:
    api = Api(3500)
    replicas = [Replica(api, has_session=is_first) for is_first in (True, False)]
    for replica in replicas if delivers_first else reversed(replicas):
        replica.want()
    for _ in range(5):
        for replica in replicas if delivers_first else reversed(replicas):
            await replica.write()
    assert api.writes <= 2
    assert len(api.document["metadata"]["annotations"][DURABLES]) > 100_000
