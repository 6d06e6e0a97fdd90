"""What is found out of real subscriptions on a real server."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from aiohttp import web

from dispatcher.durables.member import Member, MemberKey
from dispatcher.ingress.routing import Router
from dispatcher.reporting import observer, verdicts
from dispatcher.reporting.observed import Observed
from dispatcher.reporting.observer import Observer
from dispatcher.reporting.occurrences import Occurrence
from dispatcher.reporting.verdicts import SubscriberVerdict
from dispatcher.stores.interface import DeliveredElsewhere
from dispatcher.stores.nats_streaming.session_keeper import SessionKeeper
from natss.contract.resources import BackoffPolicy, DeliveryPolicy, ResourceName
from tests.conftest import StartServer
from tests.support.data_plane import DataPlane, subscriber
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Received, Subscriber, status
from tests.support.waiting import eventually

QUICK = DeliveryPolicy(ack_wait=1, retry=0, timeout=0.5)


class Watched:
    """A data plane that is observed.

    Attributes:
        told: What has happened.
    """

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self.told: list[Occurrence] = []
        observed = Observed(plane.store, plane.reconciler, Router(), plane.metrics)
        self.recorded: dict[ResourceName, SubscriberVerdict] = {}
        self._observer = Observer(
            observed,
            0.5,
            self.told.append,
            lambda: None,
            self,
        )

    def of(self, member: Member) -> SubscriberVerdict | None:
        return self.recorded.get(member.key.ref)

    def changed(self, verdicts: Iterable[tuple[Member, SubscriberVerdict]]) -> None:
        self.recorded = {member.key.ref: verdict for member, verdict in verdicts}

    async def run(self) -> None:
        """Do nothing."""

    def verdict(self, name: str = "mail") -> SubscriberVerdict | None:
        key = MemberKey(self.plane.channel, ResourceName("default", name))
        return self._observer.verdict(key)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Look until it is so."""

        async def holds() -> bool:
            await self._observer.look()
            return condition()

        await eventually(holds)

    def reasons(self) -> list[str]:
        """Return the reasons of what has happened to the channel."""
        return [each.reason for each in self.told if each.channel == self.plane.channel]


async def test_a_subscriber_that_fails_is_stuck_until_its_events_get_through(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    sink.answer = status(500)
    async with DataPlane(memory_server, unique_name) as plane:
        watched = Watched(plane)
        plane.subscribe(subscriber(sink.url), policy=QUICK)
        await watched.until(lambda: watched.verdict() == verdicts.READY)
        await plane.publish("e1", "e2")
        await watched.until(lambda: watched.verdict() != verdicts.READY)
        (_, _, metrics) = plane.metrics.subscriptions()[0]
        in_metrics = metrics.stuck
        assert in_metrics
        stuck = watched.verdict()
        assert stuck is not None
        assert stuck.message.endswith("status 500")
        sink.answer = status(200)
        await watched.until(lambda: watched.verdict() == verdicts.READY)
        in_metrics = metrics.stuck
        assert not in_metrics
        assert watched.reasons() == ["SubscriberStuck", "SubscriberRecovered"]
        assert all("default/mail" in each.full_message for each in watched.told if each.channel)


async def test_who_takes_over_tells_that_what_its_predecessor_called_stuck_has_recovered(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    async with DataPlane(memory_server, unique_name) as plane:
        watched = Watched(plane)
        mail, bills = (subscriber(sink.url, each, f"uid-{each}") for each in ("mail", "bills"))
        plane.subscribe(mail, bills)
        stuck = SubscriberVerdict(False, verdicts.STUCK, "told by another process")
        watched.recorded[ResourceName("default", "mail")] = stuck
        await watched.until(lambda: watched.verdict("mail") == verdicts.READY)
        await watched.until(lambda: watched.verdict("bills") == verdicts.READY)
        assert watched.reasons() == ["SubscriberRecovered"]


async def test_a_first_round_of_attempts_that_takes_long_counts_as_well(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    sink.answer = status(500)
    policy = replace(QUICK, retry=1000, backoff_policy=BackoffPolicy.LINEAR, backoff_delay=0.01)
    async with DataPlane(memory_server, unique_name) as plane:
        watched = Watched(plane)
        plane.subscribe(subscriber(sink.url), policy=policy)
        await plane.publish("e1")
        await watched.until(lambda: watched.reasons() == ["SubscriberStuck"])
        verdict = watched.verdict()
        assert verdict is not None
        assert verdict.message.startswith("no event has got through since")


async def test_one_event_that_never_gets_through_is_told_though_others_do(
    memory_server: NatsStreamingServer, unique_name: str, sink: Subscriber
) -> None:
    async def refuse_one(received: Received) -> web.Response:
        return web.Response(status=500 if received.id == "bad" else 200)

    sink.answer = refuse_one
    async with DataPlane(memory_server, unique_name) as plane:
        watched = Watched(plane)
        plane.subscribe(subscriber(sink.url), policy=QUICK)
        await plane.publish("bad", "good")
        await watched.until(lambda: "SubscriberStuck" in watched.reasons())
        await plane.publish("better")
        await sink.wait_for_events(2)
        await watched.until(lambda: True)
        verdict = watched.verdict()
        assert verdict is not None
        assert verdict.is_bad
        assert watched.reasons() == ["SubscriberStuck"]


async def test_a_channel_that_a_full_server_does_not_take(
    natss_server: StartServer, unique_name: str, sink: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "SETTLE", 0.1)
    server = await natss_server(streaming="store_limits { max_channels: 1 }")
    async with DataPlane(server, "first") as first, DataPlane(server, "second") as second:
        first.subscribe(subscriber(sink.url))
        await first.open()
        watched = Watched(second)
        second.subscribe(subscriber(sink.url))
        await watched.until(lambda: watched.reasons() == ["ChannelLimitReached"])
        verdict = watched.verdict()
        assert verdict is not None
        assert "max_channels" in verdict.message


async def test_a_durable_that_the_server_has_no_room_for(
    natss_server: StartServer, unique_name: str, sink: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "SETTLE", 0.1)
    server = await natss_server(streaming="store_limits { max_subs: 1 }")
    async with DataPlane(server, unique_name) as plane:
        watched = Watched(plane)
        mail, bills = (subscriber(sink.url, each, f"uid-{each}") for each in ("mail", "bills"))
        plane.subscribe(mail)
        await plane.open()
        plane.subscribe(mail, bills)
        await watched.until(lambda: watched.verdict("mail") == verdicts.READY)
        await watched.until(lambda: watched.reasons() == ["DurableRefused"])


async def test_without_a_session_nothing_is_said_and_recovery_is_told_later(
    memory_server: NatsStreamingServer,
    unique_name: str,
    sink: Subscriber,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another replica may have taken over; this one does not know as long as it is cut off."""
    sink.answer = status(500)
    async with DataPlane(memory_server, unique_name) as plane:
        watched = Watched(plane)
        plane.subscribe(subscriber(sink.url), policy=QUICK)
        await plane.publish("e1")
        await watched.until(lambda: watched.reasons() == ["SubscriberStuck"])
        stuck = watched.verdict()
        assert stuck is not None
        with monkeypatch.context() as outage:
            outage.setattr(SessionKeeper, "is_open", False)
            assert watched.verdict() is None, "even before the next look"
            await watched.until(lambda: True)
        assert watched.verdict() is None, "what was so before is not known to be so still"
        await watched.until(lambda: watched.verdict() == stuck)
        assert watched.reasons() == ["SubscriberStuck"], "it is told once"
        with monkeypatch.context() as outage:
            outage.setattr(SessionKeeper, "is_open", False)
            await watched.until(lambda: True)
            sink.answer = status(200)
            await sink.wait_for_events(1)
        await watched.until(lambda: watched.verdict() == verdicts.READY)
        assert watched.reasons() == ["SubscriberStuck", "SubscriberRecovered"]
        with monkeypatch.context() as outage:
            outage.setattr(SessionKeeper, "is_open", False)
            await watched.until(lambda: True)
        assert watched.verdict() is None
        await watched.until(lambda: watched.verdict() == verdicts.READY)


async def test_who_stands_by_has_no_verdicts(
    memory_server: NatsStreamingServer,
    unique_name: str,
    sink: Subscriber,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observer, "_UNDECIDED", 0.1)
    second = DataPlane(memory_server, unique_name)
    async with DataPlane(memory_server, unique_name) as first:
        first.subscribe(subscriber(sink.url))
        await first.open()
        second.subscribe(subscriber(sink.url))
        watched = Watched(second)
        second.store.start_delivering()

        async def stands_by() -> bool:
            return "standing by" in str(second.store.delivering.last_error)

        await eventually(stands_by)
        await watched.until(lambda: True)
        assert watched.verdict() is None
    await watched.until(lambda: watched.verdict() == verdicts.READY)
    with monkeypatch.context() as taken_over:
        taken_over.setattr(SessionKeeper, "is_open", False)
        taken_over.setattr(second.store.delivering, "failure", DeliveredElsewhere("taken"))
        await watched.until(lambda: True)
        assert watched.verdict() is None, "what it knew is for its successor to say"
    await second.close()
