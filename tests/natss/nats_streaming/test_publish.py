"""What becomes of a message that is published, as told by the future of ``publish_nowait``."""

import asyncio
import time
from functools import partial

import pytest

import natss.nats_streaming as ns
from natss.nats_streaming import protocol_pb2 as pb
from natss.nats_streaming.messages import GUID_LENGTH
from tests.conftest import StartServer
from tests.natss.nats_streaming.fake_streaming import FakeStreaming
from tests.natss.nats_streaming.watching import Connect, Received, no_responders
from tests.support.servers import NatsStreamingServer


async def test_order_is_kept(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """One connection's messages are stored in the order in which they were published."""
    connection, _ = await connect(memory_server.url)
    received = Received()
    await connection.subscribe(unique_name, received)
    futures = [connection.publish_nowait(unique_name, b"%d" % number) for number in range(500)]
    guids = await asyncio.gather(*futures)
    await received.until(500)
    assert [int(message.data) for message in received.messages] == list(range(500))
    assert len(set(guids)) == 500
    assert connection.publishes_waiting == 0


async def test_channel_limit(natss_server: StartServer, connect: Connect, unique_name: str) -> None:
    """PubAck `too many channels`: an error of its own, and the session is fine."""
    server = await natss_server(streaming="store_limits { max_channels: 1 }")
    connection, watched = await connect(server.url)
    await connection.publish("one", b"")
    with pytest.raises(ns.ChannelLimitReached, match="too many channels") as raised:
        await connection.publish("two", b"")
    assert raised.value.retriable
    with pytest.raises(ns.ChannelLimitReached):
        await connection.subscribe("two", Received())
    await connection.publish("one", b"")
    assert watched.states == [ns.ConnectionState.OPEN]


async def test_channel_of_other_case(
    natss_server: StartServer, connect: Connect, unique_name: str
) -> None:
    """One case per name; what the server knows alone is a permanent error."""
    server = await natss_server(store="FILE")
    connection, _ = await connect(server.url)
    await connection.publish("name", b"")
    with pytest.raises(ns.ChannelNameConflict) as raised:
        await connection.publish("Name", b"")
    assert not raised.value.retriable


async def test_timeout_leaves_the_session_alone(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer], connect: Connect
) -> None:
    """PubAck timeout: not stored as far as anyone knows; keep the session. It may be stored."""
    nats, streaming = nats_apart
    connection, _ = await connect(
        nats.url, cluster_id="apart", publish_timeout=1.5, ping_interval=30
    )
    streaming.pause()
    future = connection.publish_nowait("a", b"1")
    with pytest.raises(ns.PublishTimeout) as raised:
        await future
    assert raised.value.retriable
    assert connection.publishes_waiting == 0
    streaming.resume()
    await connection.publish("a", b"2")
    received = Received()
    await connection.subscribe("a", received, ns.SubscriptionOptions(start=ns.StartAt.first()))
    await received.until(2)
    assert [message.data for message in received.messages] == [b"1", b"2"]


async def test_timeouts_of_many_are_in_order_and_at_their_time(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    async with FakeStreaming(memory_server.url, "silent") as fake:
        fake.puback = lambda message: None
        connection, _ = await connect(memory_server.url, cluster_id="silent", publish_timeout=0.2)
        expired: list[int] = []
        begun = time.monotonic()

        def note(number: int, _future: object) -> None:
            expired.append(number)

        for number in range(10):
            future = connection.publish_nowait("a", b"")
            future.add_done_callback(partial(note, number))
            if number == 4:
                await asyncio.sleep(0.1)
        with pytest.raises(ns.PublishTimeout):
            await future
        assert 0.3 <= time.monotonic() - begun < 1
        assert expired == list(range(10))


async def test_nobody_listens(
    nats_apart: tuple[NatsStreamingServer, NatsStreamingServer], connect: Connect
) -> None:
    """A 503 of NATS: told at once instead of after the timeout; keep the session."""
    nats, streaming = nats_apart
    connection, _ = await connect(nats.url, cluster_id="apart", publish_timeout=1.0)
    await connection.publish("a", b"1")
    await streaming.kill()
    assert (await no_responders(connection, "a")).retriable
    await streaming.start()
    await connection.publish("a", b"3")
    assert not connection.lost.done()


async def test_too_large(natss_server: StartServer, connect: Connect) -> None:
    """Message too large: the packed form decides, and NATS never sees it."""
    server = await natss_server(nats="max_payload: 4096")
    connection, watched = await connect(server.url, client_id="c")
    received = Received()
    await connection.subscribe("a", received)
    with pytest.raises(ns.MessageTooLarge) as raised:
        connection.publish_nowait("a", bytes(4096))
    overhead = raised.value.size - 4096
    assert raised.value.limit == connection.max_payload == 4096
    # The largest one comes back: the server's form of it is not larger than ours.
    await connection.publish("a", bytes(4096 - overhead))
    await received.until(1)
    with pytest.raises(ns.MessageTooLarge) as raised:
        await connection.publish("a", bytes(4097 - overhead))
    assert (raised.value.size, raised.value.limit) == (4097, 4096)
    assert not raised.value.retriable
    assert watched.states == [ns.ConnectionState.OPEN]
    assert connection.publishes_waiting == 0


def test_guid_and_connection_id_outweigh_what_the_server_adds() -> None:
    """With fewer than 32 bytes, MsgProto may exceed max_payload, and a subscription hangs."""
    conn_id = ns.session.new_conn_id()
    assert len(conn_id) == 22
    assert GUID_LENGTH + len(conn_id) >= 32


@pytest.mark.parametrize(
    "name", ["", "a..b", ".a", "a.", "a*", ">", "a/b", "a b", "a\n", "a" * 2000]
)
async def test_invalid_channel_name(
    memory_server: NatsStreamingServer, connect: Connect, name: str
) -> None:
    """Invalid channel name: refused here, for good; the server or NATS never see it."""
    connection, watched = await connect(memory_server.url)
    with pytest.raises(ns.InvalidChannelName) as raised:
        connection.publish_nowait(name, b"")
    assert not raised.value.retriable
    with pytest.raises(ns.InvalidChannelName):
        await connection.publish(name, b"")
    with pytest.raises(ns.InvalidChannelName):
        await connection.subscribe(name, Received())
    await connection.publish("fine", b"")
    assert watched.states == [ns.ConnectionState.OPEN]


@pytest.mark.parametrize("name", ["a.b-c_d", "ünïcödé", "$a", "a" * 200, "a\\b", "a:b"])
async def test_valid_channel_name(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str, name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    received = Received()
    channel = f"{unique_name}.{name}"
    await connection.subscribe(channel, received)
    await connection.publish(channel, b"x")
    await received.until(1)
    assert received.messages[0].subject == channel


async def test_count_of_waiting_messages_is_bounded(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url, max_publishes=3)
    futures = [connection.publish_nowait(unique_name, b"") for _ in range(3)]
    with pytest.raises(ns.TooManyPublishes, match="3 messages") as raised:
        connection.publish_nowait(unique_name, b"")
    assert raised.value.retriable
    await asyncio.gather(*futures)
    await connection.publish_nowait(unique_name, b"")
    # What waits for room gets it, however many there are.
    await asyncio.gather(*(connection.publish(unique_name, b"") for _ in range(50)))


async def test_bytes_of_waiting_messages_are_bounded(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url, max_publish_bytes=1000)
    larger_than_bound = connection.publish_nowait(unique_name, bytes(2000))
    with pytest.raises(ns.TooManyPublishes, match="2000 bytes"):
        connection.publish_nowait(unique_name, b"x")
    await larger_than_bound
    futures = [connection.publish_nowait(unique_name, bytes(500)) for _ in range(2)]
    with pytest.raises(ns.TooManyPublishes):
        connection.publish_nowait(unique_name, b"x")
    await asyncio.gather(*futures)
    await asyncio.gather(*(connection.publish(unique_name, bytes(400)) for _ in range(20)))


async def test_who_waits_for_room_may_give_up(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    """A turn that was given to a task which is cancelled goes to the next one."""
    async with FakeStreaming(memory_server.url, "slow") as fake:
        fake.puback = lambda message: None
        connection, _ = await connect(
            memory_server.url, cluster_id="slow", max_publishes=1, publish_timeout=0.3
        )
        first = connection.publish_nowait("a", b"")
        tasks = [asyncio.create_task(connection.publish("a", b"")) for _ in range(3)]
        await asyncio.sleep(0)
        first.add_done_callback(lambda _: tasks[0].cancel())
        with pytest.raises(ns.PublishTimeout):
            await first
        fake.puback = lambda message: pb.PubAck(guid=message.guid)
        await asyncio.gather(*tasks[1:])
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]


async def test_who_waits_for_room_and_gets_an_error_passes_the_turn_on(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url, max_publishes=1)
    first = connection.publish_nowait(unique_name, b"")
    too_large = asyncio.create_task(connection.publish(unique_name, bytes(2**20)))
    fine = asyncio.create_task(connection.publish(unique_name, b""))
    await first
    with pytest.raises(ns.MessageTooLarge):
        await too_large
    await asyncio.wait_for(fine, 5)


@pytest.mark.parametrize(
    ("text", "error", "retriable"),
    [
        ("node is not the leader", ns.PublishRefused, True),
        ("write /data/msgs.1.dat: no space left on device", ns.PublishRefused, True),
        ("stan: channel is being deleted", ns.ChannelBeingDeleted, True),
        ("too many channels", ns.ChannelLimitReached, True),
    ],
)
async def test_error_in_a_puback_is_honoured(
    memory_server: NatsStreamingServer,
    connect: Connect,
    text: str,
    error: type[ns.PublishRefused],
    retriable: bool,
) -> None:
    """A PubAck without error means stored, and one with error does not."""
    async with FakeStreaming(memory_server.url, "refusing") as fake:
        fake.puback = lambda message: pb.PubAck(guid=message.guid, error=text)
        connection, watched = await connect(memory_server.url, cluster_id="refusing")
        with pytest.raises(error) as raised:
            await connection.publish("a", b"")
        assert type(raised.value) is error
        assert raised.value.text == text
        assert raised.value.retriable is retriable
        assert watched.states == [ns.ConnectionState.OPEN]


async def test_late_puback_of_what_was_given_up_is_ignored(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    connection, _ = await connect(memory_server.url)
    given_up = connection.publish_nowait(unique_name, b"1")
    given_up.cancel()
    await connection.publish(unique_name, b"2")
    assert given_up.cancelled()
    assert connection.publishes_waiting == 0


async def test_loop_that_stood_still_reads_before_it_gives_up(
    memory_server: NatsStreamingServer, connect: Connect, unique_name: str
) -> None:
    """After a stall the timers run first, while the answers wait in the socket."""
    connection, _ = await connect(memory_server.url, publish_timeout=0.2)
    future = connection.publish_nowait(unique_name, b"")
    await asyncio.sleep(0)  # it goes out
    time.sleep(0.5)  # noqa: ASYNC251 - the point of this test
    await future


async def test_stored_under_the_clients_name(
    memory_server: NatsStreamingServer, connect: Connect
) -> None:
    """The wire form: client id, guid, channel and connection id are set as the Go client does."""
    async with FakeStreaming(memory_server.url, "looking") as fake:
        connection, _ = await connect(memory_server.url, cluster_id="looking", client_id="me")
        guid = await connection.publish("a.b", b"data")
        message = fake.requests[-1]
        assert message == pb.PubMsg(
            client_id="me",
            guid=guid,
            subject="a.b",
            data=b"data",
            conn_id=connection.session.conn_id.encode(),
        )
