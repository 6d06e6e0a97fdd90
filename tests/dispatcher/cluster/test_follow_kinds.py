"""Every kind of channel is followed on its own, and written where the API serves it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.cluster.follower import Follower
from natss.contract.eventing import CHANNEL
from natss.contract.names import DISPATCHER_FINALIZER
from natss.contract.resources import Defaults
from natss.kube import Failed, Listing, Resource, Unreachable
from tests.dispatcher.cluster.test_source_faults import PlayedApi, running
from tests.support.channel_ids import channel_id
from tests.support.other_kind import OTHER, document, known, other_id

ONE, TWO = channel_id("shop", "orders"), other_id("shop", "orders")


@pytest.fixture(autouse=True)
def _other_kind() -> Iterator[None]:
    with known(OTHER):
        yield


class TwoKinds(PlayedApi):
    """An API with a channel of each kind, of one name, that no dispatcher serves yet."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    async def list_all(self, resource: Resource, *_: Any, **__: Any) -> Listing:
        kind = OTHER if resource.kind == OTHER.kind else CHANNEL
        return Listing([document(kind)], "10")

    async def patch(
        self, resource: Resource, name: str, body: Any, namespace: str | None = None
    ) -> Any:
        self.written.append(resource.path(namespace, name))
        kind = OTHER if resource.kind == OTHER.kind else CHANNEL
        return document(kind, resourceVersion="11", finalizers=[DISPATCHER_FINALIZER])


async def test_both_are_served_and_held_where_they_are() -> None:
    api = TwoKinds()
    async with running(api) as run:
        await run.until(lambda: bool(run.states) and set(run.states[-1].channels) == {ONE, TWO})
    assert {
        "/apis/eventing.knative.dev/v1alpha1/namespaces/shop/channels/orders",
        "/apis/messaging.example.com/v1/namespaces/shop/otherchannels/orders",
    } <= set(api.written)


async def test_a_kind_that_fails_is_not_answered_by_what_is_known_of_another() -> None:
    """Or the dispatcher would be ready without the channels of that kind."""
    table = ChannelTable(Defaults())
    table.put(document(CHANNEL))
    answered = {}
    for kind in (CHANNEL, OTHER):
        follower = Follower(TwoKinds(), table, kind, lambda: None, empty_is_true=1.0)
        await follower._take(Failed(Unreachable("refused")), asyncio.timeout(None))
        answered[kind] = follower.answered.is_set()
    assert answered == {CHANNEL: True, OTHER: False}
