"""Several requests on one connection: order, how many at once, and who has to wait."""

import asyncio

import pytest

from dispatcher.ingress.limits import IngressLimits
from dispatcher.stores.interface import NotStored
from tests.support.fakes import run_callbacks
from tests.support.publishers import HOST, Publisher, post

AWAY = NotStored("unavailable", "away", retriable=True)
GET = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


async def test_answers_keep_the_order_of_requests_whatever_is_stored_first() -> None:
    publisher = Publisher()
    publisher.send(post(b"0") + post(b"1") + GET + post(b"3"))
    assert await publisher.store(2) == []
    assert await publisher.store(1, AWAY) == []
    assert [answer.status for answer in await publisher.store(0)] == [202, 503, 405, 202]


async def test_events_are_published_in_the_order_of_requests() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=2))
    publisher.send(b"".join(post(b"%d" % number) for number in range(7)))
    for number in range(7):
        await publisher.store(number)
    in_order = Publisher(instant=True)
    for number in range(7):
        in_order.send(post(b"%d" % number))
    assert publisher.stored == in_order.stored


async def test_no_more_events_than_allowed_are_on_the_way_to_the_store() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=3))
    publisher.send(post(b"x") * 10)
    assert len(publisher.stored) == 3
    assert not publisher.transport.reads
    answered = 0
    for number in range(10):
        answered += len(await publisher.store(number))
        assert len(publisher.stored) == min(10, number + 4)
        # Three are allowed to wait for their answers; one less and there is room to read.
        assert publisher.transport.reads == (10 - number - 1 < 3)
    assert answered == 10


async def test_reading_pauses_at_the_limit_and_resumes_below_it() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=2))
    publisher.send(post(b"0"))
    reads = [publisher.transport.reads]
    publisher.send(post(b"1"))
    reads.append(publisher.transport.reads)
    await publisher.store(1)
    reads.append(publisher.transport.reads)
    await publisher.store(0)
    reads.append(publisher.transport.reads)
    assert reads == [True, False, False, True]
    assert [answer.status for answer in publisher.send(GET)] == [405]


async def test_a_refused_request_waits_for_its_turn_too() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=2))
    publisher.send(post(b"0") + GET * 5 + post(b"1"))
    assert len(publisher.stored) == 2  # refused ones do not count
    assert [answer.status for answer in await publisher.store(0)] == [202, *[405] * 5]
    assert [answer.status for answer in await publisher.store(1)] == [202]
    assert publisher.context.budget.used == 0


async def test_refused_requests_do_not_keep_those_before_them_from_being_published() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=1))
    publisher.send(post(b"0") + post(b"1") + GET * 3)
    assert [answer.status for answer in await publisher.store(0)] == [202]
    assert [answer.status for answer in await publisher.store(1)] == [202, *[405] * 3]
    assert publisher.context.budget.used == 0


async def test_answers_of_one_moment_are_one_write() -> None:
    publisher = Publisher(instant=True)
    publisher.transport.receive(post(b"x") * 5)
    assert len(publisher.transport.written) == 1
    publisher.answers()

    later = Publisher()
    later.transport.receive(post(b"x") * 5)
    for future in later.sink.futures:
        future.set_result("guid")
    await run_callbacks()
    assert len(later.transport.written) == 1


async def test_events_stored_at_once_let_all_that_wait_through() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=2), instant=True)
    assert [answer.status for answer in publisher.send(post(b"x") * 9)] == [202] * 9
    assert publisher.transport.reads
    assert publisher.context.budget.used == 0


async def test_what_waits_for_its_turn_counts_as_memory() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=1))
    publisher.send(post(b"x" * 1000) * 3)
    assert publisher.context.budget.used > 2 * 1000
    for number in range(3):
        await publisher.store(number)
    assert publisher.context.budget.used == 0


@pytest.mark.parametrize("memory", [500, 4000])
async def test_without_memory_for_what_waits_the_rest_is_refused(memory: int) -> None:
    publisher = Publisher(IngressLimits(max_pipelined=2, max_buffered_bytes=memory))
    publisher.send(post(b"x" * 1000) * 8)
    assert len(publisher.stored) == 2
    assert await publisher.store(0) != []
    answers = await publisher.store(1)
    assert [answer.status for answer in answers] == [202, 503]
    assert answers[-1].headers["connection"] == "close"
    assert answers[-1].headers["retry-after"] == "1"
    assert len(publisher.stored) == 2
    assert publisher.transport.sent_eof
    assert publisher.transport.reads  # to see the peer go
    assert publisher.context.budget.used == 0


async def test_what_is_published_is_answered_even_without_memory() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=2, max_buffered_bytes=500))
    publisher.send(post(b"0") + GET * 3 + post(b"1") + GET * 3)
    assert len(publisher.stored) == 2
    await publisher.store(1)
    publisher.sink.futures[0].set_result("guid")
    await run_callbacks()
    statuses = [answer.status for answer in publisher.answers()]
    assert statuses == [202, 405, 405, 405, 202, 503]


async def test_what_was_not_published_when_the_publisher_left_never_is() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=1))
    publisher.send(post(b"x") * 3)
    publisher.transport.lose()
    await publisher.store(0)
    assert len(publisher.stored) == 1
    assert publisher.context.budget.used == 0


async def test_nothing_after_a_closing_request_is_looked_at() -> None:
    publisher = Publisher()
    publisher.send(post(b"0", "Connection: close") + post(b"1"))
    assert len(publisher.stored) == 1
    assert [answer.status for answer in await publisher.store(0)] == [202]
    assert publisher.transport.is_closing()


async def test_what_follows_a_closing_request_is_not_read_on_and_on() -> None:
    publisher = Publisher()
    publisher.send(post(b"0", "Connection: close"))
    publisher.transport.receive(b"x" * 1000)
    assert not publisher.transport.reads
    await publisher.store(0)
    assert publisher.transport.is_closing()


async def test_a_malformed_request_does_not_take_the_answers_before_it() -> None:
    publisher = Publisher()
    assert publisher.send(post(b"0") + b"garbage\r\n\r\n") == []
    assert not publisher.transport.sent_eof
    assert [answer.status for answer in await publisher.store(0)] == [202, 400]
    assert publisher.transport.sent_eof


async def test_who_does_not_read_is_not_read_from() -> None:
    publisher = Publisher(instant=True, high_water=1000)
    while publisher.transport.reads:
        publisher.transport.receive(post(b"x"))
        assert len(publisher.transport.output) < 2000
    publisher.transport.drain()
    assert publisher.transport.reads


async def test_two_reasons_to_pause_end_one_by_one() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=2), high_water=50)
    publisher.send(GET + post(b"0") + post(b"1"))  # the refusal fills the buffer
    reads = [publisher.transport.reads]
    publisher.transport.drain()
    reads.append(publisher.transport.reads)
    await publisher.store(0)
    reads.append(publisher.transport.reads)
    publisher.transport.drain()
    reads.append(publisher.transport.reads)
    assert reads == [False, False, False, True]


@pytest.mark.parametrize("count", [1, 5])
async def test_no_task_is_made_for_a_request(count: int) -> None:
    publisher = Publisher()
    before = asyncio.all_tasks()
    publisher.send(post(b"x") * count)
    assert asyncio.all_tasks() == before
