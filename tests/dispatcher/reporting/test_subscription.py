"""What the owner of a Subscription sees, where both programs are at work on a real API."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_dispatcher import ChannelsOf, ClusterDispatcher
from tests.support.kubernetes import KubernetesServer
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber, status
from tests.support.waiting import eventually

API = "eventing.knative.dev/v1alpha1"


class Shop:
    """A namespace with the channel ``orders``, of which Subscriptions are made.

    Args:
        channels: Of the namespace.
        dispatcher: Delivers.
    """

    def __init__(self, channels: ChannelsOf, dispatcher: ClusterDispatcher) -> None:
        self.channels = channels
        self.kubernetes = channels.kubernetes
        self.dispatcher = dispatcher

    async def kubectl(self, *arguments: str, text: str | None = None) -> str:
        namespace = ("-n", self.channels.namespace)
        return await asyncio.to_thread(self.kubernetes.kubectl, *arguments, *namespace, text=text)

    async def subscribe(self, name: str, url: str) -> None:
        channel = {"apiVersion": API, "kind": "Channel", "name": "orders"}
        document = {
            "apiVersion": API,
            "kind": "Subscription",
            "metadata": {"name": name},
            "spec": {"channel": channel, "subscriber": {"uri": url}},
        }
        await self.kubectl("apply", "-f", "-", text=json.dumps(document))

    async def subscription(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            await self.kubectl("get", "subscriptions.eventing.knative.dev", name, "-o", "json")
        )
        return found

    async def condition(self, kind: str, name: str = "mail") -> dict[str, Any]:
        """Return a condition; empty if there is none."""
        status_ = (await self.subscription(name)).get("status") or {}
        by_type = {each["type"]: each for each in status_.get("conditions") or ()}
        found: dict[str, Any] = by_type.get(kind, {})
        return found

    async def until(self, kind: str, value: str, name: str = "mail") -> dict[str, Any]:
        """Wait until a condition is so."""

        async def is_so() -> bool:
            return (await self.condition(kind, name)).get("status") == value

        await eventually(is_so, 25)
        return await self.condition(kind, name)

    async def post(self, event: str) -> None:
        async def is_taken() -> bool:
            namespace = self.channels.namespace
            return await self.dispatcher.post_to(namespace, "orders", event) == 202

        await eventually(is_taken)

    async def described(self, text: str, name: str = "mail") -> str:
        """Return ``kubectl describe`` of a Subscription once it says so."""
        found = [""]

        async def says() -> bool:
            found[0] = await self.kubectl("describe", "subscriptions.eventing.knative.dev", name)
            return text in found[0]

        try:
            await eventually(says, 20)
        except TimeoutError:
            raise AssertionError(f"not told: {text}\n{found[0]}") from None
        return found[0]


@pytest.fixture
async def shop(
    kubernetes: KubernetesServer,
    channels: ChannelsOf,
    file_server: NatsStreamingServer,
    tmp_path: Path,
    unique_name: str,
) -> AsyncIterator[Shop]:
    controller = ProvisionerProcess(kubernetes, tmp_path / "controller.log")
    flags = (f"--client-id={unique_name}", "--stuck-after=1s")
    dispatcher = ClusterDispatcher(kubernetes, file_server, tmp_path, flags)
    await asyncio.to_thread(controller.start)
    await dispatcher.start(until="/healthz")
    try:
        await channels.apply("orders")
        yield Shop(channels, dispatcher)
    finally:
        await dispatcher.close_http()
        await dispatcher.stop()
        await asyncio.to_thread(controller.stop)


async def test_who_refuses_is_told_on_its_subscription(shop: Shop, sink: Subscriber) -> None:
    sink.answer = status(503)
    await shop.subscribe("mail", sink.url)
    await shop.until("Ready", "True")
    await shop.until("Delivering", "True")
    await shop.post("e1")
    told = await shop.until("Delivering", "False")
    assert (told["reason"], told["severity"]) == ("SubscriberStuck", "Warning")
    assert "no event has got through since" in told["message"]
    assert "status 503" in told["message"]
    assert (await shop.condition("Ready"))["status"] == "True", "to publishers it is as it was"
    text = await shop.described("SubscriberStuck  ")
    assert "Events are delivered" not in text
    assert f"Resolved; the channel delivers to {sink.url}" in text
    head, row = (await shop.kubectl("get", "subscriptions.eventing.knative.dev")).splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "ADDRESS", "CHANNEL", "DELIVERING", "AGE"]
    assert row.split()[-3:-1] == ["orders", "False"]
    wide = await shop.kubectl("get", "channels.eventing.knative.dev", "-o", "wide")
    assert "status 503" in wide

    sink.answer = status(200)
    told = await shop.until("Delivering", "True")
    assert "reason" not in told
    await shop.described("SubscriberRecovered  ")


async def test_a_restart_changes_neither_the_verdict_nor_since_when(
    shop: Shop, sink: Subscriber
) -> None:
    await shop.subscribe("mail", sink.url)
    await shop.until("Delivering", "True")
    for event in ("e1", "e2", "e3"):
        await shop.post(event)
    await sink.wait_for_events(3)
    sink.answer = status(503)
    await shop.post("e4")
    before = await shop.until("Delivering", "False")
    await shop.dispatcher.kill()
    shop.dispatcher.forget_state()
    shop.dispatcher.use("--stuck-after=1h")
    await shop.dispatcher.start(until="/healthz")
    mail = ""

    async def is_stuck() -> bool:
        """Read the metrics; with a patience of an hour they show only what was recorded."""
        nonlocal mail
        lines = (await shop.dispatcher.admin("/metrics"))[1].splitlines()
        (mail,) = [
            each
            for each in lines
            if each.startswith("natss_subscription_stuck{") and shop.channels.namespace in each
        ] or [""]
        return mail.endswith(" 1")

    await eventually(is_stuck)
    described = await shop.dispatcher.subscription(f"{shop.channels.namespace}/mail")
    assert described["reason"] == f"SubscriberStuck: {before['message']}"
    assert await shop.condition("Delivering") == before
    sink.answer = status(200)
    await shop.until("Delivering", "True")
    await shop.described("SubscriberRecovered  ")


async def test_each_subscription_is_told_of_itself(shop: Shop, sink: Subscriber) -> None:
    """One that is fine is not blamed for another, and the deleted one leaves no word behind."""
    sink.answer = status(500)
    good = Subscriber()
    await good.start()
    try:
        await shop.subscribe("mail", sink.url)
        await shop.subscribe("bills", good.url)
        await shop.until("Delivering", "True", "bills")
        await shop.until("Delivering", "True", "mail")
        await shop.post("e1")
        await shop.until("Delivering", "False", "mail")
        assert (await shop.condition("Delivering", "bills"))["status"] == "True"
        assert "SubscriberStuck" not in await shop.described("Delivering", "bills")
        await shop.kubectl("delete", "subscriptions.eventing.knative.dev", "mail")
        await shop.subscribe("mail", good.url)
        await shop.until("Delivering", "True", "mail")
    finally:
        await good.stop()


async def test_a_wrong_argument_is_called_the_same_everywhere_and_what_is_used_is_told(
    shop: Shop,
) -> None:
    document = shop.channels.document("bills")
    document["spec"]["arguments"] = {"retry": -1}
    await shop.kubectl("apply", "-f", "-", text=json.dumps(document))
    text = ""

    async def is_told() -> bool:
        nonlocal text
        text = await shop.kubectl("describe", "channels.eventing.knative.dev", "bills")
        return (
            "SpecAccepted" in text
            and re.search(r"natss-dispatcher +spec.arguments", text) is not None
        )

    try:
        await eventually(is_told, 20)
    except TimeoutError:
        raise AssertionError(f"not told:\n{text}") from None
    assert "Warning  Refused" in text
    assert "Ignored" not in text
    assert "must be a whole number from 0 to 1000; 4 is used instead" in text
    assert "or else the dispatcher's default, is used instead" in text
    assert text.count("4 is used instead") == text.count("Warning  Refused") == 1


async def test_an_outage_of_nats_streaming_is_a_condition_of_the_provisioner(
    shop: Shop, file_server: NatsStreamingServer
) -> None:
    """No Channel is called unready for it, so it has to be told where all depend on it."""

    async def told() -> dict[str, Any]:
        document = json.loads(await shop.kubectl("get", "ccp", "natss", "-o", "json"))
        return {each["type"]: each for each in document["status"]["conditions"]}

    async def until(status_: str) -> dict[str, Any]:
        async def is_so() -> bool:
            return bool((await told()).get("Connected", {}).get("status") == status_)

        await eventually(is_so, 40)
        return await told()

    await until("True")
    await file_server.kill()
    conditions = await until("False")
    assert conditions["Ready"]["status"] == "True"
    lost = conditions["Connected"]
    assert (lost["reason"], lost["severity"]) == ("ConnectionLost", "Warning")
    assert f"{socket.gethostname()}: publishers are answered 503: " in lost["message"]
    assert "no event is delivered: " in lost["message"]
    head, row = (await shop.kubectl("get", "ccp")).splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "CONNECTED", "AGE"]
    assert row.split()[:3] == ["natss", "True", "False"]
    code, text = await shop.dispatcher.admin("/readyz")
    assert code == 200
    assert "no event is delivered: " in text
    await file_server.restart()
    await until("True")
