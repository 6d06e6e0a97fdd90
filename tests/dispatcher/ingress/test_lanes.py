"""Publishers of a channel that may not have everything under way at once."""

import pytest

from dispatcher.ingress.connection import IngressConnection
from dispatcher.ingress.limits import IngressLimits
from dispatcher.runtime.fair_share import UNLIMITED
from dispatcher.stores.interface import NotStored
from tests.support.fakes import FakeTransport, run_callbacks
from tests.support.publishers import Publisher, post, read_answers

AWAY = NotStored("unavailable", "away", retriable=True)


class Crowd:
    """Several publishers of one channel, each with a connection of its own."""

    def __init__(self, size: int, limit: int, limits: IngressLimits | None = None) -> None:
        self.server = Publisher(limits)
        self.server.lane.set_limit(limit)
        self.ends: list[tuple[IngressConnection, FakeTransport]] = [
            self.server.connect() for _ in range(size)
        ]

    def post(self, number: int, body: bytes, host: str | None = None) -> None:
        _, transport = self.ends[number]
        transport.receive(post(body) if host is None else post(body, host=host))

    def statuses(self, number: int) -> list[int]:
        _, transport = self.ends[number]
        return [answer.status for answer in read_answers(transport.take_output())]

    async def store(self, *indices: int, error: BaseException | None = None) -> None:
        for index in indices:
            await self.server.store(index, error)

    @property
    def published(self) -> int:
        return len(self.server.sink.calls)


async def test_who_is_over_the_limit_waits_and_is_answered_in_its_turn() -> None:
    crowd = Crowd(5, limit=2)
    for number in range(5):
        crowd.post(number, b"%d" % number)
    assert crowd.published == 2
    for stored in range(5):
        await crowd.store(stored)
        assert crowd.published == min(stored + 3, 5)
        assert crowd.statuses(stored) == [202]
    assert crowd.server.lane.under_way == 0
    assert crowd.server.context.budget.used == 0


async def test_what_has_had_its_turn_is_not_counted_as_waiting() -> None:
    crowd = Crowd(2, limit=1)
    crowd.post(0, b"x")
    crowd.post(1, b"x" * 1000)
    assert crowd.server.context.budget.used > 1000
    await crowd.store(0)
    assert crowd.published == 2
    assert crowd.server.context.budget.used == 0


async def test_nobody_passes_those_that_wait() -> None:
    crowd = Crowd(4, limit=1)
    for number in range(3):
        crowd.post(number, b"first")
    await crowd.store(0)
    crowd.post(0, b"second")  # the quickest is back at once
    crowd.server.lane.set_limit(2)
    crowd.post(3, b"first")
    for stored in range(1, 5):
        await crowd.store(stored)
    assert [crowd.statuses(number) for number in range(4)] == [[202, 202], [202], [202], [202]]
    bodies = [b"second" in data or b"c2Vjb25k" in data for data in crowd.server.stored]
    assert bodies == [False, False, False, True, False]


async def test_other_channels_are_not_held_up() -> None:
    crowd = Crowd(3, limit=1)
    crowd.post(0, b"x")
    crowd.post(1, b"x")
    crowd.post(2, b"x", host="a.test")
    assert [subject for subject, _ in crowd.server.sink.calls] == ["orders.default", "a.default"]


async def test_requests_of_one_connection_keep_their_order() -> None:
    crowd = Crowd(1, limit=1)
    for body in (b"0", b"1", b"2"):
        crowd.post(0, body)
    crowd.post(0, b"3", host="a.test")
    published = []
    for stored in range(4):
        published.append(crowd.published)
        await crowd.store(stored)
    assert published == [1, 2, 4, 4]  # the last one does not wait for the third
    assert crowd.statuses(0) == [202] * 4
    assert [subject for subject, _ in crowd.server.sink.calls][-1] == "a.default"


async def test_when_the_limit_is_gone_all_go_on_at_once() -> None:
    crowd = Crowd(7, limit=1)
    for number in range(6):
        crowd.post(number, b"x")
    crowd.server.lane.set_limit(UNLIMITED)
    await run_callbacks()
    assert crowd.published == 6
    crowd.post(6, b"x")
    assert crowd.published == 7


async def test_who_pipelines_takes_no_turns_of_others() -> None:
    crowd = Crowd(3, limit=2, limits=IngressLimits(max_pipelined=16))
    for _ in range(16):
        crowd.post(0, b"many")
    crowd.post(1, b"one")
    crowd.post(2, b"one")
    for stored in range(6):
        await crowd.store(stored)
        if crowd.ends[0][1].reads:
            crowd.post(0, b"more")
    assert (crowd.statuses(1), crowd.statuses(2)) == ([202], [202])


async def test_those_that_wait_are_refused_when_the_store_is_away() -> None:
    crowd = Crowd(4, limit=1)
    for number in range(4):
        crowd.post(number, b"x")
    crowd.server.sink.error = AWAY
    await crowd.store(0, error=AWAY)
    await run_callbacks()
    assert [crowd.statuses(number) for number in range(4)] == [[503]] * 4
    assert crowd.server.lane.under_way == 0
    crowd.server.sink.error = None
    crowd.post(0, b"again")
    assert crowd.published == 2


async def test_who_has_gone_while_it_waited_holds_nobody_up() -> None:
    crowd = Crowd(3, limit=1)
    for number in range(3):
        crowd.post(number, b"x")
    crowd.ends[1][0].connection_lost(None)
    await crowd.store(0)
    assert crowd.published == 2
    await crowd.store(1)
    assert crowd.statuses(2) == [202]
    assert crowd.server.lane.under_way == 0


async def test_nothing_is_kept_of_who_has_gone_while_it_waited() -> None:
    crowd = Crowd(2, limit=1)
    crowd.post(0, b"x")
    crowd.post(1, b"x" * 1000)
    crowd.ends[1][0].connection_lost(None)
    assert crowd.server.context.budget.used == 0
    crowd.server.lane.set_limit(2)
    assert crowd.server.lane.is_free  # nobody waits there


@pytest.mark.parametrize("first", [0, 1])
async def test_after_a_timeout_of_all_nothing_is_held(first: int) -> None:
    """Whichever of them is looked at first: who is under way, or who waits."""
    crowd = Crowd(2, limit=1, limits=IngressLimits(answer_timeout=5))
    crowd.post(0, b"x")
    crowd.post(1, b"x" * 1000)
    crowd.post(1, b"x" * 1000)
    crowd.server.clock.advance(6)
    for number in (first, 1 - first):
        crowd.ends[number][0].check(crowd.server.clock.now)
    await run_callbacks()
    assert (crowd.statuses(0), crowd.statuses(1)) == ([503], [503, 503])
    assert crowd.server.context.budget.used == 0
    assert crowd.published == 1


async def test_who_waited_too_long_may_lack_memory_next() -> None:
    limits = IngressLimits(answer_timeout=5, max_buffered_bytes=8000)
    crowd = Crowd(2, limit=1, limits=limits)
    crowd.post(0, b"x")
    crowd.post(1, b"x")
    crowd.server.clock.advance(6)
    crowd.ends[1][0].check(crowd.server.clock.now)
    assert crowd.server.context.budget.used == 0
    crowd.post(1, b"x" * 3000)
    crowd.post(1, b"x" * 3000)
    assert crowd.statuses(1) == [503, 503]


async def test_who_waits_too_long_is_told_so() -> None:
    crowd = Crowd(2, limit=1, limits=IngressLimits(answer_timeout=5))
    crowd.post(0, b"x")
    crowd.post(1, b"x")
    crowd.server.wait(6)
    assert [crowd.statuses(number) for number in range(2)] == [[503], [503]]
    assert crowd.published == 1
    assert crowd.server.lane.under_way == 0


@pytest.mark.parametrize("before", [0, 1])
async def test_without_memory_for_what_waits_it_is_refused(before: int) -> None:
    crowd = Crowd(2, limit=1, limits=IngressLimits(max_buffered_bytes=3000))
    for _ in range(before):
        crowd.post(1, b"x")
    for _ in range(1 - before):
        crowd.post(0, b"x")
    crowd.post(1, b"x" * 1500)
    await run_callbacks()
    await crowd.store(0)
    await run_callbacks()
    assert crowd.published == 1
    assert crowd.statuses(1) == [202] * before + [503]
    assert crowd.server.context.budget.used == 0
