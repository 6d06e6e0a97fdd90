"""The log as a program reads it: fields by the names of the metrics, each thing once."""

import asyncio
from pathlib import Path
from typing import Any

from tests.support.channel_files import channel, subscription, write_documents
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber, status
from tests.support.waiting import eventually

WHO = {"namespace": "default", "channel": "orders", "subscription": "default/mail"}


def of(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that say what an entry is about."""
    return {key: entry[key] for key in WHO if key in entry}


async def test_many_subscriptions_are_one_line_at_start(
    file_server: NatsStreamingServer, sink: Subscriber, tmp_path: Path
) -> None:
    """What is true of each of thousands is a figure; its details are there for ``debug``."""
    path = tmp_path / "channels.yaml"
    names = [f"s{number}" for number in range(50)]
    documents = [channel("orders"), *(subscription(name, "orders", sink.url) for name in names)]
    write_documents(path, *documents)
    dispatcher = ObservedDispatcher(file_server, path)
    await dispatcher.start()
    try:
        await dispatcher.wait_for_log("channels applied", where="'subscriptions': 50")
        assert await dispatcher.post("orders", "e1") == 202
        await sink.wait_until(lambda: sink.counts["e1"] >= 50)
        lines = dispatcher.entries()
    finally:
        await dispatcher.close_http()
        await dispatcher.stop()
    assert len(lines) < 15, [each["event"] for each in lines]


async def test_what_happens_to_a_subscription_is_told_once_and_by_fields(
    file_server: NatsStreamingServer, sink: Subscriber, tmp_path: Path
) -> None:
    path = tmp_path / "channels.yaml"
    sink.answer = status(503)
    orders = channel("orders", {"ackWait": "2s"})
    write_documents(path, orders, subscription("mail", "orders", sink.url))
    dispatcher = ObservedDispatcher(file_server, path, ("--stuck-after=1s", "--retry=0"))
    await dispatcher.start()
    try:
        assert await dispatcher.post("orders", "e1") == 202
        fails = await dispatcher.wait_for_log("subscriber fails")
        stuck = await dispatcher.wait_for_log("events do not get through")
        sink.answer = status(200)
        back = await dispatcher.wait_for_log("events get through again")
        write_documents(path, orders)
        removed = await dispatcher.wait_for_log("subscription removed")
    finally:
        await dispatcher.close_http()
        await dispatcher.stop()
    assert [of(each) for each in (fails, stuck, back, removed)] == [WHO] * 4
    assert stuck["reason"] == "SubscriberStuck"
    assert "status 503" in stuck["message"]
    assert "default" not in stuck["event"]


async def test_a_problem_is_told_once_with_its_place(
    file_server: NatsStreamingServer, sink: Subscriber, tmp_path: Path
) -> None:
    path = tmp_path / "channels.yaml"
    wrong = subscription("mail", "orders", sink.url)
    wrong["spec"]["unheardOf"] = 1
    write_documents(path, channel("orders", {"retry": -1}), wrong)
    dispatcher = ObservedDispatcher(file_server, path)
    await dispatcher.start()
    try:
        await dispatcher.wait_for_log("problem in the channels", where="unheardOf")
        problems = [
            each for each in dispatcher.entries() if each["event"] == "problem in the channels"
        ]
    finally:
        await dispatcher.close_http()
        await dispatcher.stop()
    told = {each["field"]: each for each in problems}
    assert len(problems) == len(told) == 2
    refused = told["spec.arguments.retry"]
    assert (refused["channel"], refused["namespace"]) == ("orders", "default")
    assert refused["reason"] == "Refused"
    assert refused["message"].endswith("4 is used instead")
    assert refused["origin"] == "channels.yaml, line 1"
    ignored = told["spec.unheardOf"]
    assert (ignored["subscription"], ignored["reason"]) == ("default/mail", "Ignored")


async def test_an_outage_is_told_once_for_each_connection(
    file_server: NatsStreamingServer, tmp_path: Path
) -> None:
    path = write_documents(tmp_path / "channels.yaml", channel("orders"))
    dispatcher = ObservedDispatcher(file_server, path)
    await dispatcher.start()
    try:
        await dispatcher.wait_for_log("delivering")
        await file_server.kill()

        async def is_warned() -> bool:
            return "no event is delivered" in (await dispatcher.admin("/readyz"))[1]

        await eventually(is_warned)
        await asyncio.sleep(3)  # in which the same would be told as an occurrence, too
        warned = [each for each in dispatcher.entries() if each["level"] == "warning"]
        lost = [each for each in warned if "--state-dir" not in each["event"]]
    finally:
        await dispatcher.close_http()
        await dispatcher.stop()
    told = [(each["event"], each["role"]) for each in lost]
    assert len(told) == len(set(told)), told
    assert {event for event, _ in told} <= {
        "connection lost, the session is kept",
        "cannot connect, trying on",
        "session lost, opening another",
    }
