"""From Go's natss of Knative eventing v0.6 to ours: as an operator does it, with a backlog."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from natss import nats_streaming
from natss.contract.names import DEFAULT_CLUSTER_ID
from tests.conftest import CONFIG, StartServer
from tests.support.data_plane import connection_options, durables
from tests.support.installation import Installation
from tests.support.kubernetes import KubernetesServer, running_kubernetes
from tests.support.object_history import ObjectHistory
from tests.support.repository import GOLDEN_FOLDER
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually
from tests.upgrade.go_state import GROUP, SYSTEM, GoDispatcher, GoState, GoSubscriber, stored

GOLDEN = json.loads((GOLDEN_FOLDER / "go-v0.6.0.json").read_text())
"""What Go stored, as recorded."""

DONE, QUEUED, LATER = (
    [f"{word}-{number}" for number in range(count)]
    for word, count in (("done", 10), ("queued", 40), ("later", 30))
)
"""Events that Go had delivered; that were on their way to its subscribers, the first of them in a
request; and that came in when nobody delivered any more."""


ORDERS, BILLS, CLOSING = "orders.shop", "bills.shop", "closing.shop"
"""Subjects, of a Channel of v0.6, one of v0.5, and one that was just deleted."""


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    """Yield an API of its own, without anything of this project."""
    with running_kubernetes(tmp_path_factory.mktemp("kubernetes")) as server:
        yield server


@pytest.fixture
async def streaming(natss_server: StartServer) -> NatsStreamingServer:
    return await natss_server(store="FILE", cluster_id=DEFAULT_CLUSTER_ID)


@pytest.fixture
async def sinks() -> AsyncIterator[dict[str, Subscriber]]:
    started = {name: Subscriber() for name in ("mail", "audit", "archive")}
    for each in started.values():
        await each.start()
    yield started
    for each in started.values():
        await each.stop()


async def leave_behind(
    go: GoState, server: NatsStreamingServer, sinks: dict[str, Subscriber]
) -> None:
    """Leave everything as when Go's Deployments were deleted; and a Channel just after that."""
    go.define()
    go.provisioner()
    mail, audit = (GoSubscriber(name, f"{sinks[name].url}in") for name in ("mail", "audit"))
    go.channel("orders", "x7k2p", [mail, audit])
    go.channel("bills", "9b4dq", [GoSubscriber("archive", sinks["archive"].url, of_v05=True)])
    go.channel("closing", "m3n8s", [GoSubscriber("last", sinks["archive"].url)])
    dispatcher = GoDispatcher(server, delivered=len(DONE))
    await dispatcher.connect()
    for name in ("mail", "audit"):
        await dispatcher.subscribe(ORDERS, go.uid(name))
    await dispatcher.subscribe(BILLS, "archive.shop")
    await dispatcher.subscribe(CLOSING, go.uid("last"))
    for subject in (ORDERS, BILLS, CLOSING):
        await dispatcher.publish(subject, DONE)
        await dispatcher.publish(subject, QUEUED)
    await dispatcher.die()
    publisher = await nats_streaming.connect(connection_options(server, "publisher"))
    for subject in (ORDERS, BILLS):
        for data in (*map(stored, LATER), *(case["stored"]["data"].encode() for case in GOLDEN)):
            await publisher.publish(subject, data)
    await publisher.close()
    go.kubernetes.delete(f"{go.subscriptions}/last")
    go.kubernetes.delete(f"{go.channels}/closing")
    await server.restart()


def identities(kubernetes: KubernetesServer, *paths: str) -> dict[str, str]:
    """Return the uids of all objects, by path and name."""
    return {
        f"{path}/{each['metadata']['name']}": each["metadata"]["uid"]
        for path in paths
        for each in kubernetes.get(path)["items"]
    }


async def check_backlog(sink: Subscriber) -> None:
    """Check that each event came once, and none of those that Go had delivered."""
    await sink.wait_until(lambda: len(sink.received) >= len(QUEUED) + len(LATER) + len(GOLDEN))
    got = sorted(each.id for each in sink.received)
    of_golden = [json.loads(case["stored"]["data"])["headers"].get("Ce-Id", "") for case in GOLDEN]
    assert got == sorted([*QUEUED, *LATER, *of_golden])


async def durables_of(server: NatsStreamingServer, *subjects: str) -> set[str]:
    return {name for subject in subjects for name in await durables(server, subject)}


async def test_what_go_left_is_taken_over(
    kubernetes: KubernetesServer,
    streaming: NatsStreamingServer,
    sinks: dict[str, Subscriber],
    tmp_path: Path,
) -> None:
    go = GoState(kubernetes, "shop")
    await leave_behind(go, streaming, sinks)
    kept = (
        go.services,
        f"/api/v1/namespaces/{SYSTEM}/services",
        f"{GROUP}/clusterchannelprovisioners",
        go.channels,
        go.subscriptions,
    )
    closed = {f"{go.channels}/closing", f"{go.subscriptions}/last"}
    before = identities(kubernetes, *kept)
    positions = await durables_of(streaming, ORDERS, BILLS)
    assert positions == {go.uid("mail"), go.uid("audit"), "archive.shop"}
    hosts = {each: go.hostname(each) for each in ("orders", "bills")}
    kubernetes.kubectl("apply", "--server-side", "-k", CONFIG / "default")
    async with contextlib.AsyncExitStack() as stack:
        histories = [
            await stack.enter_async_context(ObjectHistory(kubernetes, path)) for path in kept
        ]
        installation = await stack.enter_async_context(
            Installation(kubernetes, streaming, tmp_path / "installation")
        )
        for sink in sinks.values():
            await check_backlog(sink)
        for name, host in hosts.items():
            assert await installation.dispatcher.post_to_host(host, f"new-{name}") == 202
        await sinks["mail"].wait_until(lambda: "new-orders" in sinks["mail"].counts)
        await sinks["audit"].wait_until(lambda: "new-orders" in sinks["audit"].counts)
        await sinks["archive"].wait_until(lambda: "new-bills" in sinks["archive"].counts)

        async def are_closed() -> bool:
            return not closed & identities(kubernetes, *kept).keys()

        await eventually(are_closed)
        assert [fall for each in histories for fall in each.falls()] == []
        for name in ("orders-channel-x7k2p", "bills-channel-9b4dq"):
            assert len(histories[0].of(name)) <= 2, "at most one change: a label"
    after = identities(kubernetes, *kept)
    assert after == {path: uid for path, uid in before.items() if path not in closed}
    assert await durables_of(streaming, ORDERS, BILLS) == positions
    assert await durables_of(streaming, CLOSING) == set()
