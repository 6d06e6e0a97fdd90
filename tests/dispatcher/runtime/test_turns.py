"""Long work leaves the event loop to others now and then, and what they may see meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from dispatcher.desired.files import FileSource
from dispatcher.durables.ledger import Ledger
from dispatcher.durables.lifecycle import Life
from dispatcher.ingress.routing import Route
from dispatcher.main import Dispatcher
from dispatcher.runtime import turns
from dispatcher.runtime.state_folder import StateFolder
from dispatcher.runtime.turns import Turns
from dispatcher.settings.settings import DispatcherSettings
from natss.contract.resources import Channel, DesiredState, Problem, ResourceName, Subscriber
from tests.support.channel_ids import channel_id
from tests.support.data_plane import DataPlane
from tests.support.servers import NatsStreamingServer

MOST = 50


class Loop:
    """Counts its turns."""

    def __init__(self, each: Callable[[], object]) -> None:
        self._each = each
        self.seen: list[object] = []
        self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self.seen.append(self._each())
        self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def stop(self) -> list[object]:
        self._handle.cancel()
        self.seen.append(self._each())
        return self.seen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock that stands still, so that only pieces count."""
    now = [0.0]
    monkeypatch.setattr(turns, "perf_counter", lambda: now[0])
    return now


async def test_others_get_their_turn_after_so_many_pieces(clock: list[float]) -> None:
    done = 0
    loop = Loop(lambda: done)
    work = Turns(MOST)
    for done in range(1, 201):  # noqa: B007  it is what the loop sees
        await work.piece_done()
    assert loop.stop() == [MOST, 2 * MOST, 3 * MOST, 4 * MOST, 4 * MOST]


async def test_others_get_their_turn_after_so_much_time(clock: list[float]) -> None:
    done = 0
    loop = Loop(lambda: done)
    work = Turns(MOST)
    for done in range(1, 7):  # noqa: B007
        clock[0] += 0.002
        await work.piece_done()
    assert loop.stop()[:2] == [3, 6]


# --- the whole dispatcher -------------------------------------------------------------------------


def channel(name: str, subscribers: int, uid: str = "u") -> Channel:
    return Channel(
        channel_id("shop", name),
        (f"{name}.shop.channels.cluster.local",),
        tuple(
            Subscriber(
                ResourceName("shop", f"{name}-{n}"), f"{uid}-{name}-{n}", "http://127.0.0.1:9/"
            )
            for n in range(subscribers)
        ),
    )


def state(*channels: Channel, problems: tuple[Problem, ...] = ()) -> DesiredState:
    return DesiredState({each.name: each for each in channels}, problems)


@asynccontextmanager
async def dispatcher() -> AsyncIterator[Dispatcher]:
    """Yield a dispatcher that is connected to nothing."""
    settings = DispatcherSettings()
    made = Dispatcher(settings, FileSource((), settings.defaults), Ledger(StateFolder(None), 60.0))
    made._is_loaded.set()
    yield made
    await made._close()


SHAPES = {
    "many channels": [channel(f"c{n}", 3) for n in range(200)],
    "one channel": [channel("big", 600)],
}


def jumps(seen: list[object]) -> int:
    """Return how much the numbers differ at most from one turn to the next."""
    numbers = [number for number in seen if isinstance(number, int)]
    return max(abs(after - before) for before, after in pairwise(numbers))


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_turn_adds_or_removes_more_than_a_few_subscribers(
    shape: str, clock: list[float]
) -> None:
    async with dispatcher() as tried:
        members = tried._reconciler.members
        loop = Loop(lambda: len(members))
        await tried._apply(state(*SHAPES[shape]))
        assert len(members) == 600
        graces = Loop(lambda: len(members.in_grace()))
        await tried._apply(state())
        assert 0 < jumps(loop.stop()) <= MOST
        assert 0 < jumps(graces.stop()) <= MOST


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_turn_ends_more_than_a_few_subscribers_of_deleted_channels(
    shape: str, clock: list[float]
) -> None:
    async with dispatcher() as tried:
        await tried._apply(state(*SHAPES[shape]))
        loop = Loop(lambda: len(tried._reconciler.members))
        deleted = {each.name: each for each in SHAPES[shape]}
        await tried._apply(DesiredState({}, deleted=deleted))
        assert not tried._reconciler.members
        assert 0 < jumps(loop.stop()) <= MOST


async def test_no_turn_takes_on_more_than_a_few_durables_that_were_left(
    clock: list[float], tmp_path: Path
) -> None:
    before = Ledger(StateFolder(tmp_path), 60.0)
    for each in channel("big", 600).subscribers:
        before.want(channel_id("shop", "big"), each.ref, each.durable, 1.0)
    await before.write()
    settings = DispatcherSettings()
    records = Ledger(StateFolder(tmp_path), 60.0)
    tried = Dispatcher(settings, FileSource((), settings.defaults), records)
    tried._is_loaded.set()
    loop = Loop(lambda: len(tried._reconciler.members))
    await tried._apply(state())
    await tried._close()
    assert len(tried._reconciler.members) == 600
    assert 0 < jumps(loop.stop()) <= MOST


async def test_problems_are_logged_in_turns(clock: list[float]) -> None:
    problems = tuple(Problem(f"Channel shop/c{n}", "spec", "wrong") for n in range(300))
    async with dispatcher() as tried:
        loop = Loop(lambda: None)
        await tried._apply(state(problems=problems))
        assert len(loop.stop()) > 300 / MOST


async def test_a_channel_is_served_only_once_all_its_subscribers_are_wanted() -> None:
    """An event that was answered 202 in between would reach only some of them."""
    host = channel("new", 0).hosts[0].encode()
    old = channel("old", 3)
    async with dispatcher() as tried:
        await tried._apply(state(old))

        def looked_up() -> tuple[bool, bool, int]:
            is_served = isinstance(tried._routes.lookup(host), Route)
            is_old_served = isinstance(tried._routes.lookup(old.hosts[0].encode()), Route)
            return is_served, is_old_served, len(tried._reconciler.members)

        loop = Loop(looked_up)
        await tried._apply(state(old, channel("new", 300)))
        seen = loop.stop()
        assert {each[2] for each in seen if each[0]} == {303}  # type: ignore[index]
        assert all(each[1] for each in seen), "and others are served all the time"  # type: ignore[index]
        assert len({each[2] for each in seen}) > 3, "or nothing is shown"  # type: ignore[index]


async def test_a_grace_does_not_end_while_its_subscriber_is_being_taken_back(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    """Its turn comes late, behind many others; its durable was removed before that."""
    async with DataPlane(memory_server, unique_name, grace=3600.0) as plane:
        last = channel("z", 1)
        await plane.reconciler.apply(state(last))
        await plane.reconciler.apply(state())
        (member,) = plane.reconciler.members.values()
        applying = asyncio.create_task(plane.reconciler.apply(state(channel("a", 300), last)))
        await asyncio.sleep(0)
        assert 0 < len(plane.reconciler.members) < 300
        assert member.life is Life.RETAINED
        assert not plane.reconciler.members.in_grace()
        await applying
        served = [each for each in plane.reconciler.members.values() if each.life is Life.SERVED]
        assert member in served
