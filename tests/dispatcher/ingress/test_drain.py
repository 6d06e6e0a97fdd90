"""Stopping: what comes over open connections is taken for a moment, and everybody goes in time."""

from dispatcher.ingress.limits import IngressLimits
from tests.support.publishers import Publisher, post


async def test_a_new_request_over_an_open_connection_is_the_last_one() -> None:
    publisher = Publisher(instant=True)
    publisher.send(post(b"x"))
    publisher.context.start_draining(30)
    (answer,) = publisher.send(post(b"x"))
    assert answer.status == 202
    assert answer.headers["connection"] == "close"
    assert publisher.transport.is_closing()
    assert len(publisher.stored) == 2


async def test_what_comes_after_the_moment_is_503_and_close() -> None:
    publisher = Publisher(instant=True)
    publisher.context.start_draining(30)
    publisher.send(post(b"x")[:20])  # it has begun, so it is not closed
    publisher.wait(1.5)
    (answer,) = publisher.send(post(b"x")[20:])
    assert answer.status == 503
    assert answer.headers["connection"] == "close"
    assert answer.headers["retry-after"] == "1"
    assert answer.body == "this server is stopping: send the event again on a new connection\n"
    assert publisher.transport.sent_eof
    assert publisher.stored == []


async def test_what_is_on_the_way_is_answered_with_close() -> None:
    publisher = Publisher()
    publisher.send(post(b"0") + post(b"1"))
    publisher.context.start_draining(30)
    publisher.wait(3)
    assert not publisher.transport.is_closing()
    (first,) = await publisher.store(0)
    assert first.status == 202
    (second,) = await publisher.store(1)
    assert second.status == 202
    assert second.headers["connection"] == "close"
    assert publisher.transport.is_closing()
    assert publisher.context.drained.is_set()


async def test_a_request_whose_headers_were_read_is_taken() -> None:
    publisher = Publisher(instant=True)
    publisher.send(post(b"hello")[:-1])
    publisher.context.start_draining(30)
    (answer,) = publisher.send(b"o")
    assert answer.status == 202
    assert answer.headers["connection"] == "close"
    assert publisher.transport.is_closing()


async def test_idle_connections_are_told_for_a_moment_and_then_closed() -> None:
    publisher = Publisher(instant=True)
    publisher.context.start_draining(30)
    publisher.wait(0.5)
    assert not publisher.transport.is_closing()
    assert not publisher.context.drained.is_set()
    publisher.wait(0.5)
    assert publisher.transport.is_closing()
    assert publisher.context.drained.is_set()


async def test_a_server_without_connections_has_drained_at_once() -> None:
    publisher = Publisher()
    publisher.transport.lose()
    publisher.context.start_draining(30)
    assert publisher.context.drained.is_set()


async def test_new_connections_that_were_waiting_are_served() -> None:
    publisher = Publisher(IngressLimits(max_connections=10), instant=True)
    publisher.context.start_draining(30)
    _, transport = publisher.connect()
    transport.receive(post(b"x"))
    assert transport.output.startswith(b"HTTP/1.1 202 ")
    assert transport.is_closing()
