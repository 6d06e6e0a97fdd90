"""Who is limited, and when: what lanes did and how busy the loop was in, limits out."""

import asyncio
import gc
import weakref

import pytest

from dispatcher.runtime.fair_share import (
    BUSY,
    CALM,
    FEWEST,
    FIRST,
    UNLIMITED,
    FairShare,
    FairShares,
    PublishShare,
    never_busy,
)
from natss.contract.channel_id import ChannelId
from tests.support.channel_ids import channel_id
from tests.support.fakes import run_callbacks
from tests.support.waiting import eventually

LOUD = channel_id("default", "loud")
QUIET = channel_id("default", "quiet")


class Bench:
    """Fair shares of two channels, and a look at a time."""

    def __init__(self) -> None:
        self.lanes = FairShares(never_busy)
        self.loud = self.lanes.publishing(LOUD)
        self.quiet = self.lanes.publishing(QUIET)

    def look(self, busy: float, loud: int = 500, quiet: int = 5) -> int:
        """Return the limit of the loud one after that much work and such a load."""
        work(self.loud, loud)
        work(self.quiet, quiet)
        self.lanes.look(busy)
        assert self.quiet.limit == UNLIMITED
        return self.loud.limit


def work(lane: FairShare, pieces: int) -> None:
    for _ in range(pieces):
        lane.count()


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_nobody_is_limited_while_the_loop_has_time(bench: Bench) -> None:
    assert [bench.look(busy) for busy in (0.0, CALM - 0.01)] == [UNLIMITED] * 2


async def test_the_loudest_is_limited_while_the_loop_is_busy(bench: Bench) -> None:
    assert bench.look(busy=1.0) == FIRST


async def test_the_limit_is_lowered_until_the_loop_has_a_moment(bench: Bench) -> None:
    limits = [bench.look(busy=1.0) for _ in range(20)]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == FEWEST
    between = (BUSY + CALM) / 2
    assert [bench.look(busy=between) for _ in range(3)] == [FEWEST] * 3


async def test_the_limit_is_raised_while_there_is_time_until_there_is_none(bench: Bench) -> None:
    bench.look(busy=1.0)
    limits = [bench.look(busy=0.5) for _ in range(40)]
    assert limits == sorted(limits)
    assert limits[0] > FIRST
    assert limits[-1] == UNLIMITED


@pytest.mark.parametrize(("loud", "quiet"), [(500, 0), (500, 400), (500, 100), (0, 0)])
async def test_who_is_alone_or_among_equals_is_not_limited(
    bench: Bench, loud: int, quiet: int
) -> None:
    assert [bench.look(1.0, loud, quiet) for _ in range(3)] == [UNLIMITED] * 3


async def test_every_lane_that_does_much_is_limited_and_a_slow_subscriber_is_not(
    bench: Bench,
) -> None:
    quick, slow = bench.lanes.delivering(LOUD), bench.lanes.delivering(LOUD)
    work(quick, 400)
    work(slow, 20)
    bench.look(busy=1.0)
    assert (quick.limit, slow.limit) == (FIRST, UNLIMITED)


async def test_a_slow_subscriber_of_the_busy_channel_is_nobody_to_be_let_through(
    bench: Bench,
) -> None:
    slow = bench.lanes.delivering(LOUD)
    work(slow, 1)
    assert bench.look(1.0, quiet=0) == UNLIMITED


async def test_others_are_remembered_for_seconds_and_no_longer(bench: Bench) -> None:
    bench.look(1.0, quiet=1)
    limits = [bench.look(1.0, quiet=0) for _ in range(100)]
    still = limits.index(UNLIMITED)
    assert 20 <= still <= 40  # looks, of which there are twenty in a second
    assert limits[still:] == [UNLIMITED] * (100 - still)


async def test_what_was_done_in_a_calm_time_is_nothing_to_go_by(bench: Bench) -> None:
    for _ in range(100):
        bench.look(0.1, loud=5, quiet=5)
    assert bench.look(busy=1.0) == FIRST


async def test_who_was_alone_for_long_begins_with_the_first_limit(bench: Bench) -> None:
    for _ in range(20):
        bench.look(1.0, quiet=0)
    assert bench.look(busy=1.0) == FIRST


async def test_in_the_end_nothing_is_limited_or_looked_at(bench: Bench) -> None:
    bench.look(busy=1.0)
    bench.lanes.close()
    assert bench.loud.limit == UNLIMITED
    work(bench.loud, 1)
    assert not bench.lanes.is_watching


async def test_who_may_have_more_is_told(bench: Bench) -> None:
    told: list[int] = []
    bench.loud.on_room = lambda: told.append(bench.loud.limit)
    bench.look(busy=1.0)
    bench.look(busy=1.0)
    assert told == []
    grown = bench.look(busy=0.5)
    bench.lanes.close()
    assert told == [grown, UNLIMITED]


async def test_a_channel_keeps_its_lane_as_long_as_somebody_has_it() -> None:
    lanes = FairShares(never_busy)
    lane = lanes.publishing(LOUD)
    assert lanes.publishing(LOUD) is lane
    assert lanes.publishing(QUIET) is not lane
    before = weakref.ref(lane)
    del lane
    gc.collect()
    assert before() is None


class OneWhoWaits:
    """A waiter that publishes in its turn, or breaks."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.turns = 0

    def go_on(self, lane: PublishShare) -> None:
        self.turns += 1
        if self.breaks:
            raise RuntimeError("planted")
        lane.began()


async def test_one_that_breaks_takes_the_turn_of_no_other(bench: Bench) -> None:
    lane = bench.loud
    lane.set_limit(1)
    lane.began()
    waiters = [OneWhoWaits(breaks=True), OneWhoWaits(), OneWhoWaits()]
    for waiter in waiters:
        lane.wait(waiter)
    lane.ended()
    await run_callbacks()
    assert [waiter.turns for waiter in waiters] == [1, 1, 0]
    lane.ended()
    await run_callbacks()
    assert [waiter.turns for waiter in waiters] == [1, 1, 1]


async def test_time_in_which_a_channel_is_held_back_is_told() -> None:
    told: dict[ChannelId, float] = {}

    def on_held_back(channel: ChannelId, seconds: float) -> None:
        told[channel] = told.get(channel, 0.0) + seconds

    lanes = FairShares(lambda: 1.0, on_held_back)
    loud, quiet, delivering = (
        lanes.publishing(LOUD),
        lanes.publishing(QUIET),
        lanes.delivering(LOUD),
    )
    began = asyncio.get_running_loop().time()
    work(loud, 20)
    work(delivering, 20)
    work(quiet, 1)
    await eventually(lambda: not lanes.is_watching, every=0.01)
    assert told.keys() == {LOUD}
    taken = asyncio.get_running_loop().time() - began
    assert 0 < told[LOUD] < taken, "of two lanes of a channel the time counts once"
    before = dict(told)
    work(quiet, 20)  # alone
    await eventually(lambda: not lanes.is_watching, every=0.01)
    assert told == before


async def test_it_looks_by_itself_while_there_is_work_and_then_no_more() -> None:
    asked = 0

    def load() -> float:
        nonlocal asked
        asked += 1
        return 1.0

    lanes = FairShares(load)
    loud, quiet = lanes.publishing(LOUD), lanes.publishing(QUIET)
    work(loud, 20)
    work(quiet, 1)
    await eventually(lambda: loud.limit == FIRST, every=0.01)
    await eventually(lambda: not lanes.is_watching, every=0.01)
    assert loud.limit == UNLIMITED
    before = asked
    await asyncio.sleep(0.12)  # more than two looks take
    assert asked == before
    work(loud, 20)
    work(quiet, 1)
    await eventually(lambda: loud.limit == FIRST, every=0.01)
    lanes.close()
