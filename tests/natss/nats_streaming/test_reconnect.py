"""What a session goes through when NATS, or the server behind it, goes away and comes back."""

import asyncio
import time
from dataclasses import replace

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming import ConnectionState, StartAt, SubscriptionOptions
from tests.conftest import StartServer
from tests.natss.nats_streaming.fake_streaming import FakeStreaming
from tests.natss.nats_streaming.watching import Connect, Received
from tests.support.former_owner import open_for_nobody
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

DURABLE = SubscriptionOptions(durable="d", start=StartAt.first(), manual_ack=True)
AWAY_AND_BACK = (
    ConnectionState.DISCONNECTED,
    ConnectionState.RESTORING,
    ConnectionState.OPEN,
)


async def test_nats_cut_and_back(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """NATS reconnected: ping, and if the session lives, re-open every durable.

    The ack that was on its way when the connection was cut is repeated, so nothing comes twice.
    """
    received = Received()
    async with Proxy(memory_server.port) as proxy:
        connection, watched = await connect(proxy.url)
        subscription = await connection.subscribe(unique_name, received, DURABLE)
        await connection.publish(unique_name, b"1")
        await received.until(1)
        inbox = subscription.inbox
        proxy.cut()
        await watched.until(*AWAY_AND_BACK)
        assert subscription.inbox != inbox
        await connection.publish(unique_name, b"2")
        await received.until(2)
        assert received.sequences == [1, 2]
        assert not connection.lost.done()
        await connection.close()


async def test_nats_down(file_server: NatsStreamingServer, connect: Connect) -> None:
    """NATS down: publishes fail fast, running work ends and its acks are kept; nothing is lost.

    A server with FILE store that was killed brings the session back.
    """
    connection, watched = await connect(file_server.url)
    received = Received(ack=False)
    subscription = await connection.subscribe("a", received, DURABLE)
    for _ in range(3):
        await connection.publish("a", b"")
    await received.until(3)
    await file_server.kill()
    await watched.until(ConnectionState.DISCONNECTED)
    with pytest.raises(ns.NotConnected) as raised:
        connection.publish_nowait("a", b"")
    assert raised.value.retriable
    with pytest.raises(ns.NotConnected):
        await connection.subscribe("b", received)
    with pytest.raises(ns.NotConnected):
        await subscription.close()
    assert not subscription.is_open
    assert not subscription.is_closed
    for message in received.messages[:2]:
        message.ack()
    await file_server.start()
    await watched.until(*AWAY_AND_BACK)
    assert not connection.lost.done()
    await received.until(4)
    # Only the one that was not acked comes again.
    assert received.sequences == [1, 2, 3, 3]
    await connection.publish("a", b"")
    await received.until(5)
    received.messages[-1].ack()
    received.messages[-2].ack()

    async def all_acked() -> bool:
        (state,) = (await file_server.channelsz("a"))["subscriptions"]
        return bool(state["pending_count"] == 0)

    await eventually(all_acked)


async def test_in_flight_publishes_fail_at_a_disconnect(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    """The outcome is unknown; retriable."""
    async with Proxy(memory_server.port) as proxy:
        connection, watched = await connect(proxy.url)
        proxy.hold()
        futures = [connection.publish_nowait("a", b"") for _ in range(3)]
        waiting = asyncio.create_task(connection.publish("a", b""))
        await asyncio.sleep(0)
        proxy.cut()
        results = await asyncio.gather(*futures, waiting, return_exceptions=True)
        assert [type(result) for result in results] == [ns.NotConnected] * 4
        assert connection.publishes_waiting == 0
        proxy.release()
        await watched.until(*AWAY_AND_BACK)
        await connection.publish("a", b"")


async def test_graceful_restart_with_file_store(
    file_server: NatsStreamingServer, connect: Connect
) -> None:
    """SIGTERM: goes on with the same session; what was acked stays acked."""
    connection, watched = await connect(file_server.url)
    received = Received()
    await connection.subscribe("a", received, DURABLE)
    group = Received()
    await connection.subscribe("a", group, replace(DURABLE, queue="g"))
    plain = Received()
    await connection.subscribe("a", plain)
    await connection.publish("a", b"1")
    for each in (received, group, plain):
        await each.until(1)
    await file_server.restart()
    await watched.until(*AWAY_AND_BACK)
    await connection.publish("a", b"2")
    for each in (received, group, plain):
        await each.until(2)
        assert each.sequences == [1, 2]

    async def all_acked() -> bool:
        subscriptions = (await file_server.channelsz("a"))["subscriptions"]
        return [state["pending_count"] for state in subscriptions] == [0, 0, 0]

    await eventually(all_acked)


async def test_durable_opened_after_the_flush_survives_kill_9(
    file_server: NatsStreamingServer, connect: Connect
) -> None:
    """It is offline after the restart, while ping and publish are fine: opened again."""
    connection, watched = await connect(file_server.url)
    received, group = Received(), Received()
    subscriptions = [
        await connection.subscribe("a", received, DURABLE),
        await connection.subscribe("a", group, replace(DURABLE, queue="g")),
    ]
    await connection.publish("a", b"1")
    for subscription in subscriptions:
        await subscription.reopen()
    await file_server.kill()
    await file_server.start()
    await watched.until(*AWAY_AND_BACK)
    await connection.publish("a", b"2")

    async def both_got_it() -> bool:
        return 2 in received.sequences and 2 in group.sequences

    await eventually(both_got_it)


async def test_acks_of_the_outage_go_through_the_new_ack_inbox(
    file_server: NatsStreamingServer, connect: Connect
) -> None:
    """The server has forgotten the old one, as it does after kill -9."""
    connection, watched = await connect(file_server.url)
    received = Received(ack=False)
    subscription = await connection.subscribe("a", received, DURABLE)
    await connection.publish("a", b"")
    await received.until(1)
    await subscription.reopen()
    await file_server.kill()
    await watched.until(ConnectionState.DISCONNECTED)
    received.messages[0].ack()
    await file_server.start()
    await watched.until(*AWAY_AND_BACK)

    async def acked() -> bool:
        (state,) = (await file_server.channelsz("a"))["subscriptions"]
        return bool(state["pending_count"] == 0 and not state["is_offline"])

    await eventually(acked)


@pytest.mark.parametrize("options", [DURABLE, replace(DURABLE, queue="g")], ids=["plain", "group"])
async def test_durable_that_died_on_the_server_is_noticed(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer],
    connect: Connect,
    options: SubscriptionOptions,
) -> None:
    """Also where neither NATS nor a ping told that the server was killed in between."""
    nats, streaming = nats_apart
    connection, watched = await connect(
        nats.url, cluster_id="apart", ping_interval=60, probe_interval=0.2
    )
    received = Received()
    subscription = await connection.subscribe("a", received, options)
    await connection.publish("a", b"1")
    await subscription.reopen()
    await streaming.kill()
    await streaming.start()
    await watched.until_true(
        lambda: (
            any(isinstance(event, ns.Restored) for event in watched.events)
            or watched.states[-2:] == [ConnectionState.RESTORING, ConnectionState.OPEN]
        )
    )
    await connection.publish("a", b"2")

    async def got_it() -> bool:
        return 2 in received.sequences

    await eventually(got_it)
    assert ConnectionState.DISCONNECTED not in watched.states


async def test_who_was_replaced_takes_nothing_from_the_new_owner(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Its durables look dead, and the server would open them for it under the common client id.

    The new owner was refused as a duplicate then, for as long as its session lived.
    """
    async with Proxy(memory_server.port) as proxy:
        quiet = {"ping_interval": 60, "probe_interval": 0.2, "client_id": unique_name}
        replaced, watched = await connect(proxy.url, **quiet)
        await replaced.subscribe(unique_name, Received(), DURABLE)
        proxy.hold()
        owner, _ = await connect(memory_server.url, client_id=unique_name)
        proxy.release()
        await watched.until_true(replaced.lost.done)
        await owner.subscribe(unique_name, Received(), DURABLE)


async def test_a_durable_that_a_former_owner_has_costs_the_session(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """No other request closes it: the server refuses a duplicate as long as the session lives."""
    connection, _ = await connect(memory_server.url, client_id=unique_name)
    await open_for_nobody(memory_server, unique_name, unique_name, "d")
    for _ in range(3):
        assert not connection.lost.done()
        with pytest.raises(ns.DuplicateDurable):
            await connection.subscribe(unique_name, Received(), DURABLE)
    assert "former owner" in (await connection.lost).reason
    connection, _ = await connect(memory_server.url, client_id=unique_name)
    await connection.subscribe(unique_name, Received(), DURABLE)


async def test_a_durable_that_is_open_here_costs_nothing(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    await connection.subscribe(unique_name, Received(), DURABLE)
    for _ in range(5):
        with pytest.raises(ns.DuplicateDurable):
            await connection.subscribe(unique_name, Received(), DURABLE)
    assert not connection.lost.done()


async def test_probing_harms_nothing(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, watched = await connect(memory_server.url, probe_interval=0.01)
    received = Received(ack=False)
    await connection.subscribe(unique_name, received, replace(DURABLE, max_inflight=1))
    await connection.subscribe(unique_name, Received(), SubscriptionOptions(queue="q"))
    for _ in range(3):
        await connection.publish(unique_name, b"")
    await asyncio.sleep(0.3)
    assert received.sequences == [1]
    assert watched.states == [ConnectionState.OPEN]
    assert len(watched.events) == 1


async def test_half_open_connection(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """A peer that is silent, and takes no more data, is given up in time; the session is kept."""
    async with Proxy(memory_server.port) as proxy:
        connection, watched = await connect(proxy.url)
        received = Received()
        await connection.subscribe(unique_name, received, DURABLE)
        proxy.hold()
        futures = [connection.publish_nowait(unique_name, bytes(900_000)) for _ in range(40)]
        begun = time.monotonic()
        await watched.until(ConnectionState.DISCONNECTED, timeout=5)
        # Three pings of 0.3 s, and the next look at it by the ping of the session.
        assert time.monotonic() - begun < 4
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(result) for result in results} == {ns.NotConnected}
        with pytest.raises(ns.NotConnected):
            connection.publish_nowait(unique_name, b"")
        proxy.cut()
        proxy.release()
        await watched.until(*AWAY_AND_BACK)
        assert not connection.lost.done()
        received.messages.clear()
        await connection.publish(unique_name, b"last")

        async def got_it() -> bool:
            return bool(received.messages) and received.messages[-1].data == b"last"

        await eventually(got_it)


async def test_silent_connection_without_traffic(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    async with Proxy(memory_server.port) as proxy:
        _connection, watched = await connect(proxy.url)
        proxy.drop_to_client()
        await watched.until(ConnectionState.DISCONNECTED, timeout=5)
        proxy.cut()
        proxy.release()
        await watched.until(*AWAY_AND_BACK)


async def test_error_from_nats(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Any -ERR closes nats-py's client for good: a new one takes over, with the same session."""
    connection, watched = await connect(memory_server.url)
    received = Received()
    await connection.subscribe(unique_name, received, DURABLE)
    link = connection._link
    assert link is not None
    link._nats.write(b"NONSENSE\r\n")
    await watched.until(*AWAY_AND_BACK)
    await connection.publish(unique_name, b"")
    await received.until(1)


async def test_again_and_again(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """No reconnect is the last one, also one that is cut in the middle."""
    async with Proxy(memory_server.port) as proxy:
        connection, watched = await connect(proxy.url)
        received = Received()
        for number in range(20):
            await connection.subscribe(f"{unique_name}.{number}", received, DURABLE)
        for number in range(15):
            await asyncio.sleep(number / 1000)
            proxy.cut()
        proxy.refuse()
        await asyncio.sleep(0.2)
        watched.forget()
        proxy.release()
        await watched.until(ConnectionState.RESTORING, ConnectionState.OPEN)
        for number in range(20):
            await connection.publish(f"{unique_name}.{number}", b"")
        await received.until(20)
        await connection.close()


async def test_several_servers(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Tried in turn, at the first connect and at each later one."""
    async with Proxy(memory_server.port) as first, Proxy(memory_server.port) as second:
        first.refuse()
        connection, watched = await connect(first.url, second.url)
        first.release()
        second.refuse()
        await watched.until(*AWAY_AND_BACK)
        await connection.publish(unique_name, b"")
        assert first.accepted == 2


async def test_many_durables_are_restored_quickly(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    async with Proxy(memory_server.port) as proxy:
        connection, watched = await connect(proxy.url)
        received = Received()
        await asyncio.gather(
            *(
                connection.subscribe(f"{unique_name}.{number}", received, DURABLE)
                for number in range(300)
            )
        )
        begun = time.monotonic()
        proxy.cut()
        await watched.until(*AWAY_AND_BACK)
        assert time.monotonic() - begun < 5
        await asyncio.gather(
            *(connection.publish(f"{unique_name}.{number}", b"") for number in range(300))
        )
        await received.until(300)


async def test_server_gone_for_longer_than_the_session(
    natss_server: StartServer, connect: Connect
) -> None:
    """NATS away longer than the server waits: the first ping tells that the session is gone."""
    server = await natss_server(
        streaming='hb_interval: "100ms"\nhb_timeout: "100ms"\nhb_fail_count: 1'
    )
    async with Proxy(server.port) as proxy:
        connection, watched = await connect(proxy.url)
        await connection.subscribe("a", Received(), DURABLE)
        proxy.refuse()

        async def removed() -> bool:
            return bool((await server.monitor("/streaming/serverz"))["clients"] == 0)

        await eventually(removed)
        proxy.release()
        await asyncio.wait_for(connection.lost, 10)
        assert watched.states[-1] is ConnectionState.LOST


async def test_durable_that_the_server_does_not_give_back(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    """A durable that cannot be restored is told of, tried again, and holds up no other."""
    async with FakeStreaming(memory_server.url, "full") as fake, Proxy(memory_server.port) as proxy:
        connection, watched = await connect(proxy.url, cluster_id="full")
        subscription = await connection.subscribe("a", Received(), DURABLE)
        fake.subscribe_errors = ["too many subscriptions per channel"]
        proxy.cut()
        await watched.until(*AWAY_AND_BACK)
        await watched.until_true(
            lambda: any(isinstance(event, ns.Restored) for event in watched.events)
        )
        (failed,) = [event for event in watched.events if isinstance(event, ns.NotRestored)]
        assert failed.subscription is subscription
        assert isinstance(failed.error, ns.SubscriptionLimitReached)
        assert subscription.is_open


async def test_cancelled_reopen_is_finished(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Whoever is cancelled while changing a durable must not leave it closed."""
    connection, watched = await connect(memory_server.url)
    received = Received()
    subscription = await connection.subscribe(unique_name, received, DURABLE)
    task = asyncio.create_task(subscription.reopen(replace(DURABLE, max_inflight=2)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await watched.until_true(
        lambda: any(isinstance(event, ns.Restored) for event in watched.events)
    )
    await connection.publish(unique_name, b"")
    await received.until(1)
