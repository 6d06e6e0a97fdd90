"""The system under test: a server, dispatchers, subscribers, and the desired state.

All of it runs on 127.0.0.1; between the dispatchers and the server is a proxy that can break the
connection. All faults act through this module.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import altered_dispatcher
from tests.faults.history import Notes, Removed, Subscribed, Unwanted, Wanted
from tests.faults.load import Pace
from tests.faults.subscribers import Endpoint, Nature
from tests.support.channel_files import channel, subscription, write_documents
from tests.support.dispatcher_process import DispatcherProcess
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.shifted_server import CLOCK, ShiftedServer, set_shift

ACK_WAIT = 5
GRACE = 20.0
"""Seconds within which a removed subscription may come back and find its position."""

POLICY = {
    "ackWait": f"PT{ACK_WAIT}S",
    "timeout": "PT3S",
    "retry": 3,
    "backoffDelay": "PT0.1S",
    "maxInflight": 32,
}
HEARTBEATS = 'hb_interval: "1s"\n hb_timeout: "1s"\n hb_fail_count: 2'
"""A client that is silent for about four seconds has lost its session."""

_APPLIED_SECONDS = 60.0

CHANNELS: Mapping[str, Mapping[str, object]] = {
    "orders": POLICY,
    "bills": POLICY,
    "trips": {**POLICY, "order": "channel"},
    "visits": POLICY,
}
POSTED = ("visits", *16 * ("orders", "bills", "trips"))
"""The channels to post to, in turn: to one of them so seldom that a subscriber is created anew
before its first event.
"""

SUBSCRIBERS = (
    ("orders-quick", "orders", Nature.QUICK),
    ("orders-slow", "orders", Nature.SLOW),
    ("orders-flaky", "orders", Nature.FLAKY),
    ("bills-quick", "bills", Nature.QUICK),
    ("bills-flaky", "bills", Nature.FLAKY),
    ("trips-quick", "trips", Nature.QUICK),
    ("trips-flaky", "trips", Nature.FLAKY),
)


class NotApplied(Exception):
    """The dispatchers have not applied what is wanted; the text has what they say."""


@dataclass
class Subscription:
    """A subscription as it is wanted now."""

    name: str
    channel: str
    endpoint: Endpoint
    uid: str | None = None

    @property
    def address(self) -> str:
        return self.endpoint.address(self.name)

    @property
    def url(self) -> str:
        return self.endpoint.url(self.name)

    @property
    def durable(self) -> str:
        """Its name in NATS Streaming."""
        return self.uid or f"{self.name}.default"

    @property
    def document(self) -> dict[str, Any]:
        return subscription(self.name, self.channel, self.url, self.uid)


class Dispatcher(DispatcherProcess):
    """Keeps its log and its state over restarts, in files with its number."""

    def __init__(
        self, setup: "Setup", number: int, channels: Path, natss_url: str, cluster_id: str
    ) -> None:
        self._setup = setup
        if setup.program is not None:
            self.module = setup.program
        elif setup.clocks or setup.alteration is not None:
            self.module = altered_dispatcher.__name__
        super().__init__(
            channels,
            natss_url,
            cluster_id,
            setup.folder / f"dispatcher-{number}.log",
            flags=(
                "--log-format=json",
                "--answer-timeout=5s",
                f"--removal-grace={GRACE:g}s",
                f"--state-dir={setup.folder / f'state-{number}'}",
            ),
        )

    @property
    def environ(self) -> Mapping[str, str]:
        changed = {}
        if self._setup.clocks:
            changed[CLOCK] = str(self._setup.clock)
        if self._setup.alteration is not None:
            changed[altered_dispatcher.ALTERATION] = self._setup.alteration
        return {**os.environ, **changed}


class System:
    """Made by ``running``.

    Attributes:
        channels: The channels by name, with their arguments; ``write`` makes changes desired state.
        subscriptions: The wanted subscriptions, by name.
    """

    def __init__(
        self,
        setup: "Setup",
        history: Notes,
        server: NatsStreamingServer,
        proxy: Proxy,
        chance: random.Random,
    ) -> None:
        self.setup = setup
        self.history = history
        self.server = server
        self.proxy = proxy
        self.dispatchers: list[Dispatcher] = []
        self.endpoints: dict[str, Endpoint] = {}
        self.channels = dict(setup.channels)
        self.subscriptions: dict[str, Subscription] = {}
        self._file = setup.folder / "channels.yaml"
        self._made = 0
        self._chance = chance

    async def close(self) -> None:
        """End dispatchers and subscribers."""
        for dispatcher in self.dispatchers:
            await dispatcher.kill()
        for endpoint in self.endpoints.values():
            await endpoint.stop()

    def urls(self) -> list[str]:
        """Return the URLs for events, whether a dispatcher listens there or not."""
        return [dispatcher.url for dispatcher in self.dispatchers]

    def add_dispatcher(self) -> "Dispatcher":
        """Add a dispatcher, which is not started yet; it has the client id of the others."""
        url = self.proxy.url if self.setup.is_proxied else self.server.url
        dispatcher = Dispatcher(self.setup, self._made, self._file, url, self.server.cluster_id)
        self._made += 1
        self.dispatchers.append(dispatcher)
        return dispatcher

    async def delivering(self) -> "Dispatcher | None":
        """Return the dispatcher that reports to have the client id; None if none does."""
        for dispatcher in tuple(self.dispatchers):
            with contextlib.suppress(OSError, ValueError):
                if (await dispatcher.status())["connections"]["deliver"] == "open":
                    return dispatcher
        return None

    def changeable_channels(self) -> list[str]:
        """Return the channels that changes of the desired state may touch."""
        return [name for name in self.channels if name not in self.setup.steady]

    def changeable_subscriptions(self) -> list[Subscription]:
        """Return the subscriptions of such channels."""
        return [
            each for each in self.subscriptions.values() if each.channel not in self.setup.steady
        ]

    async def endpoint(self, name: str, nature: Nature = Nature.QUICK) -> Endpoint:
        """Add a subscriber, which listens."""
        endpoint = Endpoint(name, nature, self.history, self._chance)
        await endpoint.start()
        self.endpoints[name] = endpoint
        return endpoint

    def shift_server(self, seconds: float) -> None:
        """Set the server's clock so many seconds ahead; only with ``Setup.clocks``."""
        if not isinstance(self.server, ShiftedServer):
            raise TypeError("the clock of this server cannot be moved")
        self.server.shift(seconds)

    def write(self) -> None:
        """Make the present channels and subscriptions the desired state."""
        write_documents(
            self._file,
            *(channel(name, arguments) for name, arguments in self.channels.items()),
            *(
                each.document
                for each in self.subscriptions.values()
                if each.channel in self.channels
            ),
        )

    def want(self, *wanted: Subscription) -> None:
        """Record that events may come to these from now on, and add them to the desired state."""
        for each in wanted:
            self.subscriptions[each.name] = each
            self.history.add(
                Wanted(
                    at=time.monotonic(),
                    subscription=each.name,
                    channel=each.channel,
                    address=each.address,
                    punctual=each.endpoint.nature is Nature.QUICK,
                    in_order="order" in self.channels[each.channel],
                )
            )

    def give_up(self, *gone: Subscription, is_owed: bool) -> None:
        """Record that these are about to be removed, and take them out of the desired state."""
        for each in gone:
            del self.subscriptions[each.name]
            self._note_unwanted(each, is_owed=is_owed)

    async def wait_subscribed(self, *wanted: Subscription) -> None:
        """Wait until a dispatcher has their durables open; from then on events are owed."""
        waiting = {each.name: each for each in wanted}
        async with self._patience(f"subscribing {', '.join(waiting)}"):
            while waiting:
                for found in await self._described():
                    for each in [each for each in waiting.values() if _is_open(found, each)]:
                        del waiting[each.name]
                        self.history.add(Subscribed(at=time.monotonic(), subscription=each.name))
                await asyncio.sleep(0.1)

    async def wait_open(self, subscription: Subscription) -> None:
        """Wait until a dispatcher has this durable open, whether it is wanted or about to go."""
        async with self._patience(f"opening {subscription.durable}"):
            while not any(  # noqa: ASYNC110  it is polled
                _has_open(found, subscription) for found in await self._described()
            ):
                await asyncio.sleep(0.05)

    async def wait_removed(self, *gone: Subscription) -> None:
        """Wait until no dispatcher delivers to these any more."""
        await self._wait_for_all(
            f"removing {', '.join(each.name for each in gone)}",
            lambda found: not any(_delivers(found, each) for each in gone),
        )
        for each in gone:
            self._note_removed(each)

    async def retarget(self, name: str, endpoint: Endpoint) -> None:
        """Move a subscription to another address; return when the old one receives nothing more."""
        old = self.subscriptions[name]
        new = Subscription(name, old.channel, endpoint, old.uid)
        self.want(new)
        self._note_unwanted(old, is_owed=True)
        self.write()
        await self._wait_for_all(
            f"retargeting {name}", lambda found: found.get(name, {}).get("subscriber") == new.url
        )
        self._note_removed(old)

    async def ready(self) -> None:
        """Wait until every dispatcher reports to be ready."""
        await asyncio.gather(*(each.wait_ready() for each in tuple(self.dispatchers)))

    def _note_unwanted(self, subscription: Subscription, *, is_owed: bool) -> None:
        self.history.add(
            Unwanted(
                at=time.monotonic(),
                subscription=subscription.name,
                address=subscription.address,
                is_owed=is_owed,
            )
        )

    def _note_removed(self, subscription: Subscription) -> None:
        self.history.add(
            Removed(
                at=time.monotonic(), subscription=subscription.name, address=subscription.address
            )
        )

    async def _wait_for_all(self, what: str, holds: Callable[[Mapping[str, Any]], bool]) -> None:
        """Wait until a condition holds for what each running dispatcher reports."""
        async with self._patience(what):
            for dispatcher in tuple(self.dispatchers):
                while not await self._is_dead_or(dispatcher, holds):  # noqa: ASYNC110  it is polled
                    await asyncio.sleep(0.1)

    async def _is_dead_or(
        self, dispatcher: DispatcherProcess, holds: Callable[[Mapping[str, Any]], bool]
    ) -> bool:
        if not dispatcher.is_running:
            return True
        found = await _describe(dispatcher)
        return found is not None and holds(found)

    async def _described(self) -> list[Mapping[str, Any]]:
        """Return what each dispatcher that answers reports."""
        answers = await asyncio.gather(*(_describe(each) for each in self.dispatchers))
        return [answer for answer in answers if answer is not None]

    @contextlib.asynccontextmanager
    async def _patience(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_APPLIED_SECONDS):
                yield
        except TimeoutError:
            raise NotApplied(f"{what}: {await self._described()}") from None


async def _describe(dispatcher: DispatcherProcess) -> Mapping[str, Any] | None:
    """Return its subscriptions by name; None if it does not answer or has no channels."""
    try:
        status = await dispatcher.status()
    except (OSError, ValueError):
        return None
    channels = status["channels"]
    if not channels:
        return None
    return {
        found["subscription"].partition("/")[2]: found
        for each in channels
        for found in each["subscriptions"]
    }


def _delivers(found: Mapping[str, Any], subscription: Subscription) -> bool:
    return found.get(subscription.name, {}).get("state") in ("active", "failing")


@dataclass(frozen=True)
class Setup:
    """The settings of a run.

    Attributes:
        folder: Receives the history, the store and the logs.
        seed: The seed of all that is left to chance.
        dispatchers: How many there are, with one client id.
        pace: How much is posted.
        clocks: Whether the wall clocks of dispatchers and server can be shifted.
        alteration: A mechanism to switch off, of ``tests.faults.altered_dispatcher``.
        patience: Seconds that recovery may take, and the last deliveries.
        channels: By name, with their arguments.
        subscribers: Name, channel and nature of each initial subscriber.
        steady: Channels that changes of the desired state leave alone, with their subscriptions.
        streaming: More lines for the configuration of the server.
        is_proxied: Whether the connection to the server can be broken.
        program: The module that is run in place of the dispatcher's command.
    """

    folder: Path
    seed: str
    dispatchers: int = 1
    pace: Pace = field(default_factory=Pace)
    clocks: bool = False
    alteration: str | None = None
    patience: float = 60.0
    channels: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: CHANNELS)
    subscribers: Sequence[tuple[str, str, Nature]] = SUBSCRIBERS
    steady: frozenset[str] = frozenset()
    streaming: str = HEARTBEATS
    is_proxied: bool = True
    program: str | None = None

    @property
    def clock(self) -> Path:
        """The file that says how far the dispatchers' clocks are off."""
        return self.folder / "clock"


@contextlib.asynccontextmanager
async def running(setup: Setup, history: Notes, chance: random.Random) -> AsyncIterator[System]:
    """Start everything, wait until all is subscribed, and end it, whatever happens."""
    set_shift(setup.clock, 0.0)
    async with contextlib.AsyncExitStack() as stack:
        make_server = ShiftedServer if setup.clocks else NatsStreamingServer
        server = make_server(setup.folder / "server", store="FILE", streaming=setup.streaming)
        stack.push_async_callback(server.kill)
        await server.start()
        proxy = await stack.enter_async_context(Proxy(server.port))
        system = System(setup, history, server, proxy, chance)
        stack.push_async_callback(system.close)
        for name, of_channel, nature in setup.subscribers:
            system.want(Subscription(name, of_channel, await system.endpoint(name, nature)))
        system.write()
        for _ in range(setup.dispatchers):
            await system.add_dispatcher().launch()
        await system.ready()
        await system.wait_subscribed(*system.subscriptions.values())
        yield system


def _is_open(found: Mapping[str, Any], subscription: Subscription) -> bool:
    is_there = _has_open(found, subscription)
    return is_there and found[subscription.name]["subscriber"] == subscription.url


def _has_open(found: Mapping[str, Any], subscription: Subscription) -> bool:
    entry = found.get(subscription.name, {})
    return bool(entry.get("durableState") == "open" and entry["durable"] == subscription.durable)
