"""Kyma as it was deployed: Knative's core takes care of Subscriptions, and our controller does not.

The rest of a life is in ``test_life.py``.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kyma.conftest import StartSubscriber, subscription
from tests.kyma.event_bus import API, EventBus, EventType, Outcome
from tests.kyma.knative_core import KnativeCore, Release
from tests.kyma.traffic import Traffic
from tests.support.data_plane import durables
from tests.support.installation import Installation
from tests.support.kubernetes import KubernetesServer
from tests.support.object_history import ObjectHistory
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    kubernetes: KubernetesServer,
    streaming: NatsStreamingServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("installation")
    both = Installation(
        kubernetes, streaming, folder, provisioner_flags=("--subscription-controller=off",)
    )
    async with both:
        yield both


@pytest.mark.parametrize("release", Release, ids=lambda each: each.value)
async def test_a_life_beside_knatives_core(
    bus: EventBus,
    streaming: NatsStreamingServer,
    order_created: EventType,
    start_subscriber: StartSubscriber,
    release: Release,
) -> None:
    """Activated, moved to another endpoint, and deactivated, with events all along."""
    kubernetes = bus.installation.kubernetes
    old, new = await start_subscriber(), await start_subscriber()
    mail = subscription(order_created, old.url)
    channels = f"/apis/{API}/namespaces/{bus.namespace}/channels"
    subject = f"{order_created.channel}.{bus.namespace}"
    bus.durables_have_uids = release is Release.V0_6
    async with (
        KnativeCore(kubernetes, bus.namespace, release),
        ObjectHistory(kubernetes, channels) as history,
    ):
        await bus.activate(mail)
        first = (await bus.delivers(mail))["metadata"]["uid"]
        async with Traffic(bus, order_created) as traffic:
            await traffic.go_on()
            moved = await bus.move(mail, new.url)
            second = (await bus.delivers(moved))["metadata"]["uid"]
            await new.wait_for_events(20)
        await traffic.all_reach(old, new)
        wanted = {second} if release is Release.V0_6 else {f"{mail.knative_name}.{bus.namespace}"}

        async def are_as_wanted() -> bool:
            return set(await durables(streaming, subject)) == wanted

        await eventually(are_as_wanted, 30.0)
        await bus.deactivate(moved)

        async def is_all_gone() -> bool:
            return await bus.channel(order_created) is None and not await durables(
                streaming, subject
            )

        await eventually(is_all_gone)
        assert history.falls() == []
    assert first != second
    assert set(traffic.outcomes.values()) == {Outcome.PUBLISHED}
    writes = kubernetes.writes("knative-eventing", "natss-controller")
    assert not [each for each in writes if f"{bus.namespace}/subscriptions" in each]
