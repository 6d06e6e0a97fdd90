"""The next dispatcher knows what is owed, in another pod that has none of the files."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cluster_dispatcher import (
    ACCOUNT,
    NAMESPACE,
    ChannelsOf,
    ClusterDispatcher,
    taken,
)
from tests.support.data_plane import durables
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber, status
from tests.support.waiting import eventually

MARGIN = 3.5
"""In seconds: clearly longer than the margin of a start by time."""


@pytest.fixture
async def dispatcher(
    kubernetes: KubernetesServer, file_server: NatsStreamingServer, unique_name: str, tmp_path: Path
) -> AsyncIterator[ClusterDispatcher]:
    """Return a dispatcher that is not started yet."""
    folder = tmp_path / "dispatcher"
    folder.mkdir()
    flags = (f"--client-id={unique_name}", "--removal-grace=2s")
    process = ClusterDispatcher(kubernetes, file_server, folder, flags)
    yield process
    await process.close_http()
    await process.kill()


async def recorded_open(channels: ChannelsOf, *names: str, **others: str) -> None:
    """Wait until these durables of ``orders`` are on record, all open, and no others.

    Args:
        channels: Those of the namespace.
        names: The durables of the Subscription ``mail``.
        others: Other durables by name, with the Subscription of each.
    """
    of_mail = dict.fromkeys(names, "mail")
    wanted = {name: {"subscription": each} for name, each in {**of_mail, **others}.items()}

    async def is_recorded() -> bool:
        return await channels.recorded("orders") == wanted

    await eventually(is_recorded)


async def lose_pod(dispatcher: ClusterDispatcher) -> None:
    await dispatcher.kill()
    dispatcher.forget_state()


async def durables_are(server: NatsStreamingServer, subject: str, *names: str) -> None:
    async def are_these() -> bool:
        return set(await durables(server, subject)) == set(names)

    await eventually(are_these)


async def test_a_record_comes_with_a_durable_and_goes_with_it(
    dispatcher: ClusterDispatcher, channels: ChannelsOf, sink: Subscriber
) -> None:
    await dispatcher.start()
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await recorded_open(channels, "u1")
    await channels.apply("orders")
    await dispatcher.wait_for_log("durable unsubscribed")
    await recorded_open(channels)


async def test_a_restart_writes_nothing(
    dispatcher: ClusterDispatcher, channels: ChannelsOf, sink: Subscriber
) -> None:
    await dispatcher.start()
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await recorded_open(channels, "u1")
    before = await asyncio.to_thread(channels.kubernetes.writes, NAMESPACE, ACCOUNT)
    mine = [each for each in before if channels.namespace in each]
    assert len(mine) <= 3, "the finalizer, when it was wanted, that it is open"
    await lose_pod(dispatcher)
    await dispatcher.start()
    await taken(dispatcher, channels, "e1")
    await sink.wait_for_events(1)
    await asyncio.sleep(1.0)  # longer than any write waits: an absence, not a wait for something
    after = await asyncio.to_thread(channels.kubernetes.writes, NAMESPACE, ACCOUNT)
    assert [each for each in after if channels.namespace in each] == mine


async def test_a_subscriber_removed_while_no_pod_was_there_is_unsubscribed(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    both = channels.entry("mail", sink.url, "u1"), channels.entry("audit", sink.url, "u2")
    await dispatcher.start()
    await channels.apply("orders", *both)
    await recorded_open(channels, u1="mail", u2="audit")
    await lose_pod(dispatcher)
    await channels.apply("orders", both[0])
    await dispatcher.start()
    await durables_are(file_server, channels.subject("orders"), "u1")
    await recorded_open(channels, "u1")


async def test_a_former_uid_that_came_back_is_unsubscribed_once_it_is_known_to_owe_nothing(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    """A channel without events has no evidence of it."""
    both = channels.entry("mail", sink.url, "u1"), channels.entry("mail", sink.url, "u2")
    await dispatcher.start()
    await channels.apply("orders", *both)
    await recorded_open(channels, "u1", "u2")
    await lose_pod(dispatcher)
    await channels.apply("orders", both[0])
    await dispatcher.start()
    await dispatcher.wait_for_log("subscription is back")
    await taken(dispatcher, channels, "e1")
    await sink.wait_for_events(1)
    await durables_are(file_server, channels.subject("orders"), "u1")
    await recorded_open(channels, "u1")
    assert sink.counts == {"e1": 1}


@pytest.mark.parametrize("lost", ["before", "in the handover"])
async def test_a_subscription_made_again_while_a_pod_was_lost_has_its_backlog(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
    lost: str,
) -> None:
    """As Kyma changes an endpoint."""
    sink.answer = status(503)
    await dispatcher.start()
    await channels.apply("orders", channels.entry("mail", sink.url, "old"))
    await taken(dispatcher, channels, "e1")
    await recorded_open(channels, "old")
    if lost == "before":
        await lose_pod(dispatcher)
    await channels.apply("orders", channels.entry("mail", sink.url, "new"))
    if lost != "before":

        async def both_are_recorded() -> bool:
            return set(await channels.recorded("orders")) == {"old", "new"}

        await eventually(both_are_recorded)
        await lose_pod(dispatcher)
    sink.answer = status(200)
    await dispatcher.start()
    await sink.wait_for_events(1)
    await durables_are(file_server, channels.subject("orders"), "new")
    await recorded_open(channels, "new")


async def test_a_channel_made_again_inherits_nothing_from_the_one_that_went(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    """Although that one leaves a durable of a Subscription of the same name."""
    sink.answer = status(503)
    await dispatcher.start()
    await channels.apply("orders", channels.entry("mail", sink.url, "old"))
    await taken(dispatcher, channels, "e1")
    await recorded_open(channels, "old")
    await file_server.kill()
    await channels.delete("orders")
    await eventually(lambda: channels.is_gone("orders"))
    await lose_pod(dispatcher)
    await asyncio.sleep(MARGIN)
    sink.answer = status(200)
    await channels.apply("orders", channels.entry("mail", sink.url, "new"))
    await file_server.start()
    await dispatcher.start()
    await durables_are(file_server, channels.subject("orders"), "new")
    await taken(dispatcher, channels, "e2")
    await sink.wait_for_events(1)
    assert set(sink.counts) == {"e2"}


async def test_what_was_taken_before_a_durable_was_ever_open_is_delivered(
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    file_server: NatsStreamingServer,
) -> None:
    """NATS Streaming refuses the durable of a new subscriber, and then the pod is lost."""
    first = Subscriber()
    await first.start()
    file_server.streaming = "store_limits { max_subs: 1 }"
    await file_server.restart()
    await dispatcher.start()
    entries = channels.entry("mail", first.url, "u1"), channels.entry("new", sink.url, "u2")
    await channels.apply("orders", entries[0])
    await taken(dispatcher, channels, "before")
    await recorded_open(channels, "u1")
    await asyncio.sleep(MARGIN)
    await channels.apply("orders", *entries)
    await dispatcher.wait_for_log("durable refused")
    await taken(dispatcher, channels, "e1")
    await first.wait_for_events(2)

    async def is_recorded() -> bool:
        return "since" in (await channels.recorded("orders")).get("u2", {})

    await eventually(is_recorded)
    await lose_pod(dispatcher)
    await asyncio.sleep(MARGIN)
    file_server.streaming = ""
    await file_server.restart()
    await dispatcher.start()
    await sink.wait_for_events(1)
    assert sink.counts == {"e1": 1}
    assert first.duplicates == 0
    await first.stop()


@pytest.mark.parametrize("ends", ["the partition", "the pod"])
async def test_a_subscriber_that_came_while_the_api_was_cut_off_has_what_was_taken_meanwhile(
    kubernetes: KubernetesServer,
    dispatcher: ClusterDispatcher,
    channels: ChannelsOf,
    sink: Subscriber,
    ends: str,
) -> None:
    """The dispatcher does not know of it yet, and accepts events all the same."""
    first = Subscriber()
    await first.start()
    async with dispatcher.behind_proxy() as api:
        await dispatcher.start()
        await channels.apply("orders", channels.entry("mail", first.url, "u1"))
        await recorded_open(channels, "u1")
        assert await dispatcher.post_to(channels.namespace, "orders", "before") == 202
        await first.wait_for_events(1)
        await asyncio.sleep(MARGIN)
        api.refuse()
        await dispatcher.wait_for_log("the Kubernetes API fails")
        entries = channels.entry("mail", first.url, "u1"), channels.entry("new", sink.url, "u2")
        await channels.apply("orders", *entries)
        assert await dispatcher.post_to(channels.namespace, "orders", "e1") == 202
        await first.wait_for_events(2)
        assert sink.received == []
        await asyncio.sleep(MARGIN)
        if ends == "the pod":
            await lose_pod(dispatcher)
        api.release()
        if ends == "the pod":
            await dispatcher.start()
        await sink.wait_for_events(1)
    assert sink.counts == {"e1": 1}
    await first.stop()
