"""The life of a session: opened, asked after, lost, taken over, closed."""

import asyncio
import time

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming import ConnectionState, StartAt, SubscriptionOptions
from natss.nats_streaming import protocol_pb2 as pb
from tests.conftest import StartServer
from tests.natss.nats_streaming.fake_streaming import FakeStreaming
from tests.natss.nats_streaming.watching import Connect, Received, no_responders
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

DURABLE = SubscriptionOptions(durable="d", start=StartAt.first(), manual_ack=True)


async def test_client_id_in_use(memory_server: NatsStreamingServer, connect: Connect) -> None:
    """`clientID already registered`: while the first lives, and not a moment longer."""
    first, _ = await connect(memory_server.url)
    with pytest.raises(ns.ClientIdInUse) as raised:
        await connect(memory_server.url)
    assert raised.value.retriable
    await first.close()
    second, _ = await connect(memory_server.url)
    assert second.state is ConnectionState.OPEN
    assert second.session.conn_id != first.session.conn_id


async def test_client_id_of_a_dead_client_is_free_at_once(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    """A process that died left no NATS connection, so nobody answers its heartbeats."""
    first, _ = await connect(memory_server.url)
    await first.abandon()
    begun = time.monotonic()
    await connect(memory_server.url)
    assert time.monotonic() - begun < 0.4


async def test_take_over_of_a_silent_client(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Take-over under the same client id: works once the old one is silent, which learns of it.

    Pings answered with an error: the session is gone for good. What is pending comes again to the
    new one, and the old one must not close the new one's session.
    """
    async with Proxy(memory_server.port) as proxy:
        old, watched = await connect(proxy.url, nats={"ping_interval": 30})
        got_old = Received(ack=False)
        await old.subscribe(unique_name, got_old, DURABLE)
        await old.publish(unique_name, b"")
        await got_old.until(1)
        proxy.hold()
        new, _ = await connect(memory_server.url)
        proxy.release()
        await watched.until(ConnectionState.LOST)
        assert "replaced" in (await old.lost).reason
        with pytest.raises(ns.SessionLost) as raised:
            old.publish_nowait(unique_name, b"")
        assert raised.value.retriable
        with pytest.raises(ns.SessionLost):
            await old.subscribe(unique_name, got_old)
        got_old.messages[0].ack()  # harmless, and too late
        await old.close()
        assert old.state is ConnectionState.LOST
        received = Received()
        await new.subscribe(unique_name, received, DURABLE)
        await received.until(1)
        await new.publish(unique_name, b"")
        await received.until(2)
        assert received.sequences == [1, 2]


async def test_two_at_once_and_one_gets_the_id(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    """A second connect while the server checks the first session is refused at once."""
    async with Proxy(memory_server.port) as proxy:
        await connect(proxy.url, nats={"ping_interval": 30})
        proxy.hold()
        results = await asyncio.gather(
            connect(memory_server.url), connect(memory_server.url), return_exceptions=True
        )
        errors = [type(result) for result in results if isinstance(result, BaseException)]
        assert errors == [ns.ClientIdInUse]
        proxy.release()


async def test_connect_again_after_a_lost_answer(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer], connect: Connect
) -> None:
    """The first attempt's heartbeat inbox is dropped, or it would keep the id in use."""
    nats, streaming = nats_apart
    streaming.pause()
    with pytest.raises(ns.ServerUnavailable) as raised:
        await connect(nats.url, cluster_id="apart", request_timeout=0.2)
    assert raised.value.retriable
    streaming.resume()

    async def registered() -> bool:
        try:
            await connect(nats.url, cluster_id="apart")
        except ns.ClientIdInUse:
            return False
        return True

    await eventually(registered)


async def test_wrong_cluster_id(memory_server: NatsStreamingServer, connect: Connect) -> None:
    with pytest.raises(ns.ServerUnavailable):
        await connect(memory_server.url, cluster_id="another")


async def test_server_without_pings_is_refused(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    async with FakeStreaming(memory_server.url, "old") as fake:
        fake.old_protocol = True
        with pytest.raises(ns.ConnectRefused, match=r"0\.10"):
            await connect(memory_server.url, cluster_id="old")


async def test_refused_for_another_reason(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    async with FakeStreaming(memory_server.url, "refusing") as fake:
        fake.connect_error = "too many clients"
        with pytest.raises(ns.ConnectRefused) as raised:
            await connect(memory_server.url, cluster_id="refusing")
        assert raised.value.text == "too many clients"
        assert raised.value.retriable


async def test_memory_server_restarted(natss_server: StartServer, connect: Connect) -> None:
    """After a restart with MEMORY store nothing is left: the first ping tells."""
    server = await natss_server()
    connection, watched = await connect(server.url)
    subscription = await connection.subscribe("a", Received(), DURABLE)
    waiting = connection.lost
    await server.kill()
    await watched.until(ConnectionState.DISCONNECTED)
    await server.start()
    lost = await asyncio.wait_for(waiting, 10)
    assert isinstance(lost, ns.SessionLost)
    assert watched.states[-2:] == [ConnectionState.RESTORING, ConnectionState.LOST]
    assert connection.state is ConnectionState.LOST
    assert subscription.is_closed
    again, _ = await connect(server.url)
    await again.subscribe("a", Received(), DURABLE)


async def test_refused_publish_with_a_valid_name(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer], connect: Connect
) -> None:
    """PubAck `stan: invalid publish request`: the session is lost, and all that waits is told."""
    nats, streaming = nats_apart
    connection, watched = await connect(nats.url, cluster_id="apart", ping_interval=60)
    await streaming.stop()
    streaming.wipe()
    await streaming.start()
    futures = [connection.publish_nowait("a", b"") for _ in range(3)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [ns.SessionLost] * 3
    assert watched.states[-1] is ConnectionState.LOST
    assert "invalid publish request" in connection.lost.result().reason


async def test_refused_subscribe(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer], connect: Connect
) -> None:
    """`stan: unknown clientID`: the session is lost."""
    nats, streaming = nats_apart
    connection, _ = await connect(nats.url, cluster_id="apart", ping_interval=60)
    subscription = await connection.subscribe("a", Received())
    await streaming.stop()
    streaming.wipe()
    await streaming.start()
    with pytest.raises(ns.SessionLost):
        await connection.subscribe("a", Received())
    assert connection.lost.done()
    assert connection.state is ConnectionState.LOST
    assert subscription.is_closed


async def test_wiped_store_begins_anew(natss_server: StartServer, connect: Connect) -> None:
    """Store wiped: sequences restart, and the timestamps tell such a message from the old one."""
    server = await natss_server(store="FILE")
    old, watched = await connect(server.url)
    received = Received()
    await old.subscribe("a", received, DURABLE)
    await old.publish("a", b"")
    await received.until(1)
    await server.stop()
    server.wipe()
    await server.start()
    await watched.until(ConnectionState.LOST)
    new, _ = await connect(server.url)
    await new.publish("a", b"")
    await new.subscribe("a", received, DURABLE)
    await received.until(2)
    first, second = received.messages
    assert first.sequence == second.sequence == 1
    assert first.timestamp < second.timestamp


async def test_ping_without_answer(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer], connect: Connect
) -> None:
    """Ping without answer: keep asking; the session is lost by an error answer only.

    How long there was none is in ``last_answer``.
    """
    nats, streaming = nats_apart
    connection, watched = await connect(nats.url, cluster_id="apart", request_timeout=0.1)
    received = Received()
    await connection.subscribe("a", received, DURABLE)
    clock = asyncio.get_running_loop().time
    streaming.pause()
    silent = clock()
    await eventually(lambda: clock() - connection.last_answer > 1.2)
    assert connection.last_answer < silent + 0.2
    assert not connection.lost.done()
    streaming.resume()
    # It may have been restarted: durables are opened again.
    await watched.until(ConnectionState.RESTORING, ConnectionState.OPEN)
    await connection.publish("a", b"")
    await received.until(1)
    assert clock() - connection.last_answer < 1


async def test_server_killed_behind_nats_that_stays(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer], connect: Connect
) -> None:
    """A durable re-opened since the flush is silently dead after kill -9: opened again."""
    nats, streaming = nats_apart
    connection, watched = await connect(
        nats.url, cluster_id="apart", ping_interval=1, publish_timeout=1.0
    )
    received = Received()
    subscription = await connection.subscribe("a", received, DURABLE)
    await connection.publish("a", b"1")
    await received.until(1)
    await subscription.reopen()
    await streaming.kill()
    await no_responders(connection, "a")
    await streaming.start()
    await watched.until(ConnectionState.RESTORING, ConnectionState.OPEN)
    await connection.publish("a", b"2")
    await eventually(lambda: received.messages[-1].data == b"2")
    assert not connection.lost.done()


async def test_replaced_while_asking(memory_server: NatsStreamingServer, connect: Connect) -> None:
    async with FakeStreaming(memory_server.url, "gone") as fake:
        connection, watched = await connect(memory_server.url, cluster_id="gone")
        fake.ping_error = "client has been replaced or is no longer registered"
        await watched.until(ConnectionState.LOST)
        await connection.close()
        await connection.abandon()
        assert not any(isinstance(request, pb.CloseRequest) for request in fake.requests)


async def test_close_flushes_acks_and_frees_the_id(
    file_server: NatsStreamingServer, connect: Connect
) -> None:
    """Graceful shutdown: acks are on disk, so that not even kill -9 brings those messages back."""
    connection, watched = await connect(file_server.url)
    received = Received()
    await connection.subscribe("a", received, DURABLE)
    for _ in range(3):
        await connection.publish("a", b"")
    await received.until(3)
    await connection.close()
    assert watched.states[-2:] == [ConnectionState.CLOSING, ConnectionState.CLOSED]
    assert not connection.lost.done()
    await file_server.kill()
    await file_server.start()
    again, _ = await connect(file_server.url)
    await again.publish("a", b"")
    await again.subscribe("a", received, DURABLE)
    await received.until(4)
    assert received.sequences == [1, 2, 3, 4]


async def test_closed_connection_refuses(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    subscription = await connection.subscribe(unique_name, Received())
    await connection.close()
    await connection.close()
    with pytest.raises(ns.ConnectionClosed) as raised:
        connection.publish_nowait(unique_name, b"")
    assert not raised.value.retriable
    with pytest.raises(ns.ConnectionClosed):
        await connection.publish(unique_name, b"")
    with pytest.raises(ns.ConnectionClosed):
        await connection.subscribe(unique_name, Received())
    assert subscription.is_closed
    await subscription.close()
    subscription.ack(1)


async def test_what_was_published_before_close_is_stored(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    futures = [connection.publish_nowait(unique_name, b"") for _ in range(100)]
    await connection.close()
    await asyncio.gather(*futures)


async def test_close_waits_for_pubacks(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    """The answer to the close request may overtake them."""
    async with FakeStreaming(memory_server.url, "late") as fake:
        connection, _ = await connect(memory_server.url, cluster_id="late")
        fake.holds_pubacks = True
        future = connection.publish_nowait("a", b"")
        closing = asyncio.create_task(connection.close())
        await eventually(lambda: isinstance(fake.requests[-1], pb.PubMsg))
        await fake.release_pubacks()
        await future
        await closing


@pytest.mark.parametrize("state", ["paused", "killed", "held"])
async def test_close_never_hangs(natss_server: StartServer, connect: Connect, state: str) -> None:
    """Bounded in time, with NATS away, silent, or half-open and with data that cannot be sent."""
    server = await natss_server()
    async with Proxy(server.port) as proxy:
        connection, watched = await connect(proxy.url, request_timeout=0.3)
        received = Received()
        await connection.subscribe("a", received)
        if state == "paused":
            server.pause()
        elif state == "killed":
            await server.kill()
            await watched.until(ConnectionState.DISCONNECTED)
        else:
            proxy.hold()
            futures = [connection.publish_nowait("a", bytes(500_000)) for _ in range(40)]
        begun = time.monotonic()
        await connection.close()
        assert time.monotonic() - begun < 3
        assert connection.state is ConnectionState.CLOSED
        if state == "held":
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert {type(result) for result in results} == {ns.ConnectionClosed}


async def test_heartbeats_are_answered(natss_server: StartServer, connect: Connect) -> None:
    """A client that does not answer is removed; here after 3 heartbeats in 3 s."""
    server = await natss_server(
        streaming='hb_interval: "200ms"\nhb_timeout: "200ms"\nhb_fail_count: 2'
    )
    connection, _ = await connect(server.url, ping_interval=60)
    await asyncio.sleep(2)
    await connection.publish("a", b"")


async def test_unexpected_end_of_a_task_is_a_lost_session(
    memory_server: NatsStreamingServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that dies in silence would lose events in silence."""

    async def broken(*_args: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("natss.nats_streaming.requests.ping", broken)
    connection, watched = await connect(memory_server.url)
    lost = await asyncio.wait_for(connection.lost, 5)
    assert "broken" in lost.reason
    assert watched.states[-1] is ConnectionState.LOST
