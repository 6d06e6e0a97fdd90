"""``make turns``: how long the dispatcher keeps its event loop from others, at the most.

It runs as in a cluster, on uvloop, with a real NATS Streaming server and with an API that is kept
in the process. What is measured is the longest turn of the loop while channels are taken on,
edited, removed and reported; other processes take from the time, but not from the CPU time. The
status is 1 if a turn took more CPU time than ``BOUND``, with as many subscribers as are served.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.cluster.orphans import Orphans
from dispatcher.cluster.source import KubernetesSource
from dispatcher.durables.ledger import Ledger
from dispatcher.main import Dispatcher
from dispatcher.reporting.reports import Cluster
from dispatcher.runtime import collector
from dispatcher.runtime.state_folder import StateFolder
from dispatcher.settings.settings import DispatcherSettings
from natss.contract.places import MOST_TOLD
from natss.process import logs
from tests.support.channel_store import ChannelStore
from tests.support.long_run import tell
from tests.support.loop_turns import LoopTurns
from tests.support.servers import NatsStreamingServer, free_port
from tests.support.waiting import eventually

NAMESPACE = "shop"

BOUND = 0.05
"""Seconds; NATS Streaming gives up a client that is silent for ten times as long."""

MOST = DispatcherSettings().delivery.max_subscribers


@dataclass(frozen=True, slots=True)
class Size:
    """How many channels there are, with how many subscribers each."""

    channels: int
    subscribers: int

    def __str__(self) -> str:
        return f"{self.channels:,} x {self.subscribers:,}"


SIZES = [Size(1000, 3), Size(1, MOST), Size(1, 25 * MOST)]


def channel(name: str, subscribers: int) -> dict[str, Any]:
    """Return a Channel as Knative writes it."""
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "provisioner": {"name": "natss"},
            "subscribable": {"subscribers": [entry(name, i) for i in range(subscribers)]},
        },
    }


def entry(channel_name: str, number: int) -> dict[str, Any]:
    if number >= MOST:  # as short as possible: the API accepts 1.5 MB
        return {"uid": f"{number}", "subscriberURI": "http://a/"}
    uid = f"6f6b6c2e-0000-0000-0000-{number:012d}"
    return {
        "uid": uid,
        "ref": {"name": f"{channel_name}-{number}", "namespace": NAMESPACE, "uid": uid},
        "subscriberURI": f"http://127.0.0.1:9/{number}",
    }


class Measured:
    """A dispatcher in this process with as many channels as its size says."""

    def __init__(self, server: NatsStreamingServer, size: Size, folder: Path) -> None:
        self.size = size
        self.served = min(size.subscribers, MOST)
        self.store = ChannelStore()
        for number in range(size.channels):
            self.store.put(channel(f"c-{number}", size.subscribers))
        self.admin = free_port()
        settings = DispatcherSettings.load(
            [
                "--kubernetes=on",
                f"--natss-url={server.url}",
                f"--cluster-id={server.cluster_id}",
                f"--client-id=turns-{size.channels}-{size.subscribers}",
                f"--listen=127.0.0.1:{free_port()}",
                f"--admin-listen=127.0.0.1:{self.admin}",
            ],
            {},
        )
        self._records = Ledger(StateFolder(None), settings.delivery.removal_grace)
        self.table = ChannelTable(settings.defaults)
        orphans = Orphans(self.store, "knative-eventing", self._records, settings.defaults)
        source = KubernetesSource(
            self.store, self.table, StateFolder(folder), self._records, orphans
        )
        cluster = Cluster(self.store, self.table, "natss-dispatcher")
        self.dispatcher = Dispatcher(settings, source, self._records, cluster)
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run it until every durable is open and every subscriber has an entry in ``status``."""
        self._running = asyncio.create_task(self.dispatcher.run(self._stop), name="dispatcher")
        await eventually(self._are_open, 120)
        await eventually(self._are_reported, 120)

    async def stop(self) -> None:
        self._stop.set()
        if self._running is not None:
            await self._running

    async def get(self, path: str) -> None:
        """GET a path in a process of its own."""
        url = f"http://127.0.0.1:{self.admin}{path}"
        process = await asyncio.create_subprocess_exec(
            "curl", "--silent", "--fail", "--compressed", "--output", "/dev/null", url
        )
        if await process.wait() != 0:
            raise RuntimeError(f"no answer to {path}")

    async def edit(self) -> None:
        """Change one subscriber of a channel, remove one, and wait for the effects."""
        document = self.store.get_channel(NAMESPACE, "c-0")
        subscribers = document["spec"]["subscribable"]["subscribers"]
        subscribers[0]["subscriberURI"] += "x"
        subscribers.pop()
        self.store.put(document)
        await asyncio.sleep(3)

    async def remove(self) -> None:
        """Delete a channel, and wait until its finalizer is removed."""
        document = self.store.get_channel(NAMESPACE, "c-0")
        document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.store.put(document)

        async def is_gone() -> bool:
            return len(self.table) == self.size.channels - 1

        await eventually(is_gone, 60)

    async def _are_open(self) -> bool:
        opened = sum(record.since is None for record in self._records)
        return opened >= self.size.channels * self.served

    async def _are_reported(self) -> bool:
        told = self.served + min(self.size.subscribers - self.served, MOST_TOLD)
        return all(len(entry.reported_subscribers) == told for entry in self.table)


async def measure(server: NatsStreamingServer, size: Size) -> float:
    """Measure one size; return the CPU seconds of the longest turn."""
    longest = 0.0

    async def during(name: str, work: Callable[[], Awaitable[object]]) -> None:
        nonlocal longest
        async with LoopTurns() as turns:
            await work()
        longest = max(longest, turns.longest_cpu)
        figures = f"{turns.longest_cpu * 1000:6.1f} ms CPU, {turns.longest * 1000:6.1f} ms"
        tell(f"{size!s:>12}  {name:15} longest turn {figures}; in all {turns.cpu:5.2f} s CPU")

    with tempfile.TemporaryDirectory() as folder:
        measured = Measured(server, size, Path(folder))
        await during("start", measured.start)
        try:
            await during("rest", partial(asyncio.sleep, 3))
            for path in ("/status", "/status?pretty", "/", "/metrics"):
                await during(path, partial(measured.get, path))
            await during("edit", measured.edit)
            await during("remove", measured.remove)
        finally:
            await during("stop", measured.stop)
    return longest


async def main(sizes: list[Size]) -> bool:
    """Measure all; return whether no turn was too long."""
    with tempfile.TemporaryDirectory() as folder:
        unlimited = "store_limits { max_subs: 0, max_channels: 0 }"
        server = NatsStreamingServer(Path(folder), streaming=unlimited)
        await server.start()
        try:
            longest = [(size, await measure(server, size)) for size in sizes]
        finally:
            await server.stop()
    return all(seconds <= BOUND for size, seconds in longest if size.subscribers <= MOST)


def _size(text: str) -> Size:
    channels, _, subscribers = text.partition("x")
    return Size(int(channels), int(subscribers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make turns", description=__doc__)
    parser.add_argument(
        "sizes", nargs="*", type=_size, default=SIZES, metavar="CHANNELSxSUBSCRIBERS"
    )
    sizes = parser.parse_args().sizes
    logs.configure(logs.LogSettings(level=logs.LogLevel.ERROR), quiet=())
    collector.before_loading()
    sys.exit(0 if uvloop.run(main(sizes)) else 1)
