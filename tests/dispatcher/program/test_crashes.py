"""kill -9 in each phase of an event's way: what was answered with 202 arrives all the same.

Where the moment cannot be hit from outside it is held open: by a proxy, by a subscriber that waits.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.channel_files import channel, subscription, write_documents
from tests.support.data_plane import durables
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Received, Subscriber, status, when
from tests.support.waiting import eventually

ARGUMENTS = {"ackWait": "PT2S", "timeout": "PT1.5S", "retry": 1, "backoffDelay": "PT0.05S"}
SUBJECT = "orders.default"


@pytest.fixture
async def dispatcher(
    file_server: NatsStreamingServer, nats: Proxy, sink: Subscriber, tmp_path: Path
) -> AsyncIterator[ObservedDispatcher]:
    """Yield a dispatcher that has delivered and acknowledged the event ``before``."""
    path = write_documents(
        tmp_path / "channels.yaml",
        channel("orders", ARGUMENTS),
        subscription("mail", "orders", sink.url, uid="u1"),
    )
    state = tmp_path / "state"
    flags = (f"--natss-url={nats.url}", f"--state-dir={state}")
    process = ObservedDispatcher(file_server, path, flags)
    await process.start()
    await process.post_many("orders", ["before"])
    await sink.wait_for_events(1)
    await eventually(lambda: nothing_is_pending(file_server))
    await eventually(lambda: is_recorded_open(state))  # else all since it is wanted comes again
    yield process
    await process.close_http()
    await process.kill()


async def is_recorded_open(state: Path) -> bool:
    file = state / "durables.json"
    return file.exists() and [each["since"] for each in json.loads(file.read_text())] == [None]


async def nothing_is_pending(server: NatsStreamingServer) -> bool:
    entry = (await durables(server, SUBJECT)).get("u1", {})
    last = (await server.channelsz(SUBJECT))["last_seq"]
    return bool(entry and entry["pending_count"] == 0 and entry["last_sent"] == last)


async def stored(server: NatsStreamingServer, count: int) -> None:
    """Wait until so many events are in the store."""

    async def are_stored() -> bool:
        return bool((await server.channelsz(SUBJECT))["last_seq"] >= count)

    await eventually(are_stored)


async def goes_on(
    dispatcher: ObservedDispatcher, server: NatsStreamingServer, sink: Subscriber, *owed: str
) -> None:
    """Check that the next process delivers all that is owed or new, and acknowledges it."""
    await dispatcher.post_many("orders", ["after"])
    await sink.wait_until(lambda: {"before", "after", *owed} <= set(sink.counts))
    await eventually(lambda: nothing_is_pending(server))
    assert sink.counts["before"] == sink.counts["after"] == 1


async def test_before_the_puback(
    dispatcher: ObservedDispatcher,
    nats: Proxy,
    file_server: NatsStreamingServer,
    sink: Subscriber,
) -> None:
    """It is stored, and nobody knows: its publisher has no answer, and posts it again."""
    nats.drop_to_client()
    post = asyncio.create_task(dispatcher.post("orders", "e1"))
    await stored(file_server, 2)
    await dispatcher.kill()
    assert await post == 0
    nats.release()
    await dispatcher.start()
    await goes_on(dispatcher, file_server, sink, "e1")


async def test_before_it_is_stored(
    dispatcher: ObservedDispatcher,
    nats: Proxy,
    file_server: NatsStreamingServer,
    sink: Subscriber,
) -> None:
    nats.drop_to_server()
    post = asyncio.create_task(dispatcher.post("orders", "e1"))
    done, _ = await asyncio.wait([post], timeout=0.5)
    assert not done, "there is no 202 for what is not stored"
    await dispatcher.kill()
    assert await post == 0
    nats.release()
    await dispatcher.start()
    await goes_on(dispatcher, file_server, sink)
    assert "e1" not in sink.counts


async def test_between_the_puback_and_the_202(
    dispatcher: ObservedDispatcher,
    nats: Proxy,
    file_server: NatsStreamingServer,
    sink: Subscriber,
) -> None:
    """The PubAck has reached the machine, and the process never reads it."""
    nats.delay(0.5)
    post = asyncio.create_task(dispatcher.post("orders", "e1"))
    await stored(file_server, 2)
    dispatcher.pause()
    await asyncio.sleep(1.0)  # until the PubAck is there, which nobody can see
    await dispatcher.kill()
    assert await post == 0
    nats.release()
    await dispatcher.start()
    await goes_on(dispatcher, file_server, sink, "e1")


async def test_before_the_202_has_reached_its_publisher(
    dispatcher: ObservedDispatcher, file_server: NatsStreamingServer, sink: Subscriber
) -> None:
    port = dispatcher.port
    async with Proxy(port) as publishers:
        publishers.drop_to_client()
        dispatcher.port = publishers.port
        post = asyncio.create_task(dispatcher.post("orders", "e1"))
        await sink.wait_for_events(2)
        dispatcher.port = port
        await dispatcher.kill()
        assert await post == 0
    await dispatcher.start()
    await goes_on(dispatcher, file_server, sink, "e1")


async def test_in_the_middle_of_deliveries(
    dispatcher: ObservedDispatcher, file_server: NatsStreamingServer, sink: Subscriber
) -> None:
    """Some are at the subscriber, others wait for their turn or for a retry."""
    released = asyncio.Event()
    answer_when_released = when(released)

    async def answer(received: Received) -> web.Response:
        failing = received.id.endswith("7") and not released.is_set()
        return await (status(503) if failing else answer_when_released)(received)

    sink.answer = answer
    ids = [f"e{number}" for number in range(150)]
    await dispatcher.post_many("orders", ids)
    await sink.wait_until(lambda: sink.in_flight >= 50)
    await dispatcher.kill()
    released.set()
    await dispatcher.start()
    await goes_on(dispatcher, file_server, sink, *ids)


async def test_between_the_outcome_and_its_ack(
    dispatcher: ObservedDispatcher,
    nats: Proxy,
    file_server: NatsStreamingServer,
    sink: Subscriber,
) -> None:
    """The subscriber has answered, and NATS Streaming does not hear of it: it comes once more."""
    released = asyncio.Event()
    sink.answer = when(released)
    ids = [f"e{number}" for number in range(10)]
    await dispatcher.post_many("orders", ids)
    await sink.wait_until(lambda: sink.in_flight == 10)
    nats.drop_to_server()
    released.set()
    await sink.wait_for_events(11)

    async def are_settled() -> bool:
        return bool((await dispatcher.subscription("default/mail"))["settled"] == 11)

    await eventually(are_settled)
    entry = (await durables(file_server, SUBJECT))["u1"]
    assert entry["pending_count"] == 10
    await dispatcher.kill()
    nats.release()
    await dispatcher.start()
    await goes_on(dispatcher, file_server, sink, *ids)
    assert {sink.counts[each] for each in ids} == {2}


async def test_while_nats_streaming_is_down(
    dispatcher: ObservedDispatcher, file_server: NatsStreamingServer, sink: Subscriber
) -> None:
    await sink.stop()
    ids = [f"e{number}" for number in range(20)]
    await dispatcher.post_many("orders", ids)
    await file_server.kill()

    async def is_refused() -> bool:
        return await dispatcher.post("orders", "refused") == 503

    await eventually(is_refused)
    await dispatcher.kill()
    await dispatcher.start(until="/healthz")
    assert await dispatcher.post("orders", "refused") == 503
    await dispatcher.kill()
    await sink.start()
    await file_server.start()
    await dispatcher.start()
    await goes_on(dispatcher, file_server, sink, *ids)


async def test_again_and_again_at_any_moment(
    dispatcher: ObservedDispatcher, file_server: NatsStreamingServer, sink: Subscriber
) -> None:
    """Under load, at other moments each time."""
    taken: list[str] = []
    stop = asyncio.Event()

    async def publish(name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            if await dispatcher.post("orders", f"{name}-{number}") == 202:
                taken.append(f"{name}-{number}")
            await asyncio.sleep(0.01)

    publishers = [asyncio.create_task(publish(f"p{number}")) for number in range(3)]
    for pause in (0.0, 0.05, 0.2, 0.6):
        before = len(taken)
        await sink.wait_until(lambda before=before: len(taken) > before)  # type: ignore[misc]  # mypy knows no default in a lambda
        await asyncio.sleep(pause)
        await dispatcher.kill()
        await dispatcher.start()
    stop.set()
    await asyncio.gather(*publishers)
    assert taken
    await goes_on(dispatcher, file_server, sink, *taken)
