"""What a subscription delivers and how it ends, against the real server."""

import asyncio
import time
from dataclasses import replace

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming import StartAt, SubscriptionOptions
from tests.conftest import StartServer
from tests.natss.nats_streaming.watching import Connect, Received
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

DURABLE = SubscriptionOptions(durable="d", start=StartAt.first(), manual_ack=True)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (StartAt.new_only(), [6]),
        (StartAt.last_received(), [5, 6]),
        (StartAt.first(), [1, 2, 3, 4, 5, 6]),
        (StartAt.sequence(4), [4, 5, 6]),
        (StartAt.sequence(100), [6]),
        (StartAt.time_ago(3600), [1, 2, 3, 4, 5, 6]),
        (StartAt.time_ago(0), [6]),
        (StartAt.time(0), [1, 2, 3, 4, 5, 6]),
    ],
    ids=repr,
)
async def test_start_positions(
    memory_server: NatsStreamingServer,
    connect: Connect,
    unique_name: str,
    start: StartAt,
    expected: list[int],
) -> None:
    connection, _ = await connect(memory_server.url)
    for _ in range(5):
        await connection.publish(unique_name, b"")
    received = Received()
    await connection.subscribe(unique_name, received, SubscriptionOptions(start=start))
    await connection.publish(unique_name, b"")
    await received.until(len(expected))
    assert received.sequences == expected


async def test_start_at_a_time(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    await connection.publish(unique_name, b"")
    await asyncio.sleep(0.05)
    between = time.time()
    await asyncio.sleep(0.05)
    await connection.publish(unique_name, b"")
    received = Received()
    options = SubscriptionOptions(start=StartAt.time(between))
    await connection.subscribe(unique_name, received, options)
    await received.until(1)
    assert received.sequences == [2]


async def test_start_counts_only_for_a_new_durable(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    received = Received()
    subscription = await connection.subscribe(unique_name, received, DURABLE)
    await connection.publish(unique_name, b"")
    await received.until(1)
    await subscription.close()
    await connection.publish(unique_name, b"")
    await connection.subscribe(unique_name, received, replace(DURABLE, start=StartAt.new_only()))
    await received.until(2)
    assert received.sequences == [1, 2]


async def test_max_inflight_stalls_until_an_ack(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """All MIF slots held by failing messages: delivery stops, until one is acked."""
    connection, _ = await connect(memory_server.url)
    received = Received(ack=False)
    await connection.subscribe(unique_name, received, replace(DURABLE, max_inflight=2))
    for _ in range(4):
        await connection.publish(unique_name, b"")
    await received.until(2)
    await asyncio.sleep(0.1)
    assert received.sequences == [1, 2]
    received.messages[1].ack()
    await received.until(3)
    assert received.sequences == [1, 2, 3]


async def test_redelivery_after_ack_wait(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Not acked: the same message comes again, flagged and counted, under the same identity."""
    connection, _ = await connect(memory_server.url)
    received = Received(ack=False)
    await connection.subscribe(unique_name, received, replace(DURABLE, ack_wait=1))
    await connection.publish(unique_name, b"x")
    await received.until(3)
    first, second, third = received.messages
    assert [message.redelivered for message in received.messages] == [False, True, True]
    assert [message.redelivery_count for message in received.messages] == [0, 1, 2]
    assert first.timestamp == second.timestamp == third.timestamp
    assert abs(first.timestamp / 1e9 - time.time()) < 60
    assert first.data == third.data == b"x"
    third.ack()
    first.ack()  # late and double acks are harmless
    await eventually(lambda: _pending(memory_server, unique_name, 0))


async def _pending(server: NatsStreamingServer, channel: str, count: int) -> bool:
    subscriptions = (await server.channelsz(channel))["subscriptions"]
    return [subscription["pending_count"] for subscription in subscriptions] == [count]


async def test_acked_when_the_handler_returned(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    received = Received(ack=False)
    options = SubscriptionOptions(durable="d", ack_wait=1)
    await connection.subscribe(unique_name, received, options)
    await connection.publish(unique_name, b"")
    await received.until(1)
    await eventually(lambda: _pending(memory_server, unique_name, 0))


async def test_not_acked_when_the_handler_failed(
    memory_server: NatsStreamingServer,
    connect: Connect,
    unique_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged, without the payload, comes again, and harms no other message."""
    connection, _ = await connect(memory_server.url)
    handled: list[int] = []
    done = asyncio.Event()

    def handle(message: ns.Message) -> None:
        if message.data == b"secret" and not message.redelivered:
            raise RuntimeError("as if")
        handled.append(message.sequence)
        if len(handled) == 2:
            done.set()

    await connection.subscribe(unique_name, handle, SubscriptionOptions(ack_wait=1))
    await connection.publish(unique_name, b"secret")
    await connection.publish(unique_name, b"")
    async with asyncio.timeout(5):
        await done.wait()
    assert handled == [2, 1]
    assert "the handler failed for message 1" in caplog.text
    assert "secret" not in caplog.text


async def test_awaiting_handler_gets_one_at_a_time(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    at_once = most = 0
    handled: list[int] = []
    done = asyncio.Event()

    async def handle(message: ns.Message) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1
        handled.append(message.sequence)
        if len(handled) == 20:
            done.set()

    await connection.subscribe(unique_name, handle)
    for _ in range(20):
        await connection.publish(unique_name, b"")
    async with asyncio.timeout(5):
        await done.wait()
    assert handled == list(range(1, 21))
    assert most == 1
    await eventually(lambda: _pending(memory_server, unique_name, 0))


async def test_work_longer_than_ack_wait(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Copies of what is in work, or waits for its turn, are dropped; one ack at the end."""
    connection, _ = await connect(memory_server.url)
    begun: list[tuple[int, bool]] = []
    ended: list[int] = []
    done = asyncio.Event()

    async def handle(message: ns.Message) -> None:
        begun.append((message.sequence, message.redelivered))
        await asyncio.sleep(1.2)
        ended.append(message.sequence)
        if len(ended) == 2:
            done.set()

    await connection.subscribe(unique_name, handle, SubscriptionOptions(ack_wait=1))
    for _ in range(2):
        await connection.publish(unique_name, b"")
    async with asyncio.timeout(8):
        await done.wait()
    await eventually(lambda: _pending(memory_server, unique_name, 0))
    assert begun == [(1, False), (2, False)]


async def test_change_of_max_inflight_and_ack_wait(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Re-open: all that is pending comes again at once; acks go through the new ackInbox."""
    connection, _ = await connect(memory_server.url)
    received = Received(ack=False)
    subscription = await connection.subscribe(unique_name, received, DURABLE)
    for _ in range(3):
        await connection.publish(unique_name, b"")
    await received.until(3)
    received.messages[1].ack()
    await subscription.reopen(replace(DURABLE, max_inflight=7, ack_wait=60))
    await received.until(5)
    assert received.sequences == [1, 2, 3, 1, 3]
    assert all(message.redelivered for message in received.messages[3:])
    assert subscription.options.max_inflight == 7
    (state,) = (await memory_server.channelsz(unique_name))["subscriptions"]
    assert (state["max_inflight"], state["ack_wait"]) == (7, 60)
    for message in received.messages[:3]:
        message.ack()  # names a sequence, not a delivery
    await eventually(lambda: _pending(memory_server, unique_name, 0))


async def test_other_options_cannot_be_changed(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    subscription = await connection.subscribe(unique_name, Received(), DURABLE)
    for changed in (
        replace(DURABLE, durable="other"),
        replace(DURABLE, manual_ack=False),
        replace(DURABLE, start=StartAt.new_only()),
    ):
        with pytest.raises(ns.InvalidOptions):
            await subscription.reopen(changed)
    plain = await connection.subscribe(unique_name, Received())
    with pytest.raises(ns.InvalidOptions):
        await plain.reopen()


async def test_close_keeps_the_position_and_unsubscribe_deletes_it(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Subscription removed for good: unsubscribe; the next subscribe is a new durable."""
    connection, _ = await connect(memory_server.url)
    received = Received(ack=False)
    subscription = await connection.subscribe(unique_name, received, DURABLE)
    for _ in range(2):
        await connection.publish(unique_name, b"")
    await received.until(2)
    received.messages[0].ack()
    await subscription.close()
    assert subscription.is_closed
    assert not subscription.is_open
    subscription = await connection.subscribe(unique_name, received, DURABLE)
    await received.until(3)
    assert received.sequences == [1, 2, 2]
    await subscription.unsubscribe()
    await subscription.unsubscribe()
    assert "subscriptions" not in await memory_server.channelsz(unique_name)
    await connection.subscribe(unique_name, received, DURABLE)
    await received.until(5)
    assert received.sequences == [1, 2, 2, 1, 2]


async def test_offline_durable_removed_for_good(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """If offline, subscribe first and ignore what comes."""
    connection, _ = await connect(memory_server.url)
    subscription = await connection.subscribe(unique_name, Received(), DURABLE)
    await connection.publish(unique_name, b"")
    await subscription.close()
    ignored = Received(ack=False)
    again = await connection.subscribe(unique_name, ignored, DURABLE)
    await again.unsubscribe()
    assert "subscriptions" not in await memory_server.channelsz(unique_name)


async def test_unsubscribe_of_what_the_server_took_offline(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Its ackInbox is unknown then; it is forgotten all the same."""
    connection, _ = await connect(memory_server.url)
    subscription = await connection.subscribe(unique_name, Received(), DURABLE)
    # As after a kill -9 of the server: offline there, and nobody told us.
    await ns.requests.end_subscription(
        connection._link,  # type: ignore[arg-type] # connected
        connection.session,
        unique_name,
        subscription.ack_inbox,
        forget=False,
        timeout=1,
    )
    await subscription.unsubscribe()
    assert "subscriptions" not in await memory_server.channelsz(unique_name)


async def test_duplicate_durable(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Active in this session already: an error, and the first goes on."""
    connection, _ = await connect(memory_server.url)
    received = Received()
    await connection.subscribe(unique_name, received, DURABLE)
    with pytest.raises(ns.DuplicateDurable):
        await connection.subscribe(unique_name, Received(), DURABLE)
    await connection.publish(unique_name, b"")
    await received.until(1)


async def test_same_durable_of_another_client_is_another(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    received = Received(), Received()
    for number in range(2):
        connection, _ = await connect(memory_server.url, client_id=f"{unique_name}-{number}")
        await connection.subscribe(unique_name, received[number], DURABLE)
    await connection.publish(unique_name, b"")
    await received[0].until(1)
    await received[1].until(1)


async def test_subscription_limit(natss_server: StartServer, connect: Connect) -> None:
    server = await natss_server(streaming="store_limits { max_subs: 1 }")
    connection, watched = await connect(server.url)
    await connection.subscribe("a", Received())
    with pytest.raises(ns.SubscriptionLimitReached) as raised:
        await connection.subscribe("a", Received())
    assert raised.value.retriable
    assert watched.states == [ns.ConnectionState.OPEN]


async def test_group_shares_messages(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """Several processes at once: a durable queue group, over any client ids."""
    options = replace(DURABLE, queue="group", max_inflight=1)
    received = Received(), Received()
    connections = []
    for number in range(2):
        connection, _ = await connect(memory_server.url, client_id=f"{unique_name}-{number}")
        await connection.subscribe(unique_name, received[number], options)
        connections.append(connection)
    await asyncio.gather(*(connections[0].publish(unique_name, b"") for _ in range(50)))
    await eventually(lambda: _all_received(received, 50))
    assert all(part.messages for part in received)
    assert sorted(received[0].sequences + received[1].sequences) == list(range(1, 51))


async def _all_received(received: tuple[Received, ...], count: int) -> bool:
    return sum(len(part.messages) for part in received) == count


async def test_group_takes_over_from_a_member_that_died(
    natss_server: StartServer, connect: Connect
) -> None:
    """What it had comes to the others after AckWait."""
    server = await natss_server()
    options = replace(DURABLE, queue="group", ack_wait=1)
    silent, received = Received(ack=False), Received()
    dead, _ = await connect(server.url, client_id="dead")
    await dead.subscribe("a", silent, options)
    await dead.publish("a", b"")
    await silent.until(1)
    alive, _ = await connect(server.url, client_id="alive")
    await alive.subscribe("a", received, options)
    await dead.abandon()
    await received.until(1)
    assert received.messages[0].redelivered


async def test_group_and_ordinary_subscription(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    received = Received(), Received(), Received()
    queue = SubscriptionOptions(queue="q")
    await connection.subscribe(unique_name, received[0], queue)
    await connection.subscribe(unique_name, received[1], queue)
    await connection.subscribe(unique_name, received[2])
    await asyncio.gather(*(connection.publish(unique_name, b"") for _ in range(10)))
    await received[2].until(10)
    await eventually(lambda: _all_received(received[:2], 10))


async def test_handler_may_close_its_own_connection(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """It is not waited for by itself."""
    connection, watched = await connect(memory_server.url)

    async def handle(_message: ns.Message) -> None:
        await connection.close()

    await connection.subscribe(unique_name, handle)
    connection.publish_nowait(unique_name, b"").add_done_callback(lambda future: future.exception())
    await watched.until(ns.ConnectionState.CLOSED, timeout=5)


async def test_close_waits_for_an_awaiting_handler(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """End the work, ack, close: its ack is processed, and nothing else is begun."""
    connection, _ = await connect(memory_server.url)
    begun = asyncio.Event()
    finish = asyncio.Event()
    handled: list[int] = []

    async def handle(message: ns.Message) -> None:
        begun.set()
        await finish.wait()
        handled.append(message.sequence)

    await connection.subscribe(unique_name, handle, SubscriptionOptions(durable="d"))
    for _ in range(2):
        await connection.publish(unique_name, b"")
    await begun.wait()
    closing = asyncio.create_task(connection.close())
    await asyncio.sleep(0)
    finish.set()
    await closing
    assert handled == [1]
    assert await _pending(memory_server, unique_name, 1)


async def test_unreadable_message_is_passed_over(
    memory_server: NatsStreamingServer,
    connect: Connect,
    unique_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Somebody else may publish to an inbox; it must not end what reads them all."""
    connection, _ = await connect(memory_server.url)
    received = Received()
    subscription = await connection.subscribe(unique_name, received)
    link = connection._link
    assert link is not None
    for inbox in (subscription.inbox, connection.session.inboxes.puback):
        link.send(inbox.encode(), b"", b"\xff\xff not protobuf")
    link.send(f"{connection.session.inboxes.deliveries}.999".encode(), b"", b"to nobody")
    link.send(f"{connection.session.inboxes.replies}.999".encode(), b"", b"to nobody")
    await connection.publish(unique_name, b"")
    await received.until(1)
    assert "cannot be read" in caplog.text
