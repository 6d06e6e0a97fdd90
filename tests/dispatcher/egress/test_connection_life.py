"""One connection to a subscriber: what is sent, when it is given up, and its end, on fakes."""

import gc
import weakref

from dispatcher.egress.connection import (
    EgressConnection,
    EgressConnectionState,
    EgressError,
    FailureReason,
)
from dispatcher.egress.limits import EgressLimits
from tests.dispatcher.egress.egress_fakes import OK, FakeLoop, FakeOwner, Wire, bytewise

# Sending


async def test_one_write_a_request() -> None:
    wire = Wire()
    wire.exchange(b"POST / HTTP/1.1\r\n\r\nbody")
    assert wire.transport.writes == [b"POST / HTTP/1.1\r\n\r\nbody"]


async def test_large_body_goes_as_fast_as_the_peer_reads() -> None:
    wire = Wire()
    wire.transport.room = 300_000
    body = bytes(range(256)) * 8192  # 2 MiB
    answer = wire.exchange(b"head", body)
    sent_first = sum(map(len, wire.transport.writes))
    assert 300_000 < sent_first < 600_000
    while wire.transport.room < 0:
        wire.transport.drained(300_000)
    assert b"".join(wire.transport.writes) == b"head" + body
    wire.receive(OK)
    assert answer.result().status == 200
    assert wire.connection.state is EgressConnectionState.IDLE


async def test_answer_before_the_request_is_sent() -> None:
    """The answer counts; the connection cannot be used again in the middle of a request."""
    wire = Wire()
    wire.transport.room = 1000
    answer = wire.exchange(b"head", b"b" * 10**6)
    wire.receive(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert answer.result().status == 413
    assert wire.connection.state is EgressConnectionState.CLOSED
    wire.connection.resume_writing()  # writes nothing: the fake would fail


async def test_answer_while_the_transport_is_full() -> None:
    wire = Wire()
    wire.transport.room = 3
    answer = wire.exchange(b"head")
    wire.receive(OK)
    assert answer.result().status == 200
    assert wire.connection.state is EgressConnectionState.CLOSED


# Time


async def test_timeout_counts_to_the_end_of_the_answer() -> None:
    for data, where in (
        (b"", "before the answer"),
        (b"HTTP/1.1 200 OK\r\n", "in the headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1", "in the body"),
    ):
        wire = Wire()
        answer = wire.exchange(timeout=5.0)
        wire.receive(*bytewise(data))
        wire.loop.advance(4.9)
        assert not answer.done()
        wire.loop.advance(0.2)
        error = answer.exception()
        assert isinstance(error, EgressError)
        assert error.reason is FailureReason.TIMEOUT
        assert where in str(error)
        assert wire.transport.aborted
        assert wire.loop.pending_timers == 0


async def test_dripping_does_not_move_the_timeout() -> None:
    wire = Wire()
    answer = wire.exchange(timeout=5.0)
    wire.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(50):
        wire.receive(b".")
        wire.loop.advance(0.1)
    assert isinstance(answer.exception(), EgressError)


async def test_one_timer_serves_many_requests() -> None:
    wire = Wire()
    for _ in range(1000):
        answer = wire.exchange(timeout=5.0)
        wire.receive(OK)
        assert answer.result().status == 200
        wire.connection.take()
        wire.loop.advance(0.01)
    assert wire.loop.timers_set <= 3
    late = wire.exchange(timeout=5.0)
    wire.loop.advance(4.99)
    assert not late.done()
    wire.loop.advance(0.02)
    assert isinstance(late.exception(), EgressError)


async def test_shorter_timeout_after_a_longer_one() -> None:
    wire = Wire()
    wire.exchange(timeout=30.0)
    wire.receive(OK)
    wire.connection.take()
    answer = wire.exchange(timeout=1.0)
    wire.loop.advance(1.01)
    assert isinstance(answer.exception(), EgressError)


async def test_timer_leaves_an_idle_connection_alone() -> None:
    wire = Wire()
    wire.exchange(timeout=1.0)
    wire.receive(OK)
    wire.loop.advance(10)
    assert wire.connection.state is EgressConnectionState.IDLE
    assert wire.loop.pending_timers == 0


# Life


async def test_closed_is_final_and_told_once() -> None:
    wire = Wire()
    wire.connection.abort()
    wire.connection.abort()
    wire.connection.take()
    wire.connection.connection_lost(None)
    assert wire.connection.state is EgressConnectionState.CLOSED
    assert wire.owner.calls == ["lost"]


async def test_closed_connection_has_no_timer() -> None:
    wire = Wire()
    wire.exchange()
    wire.receive(OK)
    wire.end()
    assert wire.loop.pending_timers == 0


async def test_abort_fails_the_request_under_way() -> None:
    wire = Wire()
    answer = wire.exchange()
    wire.connection.abort()
    error = answer.exception()
    assert isinstance(error, EgressError)
    assert error.reason is FailureReason.CLOSED


async def test_connection_given_up_while_it_is_opened() -> None:
    wire = Wire()
    connection = EgressConnection(FakeOwner(), EgressLimits(), FakeLoop().as_loop, expires=0.0)
    connection.abort()
    connection.connection_made(wire.transport)
    assert connection.state is EgressConnectionState.CLOSED
    assert wire.transport.aborted


async def test_forsake_closes_only_what_works_on_this_answer() -> None:
    wire = Wire()
    first = wire.exchange()
    wire.receive(OK)
    wire.connection.take()
    second = wire.exchange()
    wire.connection.forsake(first)
    states = [wire.connection.state]
    wire.connection.forsake(second)
    states.append(wire.connection.state)
    assert states == [EgressConnectionState.ACTIVE, EgressConnectionState.CLOSED]
    assert not second.done()  # nobody awaits it any more


async def test_answer_to_a_cancelled_request_is_dropped() -> None:
    wire = Wire()
    answer = wire.exchange()
    answer.cancel()
    wire.receive(OK)
    assert wire.connection.state is EgressConnectionState.IDLE


async def test_closed_connection_leaves_no_cycle() -> None:
    """Thousands of connections come and go; none should wait for the garbage collector."""

    class Watched(EgressConnection):
        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        wire = Wire()
        connection = Watched(FakeOwner(), EgressLimits(), wire.loop.as_loop, 0.0)
        connection.connection_made(wire.transport)
        connection.exchange(b"POST", b"", wire.loop.now + 5)
        connection.data_received(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        connection.eof_received()
        connection.connection_lost(None)
        gone = weakref.ref(connection)
        del connection
        wire.loop.advance(10)
        assert gone() is None
    finally:
        gc.enable()


async def test_repr_tells_the_state() -> None:
    wire = Wire()
    assert repr(wire.connection) == "<Connection ACTIVE>"
    answer = wire.exchange()
    assert repr(wire.connection) == "<Connection ACTIVE, waits for an answer>"
    wire.receive(OK)
    assert repr(wire.connection) == "<Connection IDLE>"
    assert repr(answer.result()) == "<Response 200 1 headers 2 bytes>"
