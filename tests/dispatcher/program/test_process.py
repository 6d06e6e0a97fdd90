"""The whole way of an event: the real dispatcher, a real server, real subscribers."""

import asyncio
import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from natss import nats_streaming
from natss.nats_streaming import StartAt, SubscriptionOptions
from tests.conftest import StartServer
from tests.dispatcher.conftest import StartDispatcher, StartSubscriber
from tests.support.channel_files import channel, host, subscription, write_documents
from tests.support.data_plane import connection_options, durables
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.repository import GOLDEN_FOLDER
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import slow, status, when
from tests.support.waiting import eventually

GOLDEN = json.loads((GOLDEN_FOLDER / "go-v0.6.0.json").read_text())
CLIENT_ID = "knative-natss-dispatcher"
NO_WAITS = {"retry": 2, "backoffDelay": "PT0.05S", "ackWait": "PT1S", "timeout": "PT0.9S"}


def ids(first: int, last: int) -> list[str]:
    return [f"e{number}" for number in range(first, last + 1)]


async def test_an_event_goes_from_post_to_subscriber(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    sink = await start_subscriber()
    dispatcher = await start_dispatcher(
        file_server, channel("orders"), subscription("mail", "orders", sink.url + "in?x=1")
    )
    assert await dispatcher.post("orders", "e1", b'{"a": 1}') == 202
    await sink.wait_for_events(1)
    received = sink.received[0]
    assert received.body == b'{"a": 1}'
    assert received.headers["ce-type"] == "test"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["ce-knativehistory"] == host("orders")


async def test_a_reply_goes_to_its_channel(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    """The reply is an event of the other channel, posted back to this dispatcher by its host."""

    async def answer(_: Any) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=b"pong", headers={"Ce-Id": "reply-1", "Ce-Type": "pong"})

    ponger, listener = await start_subscriber(answer), await start_subscriber()
    pongs = channel("pongs")
    pongs["status"] = {"address": {"hostname": "localhost"}}
    listening = subscription("listener", "pongs", listener.url)
    dispatcher = await start_dispatcher(
        file_server, channel("pings"), subscription("ponger", "pings", ponger.url), pongs, listening
    )
    pings = channel("pings")
    subscriber = {
        "ref": {"namespace": "default", "name": "ponger"},
        "subscriberURI": ponger.url,
        "replyURI": f"http://localhost:{dispatcher.port}/",
    }
    pings["spec"]["subscribable"] = {"subscribers": [subscriber]}
    dispatcher.rewrite(pings, pongs, listening)
    await dispatcher.wait_for_log("subscription changed")
    assert await dispatcher.post("pings", "ping-1") == 202
    await listener.wait_for_events(1)
    assert listener.received[0].body == b"pong"
    assert listener.received[0].headers["ce-id"] == "reply-1"


@pytest.mark.parametrize("victim", ["dispatcher", "server"])
async def test_nothing_answered_202_is_lost_when_a_process_dies(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
    victim: str,
) -> None:
    quick, slower = await start_subscriber(), await start_subscriber(slow(0.02))
    dispatcher = await start_dispatcher(
        file_server,
        channel("orders", NO_WAITS),
        subscription("quick", "orders", quick.url),
        subscription("slow", "orders", slower.url),
    )
    answered: list[str] = []
    stop = asyncio.Event()

    async def publish(publisher: int) -> None:
        number = 0
        while not stop.is_set():
            event_id = f"p{publisher}-{number}"
            if await dispatcher.post("orders", event_id) == 202:
                answered.append(event_id)
                number += 1
            else:
                await asyncio.sleep(0.02)

    publishers = [asyncio.create_task(publish(number)) for number in range(4)]
    await quick.wait_for_events(200)
    if victim == "dispatcher":
        await dispatcher.kill()
        await dispatcher.start()
    else:
        await file_server.kill()
        await file_server.start()
    await quick.wait_for_events(len(quick.counts) + 200)
    stop.set()
    await asyncio.gather(*publishers)
    for sink in (quick, slower):
        await sink.wait_until(lambda sink=sink: set(answered) <= set(sink.counts))  # type: ignore[misc]  # mypy knows no default in a lambda


async def test_sigterm_finishes_what_has_begun_and_never_unsubscribes(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    released = asyncio.Event()
    sink = await start_subscriber(when(released))
    dispatcher = await start_dispatcher(
        file_server, channel("orders"), subscription("mail", "orders", sink.url, uid="u1")
    )
    await dispatcher.post_many("orders", ids(1, 10))
    await sink.wait_until(lambda: sink.in_flight == 10)
    stopping = asyncio.create_task(dispatcher.stop())
    await dispatcher.wait_for_log("stopping")
    released.set()
    assert await stopping == 0
    assert len(sink.counts) == 10
    entry = (await durables(file_server, "orders.default"))["u1"]
    assert entry["is_offline"]
    assert entry["pending_count"] == 0, "what was delivered while stopping is acknowledged"


async def test_while_nats_streaming_is_away_publishers_are_told_at_once(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    sink = await start_subscriber()
    dispatcher = await start_dispatcher(
        file_server, channel("orders"), subscription("mail", "orders", sink.url)
    )
    await file_server.stop()
    headers = {"Host": host("orders"), "Ce-Id": "e1"}
    async with asyncio.timeout(10):
        async with dispatcher.http.post(dispatcher.url, headers=headers) as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert "NATS Streaming" in await response.text()
    assert (await dispatcher.admin("/healthz"))[0] == 200
    code, text = await dispatcher.admin("/readyz")
    assert code == 200, "a passing outage is no reason to leave"
    assert "publishers are answered 503: " in text
    assert "no event is delivered: " in text
    assert "no event is delivered: " in (await dispatcher.admin("/"))[1]
    await file_server.start()

    async def is_back() -> bool:
        return await dispatcher.post("orders", "e2") == 202

    await eventually(is_back)
    await sink.wait_for_events(1)


async def test_it_starts_without_nats_streaming_and_says_so(
    file_server: NatsStreamingServer, tmp_path: Path
) -> None:
    await file_server.stop()
    path = write_documents(tmp_path / "channels.yaml", channel("orders"))
    dispatcher = ObservedDispatcher(file_server, path)
    try:
        await dispatcher.start(until="/healthz")
        code, text = await dispatcher.admin("/readyz")
        assert code == 503
        assert "NATS Streaming" in text
        assert (await dispatcher.admin("/healthz"))[0] == 200
        assert await dispatcher.post("orders", "e1") == 503
        await file_server.start()
        await dispatcher.wait_for_log("ready")
        assert (await dispatcher.admin("/readyz"))[0] == 200
        assert await dispatcher.post("orders", "e1") == 202
    finally:
        await dispatcher.close_http()
        await dispatcher.kill()


async def test_a_backlog_of_the_go_dispatcher_is_delivered(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    """Its durable, under its client id, with what it had stored when it was stopped."""
    subject = "bench.default"
    go = await nats_streaming.connect(connection_options(file_server, CLIENT_ID))
    options = SubscriptionOptions(
        durable="uid-of-v06", start=StartAt.new_only(), max_inflight=1024, ack_wait=60
    )
    await go.subscribe(subject, lambda _: None, options)
    await go.publish(subject, b'{"headers":{"Ce-Id":"done"},"payload":"eA=="}')
    await go.close()
    publisher = await nats_streaming.connect(connection_options(file_server, "any-publisher"))
    for case in GOLDEN:
        await publisher.publish(subject, case["stored"]["data"].encode())
    await publisher.close()

    sink = await start_subscriber()
    await start_dispatcher(
        file_server, channel("bench"), subscription("mail", "bench", sink.url, uid="uid-of-v06")
    )
    await sink.wait_until(lambda: len(sink.received) == len(GOLDEN))
    ours = {"host", "user-agent", "accept-encoding", "content-length"}
    for case, received in zip(GOLDEN, sink.received, strict=True):
        wanted = {n.lower(): v for n, v in case["delivered"]["headers"] if n.lower() not in ours}
        got = {n.lower(): v for n, v in received.headers.items() if n.lower() not in ours}
        assert got == wanted, case["name"]
        assert received.body == base64.b64decode(case["delivered"]["body_base64"])


async def test_what_go_would_read_is_what_is_stored(
    file_server: NatsStreamingServer, start_dispatcher: StartDispatcher
) -> None:
    bench = channel("bench")
    bench["status"] = {"address": {"hostname": "bench.test"}}
    dispatcher = await start_dispatcher(file_server, bench)
    case = next(case for case in GOLDEN if case["name"] == "kyma-1.0")
    headers = [("Host", "bench.test"), *map(tuple, case["request"]["headers"])]
    body = base64.b64decode(case["request"]["body_base64"])
    async with dispatcher.http.post(dispatcher.url, data=body, headers=headers) as response:
        assert response.status == case["status"]
    reader = await nats_streaming.connect(connection_options(file_server, "reader"))
    stored: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    await reader.subscribe(
        case["stored"]["subject"],
        lambda message: stored.set_result(message.data),
        SubscriptionOptions(start=StartAt.first()),
    )
    assert json.loads(await stored) == json.loads(case["stored"]["data"])
    assert (await stored).decode() == case["stored"]["data"]
    await reader.close()


async def test_channels_change_while_it_runs_and_a_broken_file_changes_nothing(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    first, second = await start_subscriber(), await start_subscriber()
    dispatcher = await start_dispatcher(
        file_server, channel("orders"), subscription("a", "orders", first.url)
    )
    dispatcher.rewrite(
        channel("orders"),
        subscription("a", "orders", first.url),
        subscription("b", "orders", second.url),
    )
    await dispatcher.wait_for_log("channels applied", where="'subscriptions': 2")
    assert await dispatcher.post("orders", "e1") == 202
    await second.wait_for_events(1)
    dispatcher.channels.write_text("kind: Channel\n  broken: [yaml\n")
    entry = await dispatcher.wait_for_log("problem", where="line")
    assert re.search(r"line \d+", str(entry))
    assert await dispatcher.post("orders", "e2") == 202
    await second.wait_for_events(2)
    assert (await dispatcher.status())["problems"]


async def test_an_unknown_channel_is_404_and_a_removed_one_becomes_unknown(
    file_server: NatsStreamingServer, start_dispatcher: StartDispatcher
) -> None:
    dispatcher = await start_dispatcher(file_server, channel("orders"), channel("bills"))
    assert await dispatcher.post("nobody", "e1") == 404
    assert await dispatcher.post("bills", "e1") == 202
    dispatcher.rewrite(channel("orders"))

    async def is_gone() -> bool:
        return await dispatcher.post("bills", "e2") == 404

    await eventually(is_gone)
    assert await dispatcher.post("orders", "e1") == 202


async def test_an_event_of_2_mb_is_413_and_says_which_limit_that_is(
    memory_server: NatsStreamingServer, start_dispatcher: StartDispatcher
) -> None:
    dispatcher = await start_dispatcher(memory_server, channel("orders"))
    headers = {"Host": host("orders")}
    async with (
        aiohttp.ClientSession() as session,
        session.post(dispatcher.url, data=io.BytesIO(bytes(2_000_000)), headers=headers) as answer,
    ):
        assert answer.status == 413
        told = await answer.text()
    assert "max_payload" in told
    assert "1048576" in told
    assert await dispatcher.post("orders", "e1") == 202


async def test_a_subscriber_that_is_down_gets_everything_when_it_is_back(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    down, neighbour = await start_subscriber(), await start_subscriber()
    dispatcher = await start_dispatcher(
        file_server,
        channel("orders", {**NO_WAITS, "ackWait": "PT3S", "timeout": "PT2.9S"}),
        subscription("down", "orders", down.url),
        subscription("neighbour", "orders", neighbour.url),
    )
    await down.stop()
    await dispatcher.post_many("orders", ids(1, 100))
    await neighbour.wait_for_events(100)
    found = await dispatcher.subscription("default/down")
    assert found["state"] == "failing"
    assert "refused" in found["lastError"]
    await asyncio.sleep(9.0)  # three times the ack wait: an absence, not a wait for something
    await down.start()
    await down.wait_for_events(100)
    assert neighbour.duplicates == 0


async def test_dead_letters_come_with_the_reason(
    file_server: NatsStreamingServer,
    start_dispatcher: StartDispatcher,
    start_subscriber: StartSubscriber,
) -> None:
    refusing, dead_letters = await start_subscriber(status(422)), await start_subscriber()
    dispatcher = await start_dispatcher(
        file_server,
        channel("orders", {"deadLetterURI": dead_letters.url}),
        subscription("mail", "orders", refusing.url),
    )
    await dispatcher.post_many("orders", ids(1, 3))
    await dead_letters.wait_for_events(3)
    headers = dead_letters.received[0].headers
    assert headers["ce-knativeerrorcode"] == "422"
    assert headers["ce-knativeerrordest"] == refusing.url
    assert headers["ce-type"] == "test"


async def test_a_password_is_never_shown(
    natss_server: StartServer, start_dispatcher: StartDispatcher
) -> None:
    server = await natss_server(nats='authorization { user: "eb", password: "s3cret" }')
    url = f"nats://eb:s3cret@127.0.0.1:{server.port}"
    dispatcher = await start_dispatcher(server, channel("orders"), flags=("--natss-url", url))
    assert await dispatcher.post("orders", "e1") == 202
    shown = [dispatcher.log.read_text()]
    shown += [(await dispatcher.admin(path))[1] for path in ("/status", "/metrics", "/", "/readyz")]
    assert not [text for text in shown if "s3cret" in text]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (None, "cannot be read: no such file or directory"),
        ("kind: Channel\n  broken: [yaml\n", "line 2"),
        ("", "is empty"),
        ("folder", "has no files that end in .yaml"),
    ],
)
async def test_channels_that_were_never_readable_are_a_reason_not_to_be_ready(
    file_server: NatsStreamingServer, tmp_path: Path, written: str | None, words: str
) -> None:
    """A mistyped path would else be a dispatcher that is ready, and knows no channel."""
    path = tmp_path / "wanted"
    if written == "folder":
        path.mkdir()
    elif written is not None:
        path.write_text(written)
    dispatcher = ObservedDispatcher(file_server, path)
    try:
        await dispatcher.start(until="/healthz")
        await dispatcher.wait_for_log("ready")
        code, text = await dispatcher.admin("/readyz")
        assert code == 503
        assert str(path) in text
        assert words in text
        if written == "folder":
            write_documents(path / "channels.yaml", channel("orders"))
        else:
            write_documents(path, channel("orders"))

        async def is_ready() -> bool:
            return (await dispatcher.admin("/readyz"))[0] == 200

        await eventually(is_ready)
        assert await dispatcher.post("orders", "e1") == 202
        if written is None:
            path.unlink()
            await dispatcher.wait_for_log("problem in the channels", where="still holds")
            assert await is_ready(), "what was read once holds"
    finally:
        await dispatcher.close_http()
        await dispatcher.kill()
