"""A run from its start to its judgement: load, faults, the remaining deliveries, the store."""

import asyncio
import json
import random
import time
from collections.abc import Iterable
from urllib.error import HTTPError

from natss import nats_streaming
from natss.nats_streaming import ConnectionOptions, NatsOptions, StartAt, SubscriptionOptions
from tests.faults import system
from tests.faults.happenings import Happenings
from tests.faults.history import History, Stored
from tests.faults.load import Load
from tests.faults.nemesis import Nemesis
from tests.faults.strikes import Strike
from tests.faults.system import CHANNELS, POSTED, Setup, System
from tests.support.servers import NatsStreamingServer

_CALM = 1.0
"""Seconds without a fault before the first, and after recovery from each."""

_READING_SECONDS = 60.0


async def play(setup: Setup, strikes: Iterable[Strike]) -> Happenings:
    """Strike, and give everything time to arrive; return what happened, for the checker."""
    chance = random.Random(setup.seed)
    with History(setup.folder / "history.jsonl") as history:
        async with system.running(setup, history, chance) as running:
            load = Load(history, lambda: POSTED, running.urls, setup.pace, chance)
            nemesis = Nemesis(running, history, setup.seed)
            await load.start()
            try:
                await asyncio.sleep(_CALM)
                for faults in strikes:
                    await nemesis.strike(*faults)
                    await nemesis.recover()
                    await asyncio.sleep(_CALM)
            finally:
                await load.stop()
            await nemesis.settle()
            await _note_stored(running)
        return Happenings.of(history.entries)


async def _note_stored(running: System) -> None:
    """Read every channel from its beginning, past the dispatchers and the proxy."""
    options = ConnectionOptions(
        cluster_id=running.server.cluster_id,
        client_id="reader",
        nats=NatsOptions(servers=(running.server.url,)),
    )
    async with await nats_streaming.connect(options) as connection:
        for channel in CHANNELS:
            for event in await _read_channel(running.server, connection, f"{channel}.default"):
                running.history.add(Stored(at=time.monotonic(), event=event, channel=channel))


async def _read_channel(
    server: NatsStreamingServer, connection: nats_streaming.Connection, subject: str
) -> list[str]:
    """Return the ids of the events that are stored under a subject."""
    found: list[str] = []
    try:
        last = int((await server.channelsz(subject))["last_seq"])
    except HTTPError:  # nothing was ever posted to it
        return found
    is_complete = asyncio.Event()

    def receive(message: nats_streaming.Message) -> None:
        found.append(json.loads(message.data)["headers"]["Ce-Id"])
        if message.sequence >= last:
            is_complete.set()

    options = SubscriptionOptions(start=StartAt.first(), max_inflight=1024)
    subscription = await connection.subscribe(subject, receive, options)
    if last:
        async with asyncio.timeout(_READING_SECONDS):
            await is_complete.wait()
    await subscription.close()
    return found
