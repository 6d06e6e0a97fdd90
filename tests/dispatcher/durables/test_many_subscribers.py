"""A channel with more subscribers than are served, on a real server and over restarts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dispatcher.delivery.subscription import DeliveryState
from natss.contract.places import choose, claim_of
from natss.contract.resources import Channel, DesiredState, Problem, Subscriber
from tests.support.data_plane import DataPlane, durables, subscriber
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber as Sink
from tests.support.waiting import eventually


class Crowd:
    """A data plane with a limit of subscribers for its channel, as a source would apply it."""

    def __init__(self, plane: DataPlane, most: int) -> None:
        self.plane = plane
        self.most = most
        self._served: tuple[Subscriber, ...] = ()

    async def want(self, *subscribers: Subscriber) -> list[Problem]:
        claims = [claim_of(each) for each in subscribers]
        recorded = self.plane.records.of(self.plane.channel)
        choice = choose(claims, self.most, map(claim_of, self._served), recorded)
        self._served = tuple(subscribers[index] for index in choice.served)
        unserved = choice.unserved(claims)
        channel = Channel(self.plane.channel, (), self._served, unserved=unserved)
        return await self.plane.reconciler.apply(DesiredState({channel.name: channel}))

    @property
    def served(self) -> str:
        return "".join(sorted(each.ref.name for each in self._served))

    async def opened(self) -> None:
        """Wait until all served durables are open, and recorded as open."""

        async def are_open() -> bool:
            records = self.plane.records.of(self.plane.channel)
            open_names = {each.durable for each in records if each.since is None}
            return {each.durable for each in self._served} <= open_names

        await eventually(are_open)

    async def want_and_open(self, *subscribers: Subscriber) -> None:
        await self.want(*subscribers)
        await self.opened()


@asynccontextmanager
async def crowd(
    server: NatsStreamingServer, client_id: str, folder: Path, most: int = 2, grace: float = 60.0
) -> AsyncIterator[Crowd]:
    async with DataPlane(server, client_id, grace=grace, state_dir=folder) as plane:
        yield Crowd(plane, most)
        await plane.records.write()


def named(sink: Sink, names: str) -> Sequence[Subscriber]:
    return [subscriber(sink.url, name, f"uid-of-{name}") for name in names]


async def on_server(server: NatsStreamingServer, crowd: Crowd) -> str:
    found = await durables(server, crowd.plane.subject)
    return "".join(sorted(name.removeprefix("uid-of-") for name in found))


async def test_who_is_beyond_the_bound_has_no_durable(
    memory_server: NatsStreamingServer, unique_name: str, sink: Sink, tmp_path: Path
) -> None:
    async with crowd(memory_server, unique_name, tmp_path) as busy:
        await busy.want_and_open(*named(sink, "abcd"))
        assert await on_server(memory_server, busy) == busy.served == "ab"
        await busy.plane.publish("e1")
        await sink.wait_until(lambda: len(sink.received) == 2)


async def test_another_order_after_a_restart_takes_nobodys_backlog(
    file_server: NatsStreamingServer, unique_name: str, sink: Sink, tmp_path: Path
) -> None:
    async with crowd(file_server, unique_name, tmp_path) as first:
        await first.want_and_open(*named(sink, "cd"))
    async with crowd(file_server, unique_name, tmp_path) as second:
        await second.want_and_open(*named(sink, "abdc"))
        assert second.served == "cd"
        assert await on_server(file_server, second) == "cd"


@pytest.mark.parametrize("restarts", [1, 3])
async def test_a_lower_bound_keeps_the_durables_of_those_beyond_it(
    restarts: int, file_server: NatsStreamingServer, unique_name: str, sink: Sink, tmp_path: Path
) -> None:
    """Their backlogs are delivered as soon as there is a place."""
    async with crowd(file_server, unique_name, tmp_path, most=4, grace=0.0) as before:
        await before.want_and_open(*named(sink, "abcd"))
    for turn in range(restarts):
        async with crowd(file_server, unique_name, tmp_path, most=2, grace=0.0) as lowered:
            await lowered.want_and_open(*named(sink, "dcba" if turn % 2 else "abcd"))
            assert lowered.served == "ab"
            await lowered.plane.publish(f"e{turn}")
            await lowered.plane.settled(2)
            assert await on_server(file_server, lowered) == "abcd"
    sink.received.clear()
    sink.counts.clear()
    async with crowd(file_server, unique_name, tmp_path, most=4, grace=0.0) as raised:
        await raised.want(*named(sink, "abcd"))
        await sink.wait_until(lambda: len(sink.received) == 2 * restarts)  # of c and of d
        assert set(sink.counts.values()) == {2}


async def test_a_place_that_is_free_goes_to_whoever_has_a_backlog(
    file_server: NatsStreamingServer, unique_name: str, sink: Sink, tmp_path: Path
) -> None:
    async with crowd(file_server, unique_name, tmp_path, most=3) as before:
        await before.want_and_open(*named(sink, "abz"))
    async with crowd(file_server, unique_name, tmp_path, most=2, grace=0.0) as lowered:
        await lowered.want_and_open(*named(sink, "abz"))
        await lowered.plane.publish("e1")
        await lowered.plane.settled(2)
        sink.received.clear()
        sink.counts.clear()
        await lowered.want(*named(sink, "bxyz"))
        assert lowered.served == "bz"
        await sink.wait_for_events(1)

        async def is_gone() -> bool:
            return await on_server(file_server, lowered) == "bz"

        await eventually(is_gone)


async def test_a_durable_without_a_place_goes_with_its_subscription(
    file_server: NatsStreamingServer, unique_name: str, sink: Sink, tmp_path: Path
) -> None:
    async with crowd(file_server, unique_name, tmp_path, most=4) as before:
        await before.want_and_open(*named(sink, "abcd"))
    async with crowd(file_server, unique_name, tmp_path, most=2, grace=0.0) as lowered:
        await lowered.want_and_open(*named(sink, "abcd"))
        await lowered.want(*named(sink, "abd"))

        async def is_gone() -> bool:
            return await on_server(file_server, lowered) == "abd"

        await eventually(is_gone)


@pytest.mark.parametrize("deleted", [True, False])
async def test_durables_without_a_place_go_with_their_channel(
    deleted: bool,
    file_server: NatsStreamingServer,
    unique_name: str,
    sink: Sink,
    tmp_path: Path,
) -> None:
    async with crowd(file_server, unique_name, tmp_path, most=4) as before:
        await before.want_and_open(*named(sink, "abcd"))
    grace = 60.0 if deleted else 0.0
    async with crowd(file_server, unique_name, tmp_path, most=2, grace=grace) as lowered:
        await lowered.want_and_open(*named(sink, "abcd"))
        plane = lowered.plane
        gone = {plane.channel: Channel(plane.channel, ())} if deleted else {}
        await plane.reconciler.apply(DesiredState({}, deleted=gone))
        async with asyncio.timeout(20):
            await plane.records.emptied(plane.channel)
        assert await on_server(file_server, lowered) == ""


async def test_the_place_of_a_removed_subscriber_is_kept_for_its_grace(
    memory_server: NatsStreamingServer, unique_name: str, sink: Sink, tmp_path: Path
) -> None:
    """Kyma creates a Subscription anew for each change: no other one may take its place."""
    async with crowd(memory_server, unique_name, tmp_path) as busy:
        await busy.want_and_open(*named(sink, "abc"))
        await busy.want(*named(sink, "bc"))
        assert busy.served == "b"
        anew = subscriber(sink.url, "a", "another-uid")
        await busy.want(*named(sink, "bc"), anew)
        assert busy.served == "ab"


async def test_whose_place_is_taken_keeps_what_waits_for_it(
    memory_server: NatsStreamingServer, unique_name: str, sink: Sink, tmp_path: Path
) -> None:
    """Another replica may have decided otherwise: no wanted durable is unsubscribed."""
    async with crowd(memory_server, unique_name, tmp_path, grace=0.0) as busy:
        await busy.want_and_open(*named(sink, "ab"))
        busy.most = 1
        await busy.want(*named(sink, "ab"))
        (held,) = (
            member
            for key, member in busy.plane.reconciler.members.items()
            if key.ref.name not in busy.served
        )
        assert held.subscription.state is DeliveryState.PAUSED
        await busy.plane.publish("e1")
        await busy.plane.settled(1)
        assert await on_server(memory_server, busy) == "ab"
        busy.most = 2
        await busy.want(*named(sink, "ab"))
        await sink.wait_until(lambda: len(sink.received) == 2)


async def test_a_grace_is_over_for_who_is_wanted_but_has_no_place(
    memory_server: NatsStreamingServer, unique_name: str, sink: Sink, tmp_path: Path
) -> None:
    async with crowd(memory_server, unique_name, tmp_path, grace=0.2) as busy:
        await busy.want_and_open(*named(sink, "ab"))
        await busy.want(*named(sink, "b"))
        busy.most = 1
        await busy.want(*named(sink, "ab"))
        assert busy.served == "b"
        assert not busy.plane.reconciler.members.in_grace()
        assert {each.due for each in busy.plane.records} == {None}
