"""Who gets a connection when all are taken, and who gives one up. Time is played by the test."""

import pytest

from dispatcher.ingress.limits import IngressLimits
from tests.support.fakes import FakeTransport
from tests.support.publishers import Publisher, post, post_chunked

ONE, OTHER = "192.0.2.1", "192.0.2.2"

HALF_A_LINE = b"PO"
HALF_A_HEAD = post(b"x")[:40]
HALF_A_BODY = post(b"hello")[:-1]
HALF_A_CHUNK = post_chunked(b"hello")[:-9]


def limits(most: int, most_per_address: int = 100) -> IngressLimits:
    return IngressLimits(max_connections=most, max_connections_per_address=most_per_address)


def is_refused(transport: FakeTransport) -> bool:
    is_503 = transport.output.startswith(b"HTTP/1.1 503 ")
    assert is_503 == (b"Retry-After: 1\r\n" in transport.output) == transport.sent_eof
    return is_503


def is_served(transport: FakeTransport) -> bool:
    transport.take_output()
    transport.receive(post(b"x"))
    return transport.take_output().startswith(b"HTTP/1.1 202 ")


async def test_idle_connections_lock_nobody_out() -> None:
    publisher = Publisher(limits(20), instant=True)
    idle = [publisher.transport, *(publisher.connect()[1] for _ in range(19))]
    assert all(is_served(transport) for transport in idle)
    for index in range(50):
        if index % 20 == 0:
            publisher.wait(2)
        _, newcomer = publisher.connect()
        assert is_served(newcomer)
    assert all(transport.closed for transport in idle)
    assert len(publisher.context.connections) == 20
    assert publisher.metrics.evicted_connections == 50


async def test_the_one_that_is_idle_longest_goes() -> None:
    publisher = Publisher(limits(3), instant=True)
    transports = [publisher.transport, *(publisher.connect()[1] for _ in range(2))]
    for index in (1, 0, 2, 1):  # so 0 is idle longest, then 2
        publisher.wait(1)
        assert is_served(transports[index])
    publisher.wait(1)
    publisher.connect()
    assert [transport.closed for transport in transports] == [True, False, False]
    publisher.connect()
    assert [transport.closed for transport in transports] == [True, False, True]


async def test_nobody_who_came_or_was_answered_just_now_is_closed() -> None:
    publisher = Publisher(limits(2), instant=True)
    publisher.wait(5)
    assert is_served(publisher.transport)
    _, second = publisher.connect()
    publisher.wait(0.5)
    assert is_refused(publisher.connect()[1])
    assert is_served(second)
    assert is_served(publisher.transport)


async def test_a_connection_whose_answer_is_due_keeps_its_place() -> None:
    publisher = Publisher(limits(2))
    _, second = publisher.connect()
    publisher.transport.receive(post(b"x"))
    second.receive(post(b"y"))
    publisher.wait(5)
    _, third = publisher.connect()
    assert is_refused(third)
    assert b"too many connections are open: " in third.output
    assert [answer.status for answer in await publisher.store(0)] == [202]
    publisher.wait(1.5)
    _, fourth = publisher.connect()
    assert not is_refused(fourth), "the first is idle again"
    assert publisher.transport.closed
    assert not second.closed


@pytest.mark.parametrize("part", [HALF_A_LINE, HALF_A_HEAD, HALF_A_BODY, HALF_A_CHUNK])
async def test_a_request_that_stalls_gives_way_and_is_told(part: bytes) -> None:
    publisher = Publisher(limits(2))
    publisher.transport.receive(part)
    _, second = publisher.connect()
    second.receive(post(b"x"))
    publisher.wait(2)
    _, third = publisher.connect()
    assert not is_refused(third)
    assert is_refused(publisher.transport)
    assert b"nothing more of this request came: send it again" in publisher.transport.output
    assert publisher.context.budget.used == 0
    publisher.transport.take_output()
    publisher.wait(3)
    assert publisher.transport.aborted


@pytest.mark.parametrize("part", [HALF_A_LINE, HALF_A_HEAD, HALF_A_BODY])
async def test_a_request_that_comes_just_now_keeps_its_place(part: bytes) -> None:
    publisher = Publisher(limits(2))
    publisher.wait(20)
    _, second = publisher.connect()
    second.receive(part)
    publisher.clock.advance(0.4)
    _, third = publisher.connect()
    assert not is_refused(second)
    assert not is_refused(third), "it has the place of the first, which is idle"


async def test_a_body_that_gets_on_keeps_its_place_and_dripping_headers_do_not() -> None:
    publisher = Publisher(limits(2))
    publisher.transport.receive(post(bytes(1000))[:-1000])
    _, dripping = publisher.connect()
    for byte in post(b"")[:8]:
        publisher.transport.receive(bytes(100))
        dripping.receive(bytes([byte]))
        publisher.wait(0.5)
    _, newcomer = publisher.connect()
    assert is_refused(dripping)
    assert not is_refused(newcomer)
    assert not is_refused(publisher.transport)


async def test_one_that_stalls_behind_its_own_answers_comes_back_to_the_order() -> None:
    publisher = Publisher(limits(1))
    publisher.transport.receive(post(b"first") + HALF_A_HEAD)
    publisher.wait(2)
    assert is_refused(publisher.connect()[1]), "an answer is due"
    await publisher.store(0)
    publisher.wait(2)
    assert not is_refused(publisher.connect()[1])


async def test_one_that_was_told_to_go_gives_way() -> None:
    publisher = Publisher(limits(1))
    publisher.send(b"garbage\r\n\r\n")
    assert not publisher.transport.closed, "it may read why"
    assert not is_refused(publisher.connect()[1])
    assert publisher.transport.closed


async def test_many_that_are_told_to_go_do_not_stay() -> None:
    publisher = Publisher(limits(1))
    publisher.transport.receive(post(b"x"))
    others = [publisher.connect()[1] for _ in range(200)]
    assert all(b"Retry-After: 1\r\n" in transport.output for transport in others)
    assert not any(transport.closed for transport in others[:128])
    assert all(transport.closed and not transport.aborted for transport in others[128:])
    assert len(publisher.context.connections) == 129


async def test_the_place_of_one_that_goes_is_free() -> None:
    publisher = Publisher(limits(1))
    publisher.transport.receive(post(b"x"))
    publisher.transport.lose()
    _, second = publisher.connect()
    second.receive(post(b"x"))
    assert publisher.metrics.evicted_connections == 0
    assert is_refused(publisher.connect()[1])


# --- by address -----------------------------------------------------------------------------------


async def test_an_address_with_too_many_gives_up_its_own() -> None:
    publisher = Publisher(limits(10, 2), instant=True)
    _, others = publisher.connect(peer=OTHER)
    publisher.wait(2)
    _, second = publisher.connect(peer=ONE)
    _, third = publisher.connect(peer=ONE)
    assert publisher.transport.closed
    assert all(is_served(transport) for transport in (others, second, third))


async def test_an_address_that_has_all_its_connections_in_use_locks_out_itself() -> None:
    publisher = Publisher(limits(3, 2))
    _, second = publisher.connect(peer=ONE)
    publisher.transport.receive(post(b"x"))
    second.receive(post(b"x"))
    _, third = publisher.connect(peer=ONE)
    assert is_refused(third)
    assert b"too many connections are open from your address: " in third.output
    assert not is_refused(publisher.connect(peer=OTHER)[1])
    second.lose()
    assert not is_refused(publisher.connect(peer=ONE)[1])


async def test_an_address_may_have_its_last_connection_replaced() -> None:
    publisher = Publisher(limits(10, 1), instant=True)
    for _ in range(3):
        publisher.wait(1.5)
        _, newcomer = publisher.connect(peer=ONE)
        assert is_served(newcomer)
    assert len(publisher.context.connections) == 1


async def test_nothing_is_kept_of_addresses_that_are_gone() -> None:
    publisher = Publisher(limits(4))
    for number in range(100):
        publisher.connect(peer=f"192.0.2.{number}")
    for connection in tuple(publisher.context.connections):
        connection.abort()
    places = publisher.context.places
    assert places.taken == 0
    assert not places._addresses
    assert not places._resting
    assert not places._holders
