"""What time one publisher may take. It is played by the test."""

import gc

import pytest

from dispatcher.ingress.limits import IngressLimits
from tests.support.fakes import run_callbacks
from tests.support.publishers import Publisher, post, post_chunked

LIMITS = IngressLimits(
    header_timeout=10,
    body_timeout=30,
    keepalive_timeout=75,
    answer_timeout=10,
    max_header_bytes=4096,
)


async def test_headers_that_do_not_end_are_408() -> None:
    publisher = Publisher(LIMITS)
    publisher.send(post(b"x")[:40])
    assert publisher.wait(10) == []
    (answer,) = publisher.wait(0.5)
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert answer.body == "the headers of the request did not arrive in time: send it again\n"
    assert publisher.transport.sent_eof


async def test_dripping_headers_gain_no_time() -> None:
    publisher = Publisher(LIMITS)
    for byte in post(b"x")[:10]:
        publisher.transport.receive(bytes([byte]))
        assert publisher.wait(1) == []
    publisher.transport.receive(post(b"x")[10:11])
    assert [answer.status for answer in publisher.wait(0.5)] == [408]


async def test_a_body_that_stops_is_408() -> None:
    publisher = Publisher(LIMITS)
    publisher.send(post(b"hello")[:-1])
    assert publisher.wait(30) == []
    (answer,) = publisher.wait(0.5)
    assert answer.status == 408
    assert answer.body == "the body of the request did not arrive in time: send it again\n"
    assert publisher.stored == []
    assert publisher.transport.sent_eof
    assert publisher.context.budget.used == 0


async def test_a_body_that_gets_on_has_all_the_time() -> None:
    publisher = Publisher(LIMITS, instant=True)
    publisher.sink.max_event_bytes = 1_000_000
    publisher.context.tick()
    request = post(bytes(100_000))
    publisher.send(request[:-100_000])
    for start in range(-100_000, 0, 10_000):
        assert publisher.wait(20) == []
        answers = publisher.send(request[start:][:10_000])
    assert [answer.status for answer in answers] == [202]


@pytest.mark.parametrize("piece", [b"b", b"b" * 400], ids=["a byte", "400 bytes a second"])
async def test_a_body_that_trickles_does_not_keep_its_connection_for_ever(piece: bytes) -> None:
    publisher = Publisher(LIMITS)
    publisher.sink.max_event_bytes = 1_000_000
    publisher.context.tick()
    publisher.send(post(b"")[:-5] + b"100000\r\n\r\n")
    seconds = 0
    while not (answers := publisher.wait(1)):
        seconds += 1
        publisher.transport.receive(piece)
        assert seconds < 200
    assert [answer.status for answer in answers] == [408]
    assert seconds >= 30
    assert publisher.context.budget.used == 0


async def test_the_time_in_which_nobody_reads_a_body_is_not_the_publishers() -> None:
    limits = IngressLimits(body_timeout=2, answer_timeout=60, max_pipelined=1)
    publisher = Publisher(limits)
    publisher.send(post(b"0") + post(b"12")[:-2])
    assert not publisher.transport.reads
    assert publisher.wait(50) == []
    await publisher.store(0)
    assert publisher.wait(1.5) == []
    publisher.send(b"1")
    assert publisher.wait(0.5) == []
    publisher.send(b"2")
    assert [answer.status for answer in await publisher.store(1)] == [202]


async def test_extensions_of_chunks_are_no_progress() -> None:
    publisher = Publisher(LIMITS)
    publisher.send(post_chunked(b"x")[:-5] + b"1;a")
    for _ in range(3):
        assert publisher.wait(9) == []
        publisher.transport.receive(b"a")
    assert [answer.status for answer in publisher.wait(4)] == [408]


async def test_a_connection_that_says_nothing_is_closed_in_silence() -> None:
    publisher = Publisher(LIMITS)
    assert publisher.wait(10) == []
    assert not publisher.transport.is_closing()
    assert publisher.wait(0.5) == []
    assert publisher.transport.is_closing()
    assert publisher.context.connections == set()


async def test_an_idle_connection_is_kept_for_the_next_request() -> None:
    publisher = Publisher(LIMITS, instant=True)
    for _ in range(3):
        assert [answer.status for answer in publisher.send(post(b"x"))] == [202]
        assert publisher.wait(75) == []
        assert not publisher.transport.is_closing()
    assert publisher.wait(0.5) == []
    assert publisher.transport.is_closing()


@pytest.mark.parametrize("after", [0.01, 0.2, 0.49])
async def test_no_connection_is_closed_before_its_time(after: float) -> None:
    """Or a publisher that keeps to the same time meets a closed connection with its next event."""
    publisher = Publisher(LIMITS, instant=True)
    publisher.clock.advance(after)
    publisher.send(post(b"x"))
    publisher.clock.advance(0.5 - after)
    publisher.context.tick()
    publisher.wait(75 - (0.5 - after) - 0.001)
    assert not publisher.transport.is_closing()
    publisher.wait(1)
    assert publisher.transport.is_closing()


async def test_an_event_that_is_not_confirmed_is_503_in_time() -> None:
    publisher = Publisher(LIMITS)
    publisher.send(post(b"first"))
    publisher.wait(5)
    publisher.send(post(b"second"))
    assert publisher.wait(4) == []
    (answer,) = publisher.wait(1)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert "did not confirm" in answer.body
    assert not publisher.transport.is_closing()
    # The confirmation that comes late changes nothing, and the next event has its own time.
    assert await publisher.store(0) == []
    assert publisher.wait(4) == []
    assert [answer.status for answer in await publisher.store(1)] == [202]
    assert publisher.orders.results["timeout"] == 1
    assert publisher.orders.results["stored"] == 1


async def test_no_event_waits_longer_because_of_when_it_came() -> None:
    publisher = Publisher(LIMITS)
    publisher.clock.advance(0.3)
    publisher.send(post(b"x"))
    publisher.clock.advance(0.2)
    publisher.context.tick()
    assert [answer.status for answer in publisher.wait(9.7)] == [503]


async def test_a_late_failure_of_an_answered_event_is_nobodys_business(
    caplog: pytest.LogCaptureFixture,
) -> None:
    publisher = Publisher(LIMITS)
    publisher.send(post(b"x"))
    assert [answer.status for answer in publisher.wait(10)] == [503]
    assert await publisher.store(0, ConnectionResetError()) == []
    publisher.sink.futures.clear()
    gc.collect()
    assert caplog.records == []  # asyncio complains of errors that nobody looked at


async def test_events_that_wait_for_others_are_503_in_time_and_never_published() -> None:
    publisher = Publisher(IngressLimits(max_pipelined=2))
    publisher.send(post(b"x") * 5)
    assert [answer.status for answer in publisher.wait(10)] == [503] * 5
    await run_callbacks()
    assert len(publisher.stored) == 2
    assert publisher.transport.reads
    assert publisher.context.budget.used == 0


async def test_a_stored_event_is_not_called_unconfirmed_because_another_is() -> None:
    publisher = Publisher(LIMITS)
    publisher.send(post(b"first") + post(b"second"))
    await publisher.store(1)
    assert [answer.status for answer in publisher.wait(10)] == [503, 202]


async def test_an_idle_connection_with_an_answer_due_is_not_idle() -> None:
    limits = IngressLimits(header_timeout=1, keepalive_timeout=2, answer_timeout=10)
    publisher = Publisher(limits)
    publisher.send(post(b"x"))
    assert publisher.wait(9) == []
    assert not publisher.transport.is_closing()
    assert [answer.status for answer in await publisher.store(0)] == [202]
    publisher.wait(1)
    assert not publisher.transport.is_closing()
    publisher.wait(2)
    assert publisher.transport.is_closing()


async def test_a_request_is_not_late_while_we_do_not_read() -> None:
    limits = IngressLimits(header_timeout=2, answer_timeout=60, max_pipelined=1)
    publisher = Publisher(limits)
    publisher.send(post(b"0") + post(b"1")[:20])
    assert not publisher.transport.reads
    assert publisher.wait(20) == []
    await publisher.store(0)
    assert publisher.wait(1) == []
    publisher.send(post(b"1")[20:])
    assert [answer.status for answer in await publisher.store(1)] == [202]


async def test_who_never_reads_is_cut_off() -> None:
    publisher = Publisher(LIMITS, instant=True, high_water=200)
    while publisher.transport.reads:
        publisher.transport.receive(post(b"x"))
    publisher.wait(29)
    assert not publisher.transport.is_closing()
    publisher.wait(1)
    assert publisher.transport.aborted


async def test_a_refused_publisher_gets_time_to_read_why() -> None:
    publisher = Publisher(LIMITS)
    assert [answer.status for answer in publisher.send(b"garbage\r\n\r\n")] == [400]
    assert publisher.transport.sent_eof
    publisher.transport.receive(b"more garbage")
    publisher.wait(1.5)
    assert not publisher.transport.is_closing()
    publisher.wait(0.5)
    assert publisher.transport.aborted
    assert publisher.context.connections == set()


async def test_a_refused_publisher_that_goes_is_gone_at_once() -> None:
    publisher = Publisher(LIMITS)
    publisher.send(b"garbage\r\n\r\n")
    publisher.transport.receive_eof()
    assert publisher.transport.is_closing()
    assert not publisher.transport.aborted


async def test_a_refused_publisher_cannot_send_for_ever() -> None:
    publisher = Publisher(LIMITS)
    publisher.send(b"garbage\r\n\r\n")
    sent = 0
    while not publisher.transport.is_closing():
        publisher.transport.receive(bytes(65536))
        sent += 65536
        assert sent < 8 * 1024 * 1024
    assert publisher.context.budget.used == 0


async def test_one_broken_connection_does_not_stop_the_clock_of_others() -> None:
    publisher = Publisher(LIMITS)
    aborted = []

    class Broken:
        def check(self, now: float) -> None:
            raise RuntimeError

        def abort(self) -> None:
            aborted.append(self)
            publisher.context.gone(self)

    publisher.context.connections.add(Broken())
    publisher.send(post(b"x")[:10])
    assert [answer.status for answer in publisher.wait(11)] == [408]
    assert len(aborted) == 1
