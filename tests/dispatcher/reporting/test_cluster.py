"""What kubectl describe tells of delivery: on a real API, as the account of the manifests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.cluster_dispatcher import ACCOUNT, NAMESPACE, ChannelsOf, ClusterDispatcher
from tests.support.data_plane import DataPlane
from tests.support.kubernetes import KubernetesServer
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber, status
from tests.support.waiting import eventually

Start = Callable[..., Awaitable[ClusterDispatcher]]
USERS = "authorization { users = [{ user: me, password: right }] }"
AS_USER = 'username: "me"\npassword: "right"'


@pytest.fixture
async def dispatcher(
    kubernetes: KubernetesServer, tmp_path: Path, unique_name: str
) -> AsyncIterator[Start]:
    """Yield a function that starts a healthy dispatcher on a server; all are stopped."""
    processes: list[ClusterDispatcher] = []

    async def start(server: NatsStreamingServer, *flags: str) -> ClusterDispatcher:
        folder = tmp_path / f"dispatcher-{len(processes)}"
        folder.mkdir()
        flags = (f"--client-id={unique_name}", "--stuck-after=1s", *flags)
        processes.append(ClusterDispatcher(kubernetes, server, folder, flags))
        await processes[-1].start(until="/healthz")
        return processes[-1]

    yield start
    for process in processes:
        await process.close_http()
        await process.stop()


async def describe(kubernetes: KubernetesServer, *what: str) -> str:
    """Return what a user sees."""
    return await asyncio.to_thread(kubernetes.kubectl, "describe", *what)


async def described(kubernetes: KubernetesServer, *what: str, text: str) -> str:
    """Wait until kubectl describe has the text; return all that it says."""
    found = [""]

    async def says() -> bool:
        found[0] = await describe(kubernetes, *what)
        return text in found[0]

    try:
        await eventually(says, 20)
    except TimeoutError:
        raise AssertionError(f"not told: {text}\n{found[0]}") from None
    return found[0]


async def delivery(channels: ChannelsOf, name: str) -> list[dict[str, Any]]:
    """Return what the status of a channel says about its subscribers."""
    told = ((await channels.get(name)) or {}).get("status") or {}
    subscribers: list[dict[str, Any]] = (told.get("subscribableStatus") or {}).get(
        "subscribers", []
    )
    return subscribers


async def wait_delivery(channels: ChannelsOf, **ready: str) -> None:
    """Wait until the status of ``orders`` says so of each uid, and of no other."""

    async def says() -> bool:
        told = await delivery(channels, "orders")
        return {each["uid"]: each["ready"] for each in told} == ready

    await eventually(says, 20)


async def post(dispatcher: ClusterDispatcher, channels: ChannelsOf, event: str) -> None:
    """Post to ``orders`` as soon as it is accepted."""

    async def is_taken() -> bool:
        return await dispatcher.post_to(channels.namespace, "orders", event) == 202

    await eventually(is_taken)


def reports(channels: ChannelsOf) -> int:
    """Return how often dispatchers have written the status of a channel of this namespace."""
    return sum(
        f"/namespaces/{channels.namespace}/channels/" in write and "/status" in write
        for write in channels.kubernetes.writes(NAMESPACE, ACCOUNT)
    )


async def test_a_stuck_subscriber_is_told_where_users_look_until_it_has_recovered(
    dispatcher: Start, memory_server: NatsStreamingServer, channels: ChannelsOf, sink: Subscriber
) -> None:
    process = await dispatcher(memory_server)
    sink.answer = status(503)
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await wait_delivery(channels, u1="True")
    await post(process, channels, "e1")
    await wait_delivery(channels, u1="False")
    what = ("channel", "orders", "-n", channels.namespace)
    text = await described(channels.kubernetes, *what, text="SubscriberStuck")
    assert f"Subscription {channels.namespace}/mail: no event has got through since" in text
    assert "natss-dispatcher" in text
    described_entry = await process.subscription(f"{channels.namespace}/mail")
    assert described_entry["delivers"] == "no"
    assert described_entry["reason"].endswith("status 503")
    assert " 1\n" in next(
        line + "\n"
        for line in (await process.admin("/metrics"))[1].splitlines()
        if line.startswith("natss_subscription_stuck{") and channels.namespace in line
    )

    sink.answer = status(200)
    await wait_delivery(channels, u1="True")
    await described(channels.kubernetes, *what, text="SubscriberRecovered")
    channel = await channels.get("orders")
    assert channel is not None
    assert set(channel["status"]) == {"subscribableStatus"}, "conditions are the controller's"


async def test_beside_knative_s_core_a_subscription_gets_events_and_its_status_is_left_alone(
    dispatcher: Start, memory_server: NatsStreamingServer, channels: ChannelsOf, sink: Subscriber
) -> None:
    """The core owns it; a second writer would have it told two things in turns."""
    kubernetes = channels.kubernetes
    process = await dispatcher(memory_server)
    sink.answer = status(503)
    path = channels.path.replace("/channels", "/subscriptions")
    made = await asyncio.to_thread(
        kubernetes.create,
        path,
        {
            "apiVersion": "eventing.knative.dev/v1alpha1",
            "kind": "Subscription",
            "metadata": {"name": "mail"},
            "spec": {
                "channel": {
                    "apiVersion": "eventing.knative.dev/v1alpha1",
                    "kind": "Channel",
                    "name": "orders",
                },
                "subscriber": {"uri": sink.url},
            },
        },
    )
    uid = made["metadata"]["uid"]
    await channels.apply("orders", channels.entry("mail", sink.url, uid))
    await wait_delivery(channels, **{uid: "True"})
    await post(process, channels, "e1")
    what = ("subscription.eventing.knative.dev", "mail", "-n", channels.namespace)
    text = await described(kubernetes, *what, text="SubscriberStuck")
    assert "no event has got through since" in text
    after = await asyncio.to_thread(kubernetes.get, f"{path}/mail")
    assert after == made, "neither status nor anything else"


async def test_one_replica_reports_and_its_successor_writes_nothing_that_is_there(
    dispatcher: Start, memory_server: NatsStreamingServer, channels: ChannelsOf, sink: Subscriber
) -> None:
    first = await dispatcher(memory_server)
    await first.wait_for_log("delivering")
    second = await dispatcher(memory_server)
    await second.wait_for_log("standing by")
    sink.answer = status(503)
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await wait_delivery(channels, u1="True")
    await post(first, channels, "e1")
    await wait_delivery(channels, u1="False")
    before, told = reports(channels), await delivery(channels, "orders")
    await asyncio.sleep(3)
    assert (reports(channels), await delivery(channels, "orders")) == (before, told)
    await first.kill()
    await second.wait_for_log("delivering")
    assert [each["ready"] for each in await delivery(channels, "orders")] == ["False"]
    sink.answer = status(200)
    await wait_delivery(channels, u1="True")
    assert reports(channels) <= before + 2


async def test_who_is_cut_off_from_nats_leaves_the_status_to_who_has_taken_over(
    dispatcher: Start, file_server: NatsStreamingServer, channels: ChannelsOf, sink: Subscriber
) -> None:
    """It still reaches the API, and what it knew is old."""
    async with Proxy(file_server.port) as proxy:
        first = await dispatcher(file_server, f"--natss-url={proxy.url}")
        sink.answer = status(503)
        await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
        await post(first, channels, "e1")
        await wait_delivery(channels, u1="False")
        second = await dispatcher(file_server)
        await second.wait_for_log("standing by")
        proxy.refuse()
        await second.wait_for_log("delivering")
        sink.answer = status(200)
        await wait_delivery(channels, u1="True")
        before = reports(channels)
        await channels.apply("bills", channels.entry("bills", sink.url, "u2"))

        async def is_told() -> bool:  # by then both have looked at all channels again
            return bool(await delivery(channels, "bills"))

        await eventually(is_told, 20)
        await asyncio.sleep(3)
        assert [each["ready"] for each in await delivery(channels, "orders")] == ["True"]
        assert reports(channels) <= before + 3, "two of bills: its host, and its subscriber"


async def test_subscribers_that_come_and_go(
    dispatcher: Start, memory_server: NatsStreamingServer, channels: ChannelsOf, sink: Subscriber
) -> None:
    await dispatcher(memory_server, "--removal-grace=0s")
    mail, bills = (channels.entry(each, sink.url, f"u-{each}") for each in ("mail", "bills"))
    await channels.apply("orders", mail)
    await wait_delivery(channels, **{"u-mail": "True"})
    await channels.apply("orders", mail, bills)
    await wait_delivery(channels, **{"u-mail": "True", "u-bills": "True"})
    await channels.apply("orders", bills)
    await wait_delivery(channels, **{"u-bills": "True"})
    await channels.apply("orders")
    await wait_delivery(channels)


async def test_a_full_server_is_told_on_the_channel_that_it_does_not_take(
    dispatcher: Start, natss_server: StartServer, channels: ChannelsOf
) -> None:
    server = await natss_server(streaming="store_limits { max_channels: 1 }")
    async with DataPlane(server, "filler") as filler:
        await filler.publish("e1")
    process = await dispatcher(server)
    await channels.apply("orders")
    await channels.apply("quiet")

    async def is_refused() -> bool:
        return await process.post_to(channels.namespace, "orders", "e2") == 503

    await eventually(is_refused)
    what = ("channel", "orders", "-n", channels.namespace)
    text = await described(channels.kubernetes, *what, text="ChannelLimitReached")
    assert "max_channels" in text
    labels = f'namespace="{channels.namespace}",channel="orders",result="channel_limit"'
    metric = f"natss_channel_events_total{{{labels}}} "
    assert metric in (metrics := (await process.admin("/metrics"))[1])
    assert f"{metric}0" not in metrics
    assert "ChannelLimitReached" not in await describe(
        channels.kubernetes, "channel", "quiet", "-n", channels.namespace
    )


async def test_refused_credentials_are_told_on_the_provisioner_and_shown_nowhere(
    dispatcher: Start, natss_server: StartServer, kubernetes: KubernetesServer
) -> None:
    server = await natss_server(nats=USERS, streaming=AS_USER)
    url = server.url.replace("nats://", "nats://me:hunter2@")
    process = await dispatcher(server, f"--natss-url={url}")
    what = ("clusterchannelprovisioner", "natss")
    text = await described(kubernetes, *what, text="AuthenticationFailed")
    shown = (await process.admin("/status"))[1]
    metrics = (await process.admin("/metrics"))[1]
    assert 'natss_connect_failures_total{role="publish",reason="authentication"}' in metrics
    assert (await process.status())["dispatcher"]["natsStreaming"].startswith("nats://***@127")
    for page in (text, shown, metrics, process.log.read_text()):
        assert "hunter2" not in page


async def test_a_lost_connection_is_told_and_its_return(
    dispatcher: Start, file_server: NatsStreamingServer, channels: ChannelsOf, sink: Subscriber
) -> None:
    """And no status of a channel is changed by it: that would be a thousand writes."""
    process = await dispatcher(file_server)
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await wait_delivery(channels, u1="True")
    before = await channels.get("orders")
    await file_server.kill()
    what = ("clusterchannelprovisioner", "natss")
    await process.wait_for_log("connection lost", where="publish")
    await process.wait_for_log("connection lost", where="deliver")
    unreachable = f"no NATS server can be reached: {file_server.url}"
    for effect in ("publishers are answered 503", "no event is delivered"):
        await described(channels.kubernetes, *what, text=f"{effect}: {unreachable}")
    await file_server.restart()
    text = await described(channels.kubernetes, *what, text="ConnectionRestored")
    assert "ConnectionLost" in text
    await post(process, channels, "e1")
    await sink.wait_for_events(1)
    assert await channels.get("orders") == before


async def test_what_is_wrong_with_a_channel_is_told_on_it(
    dispatcher: Start, memory_server: NatsStreamingServer, channels: ChannelsOf, sink: Subscriber
) -> None:
    await dispatcher(memory_server)
    document = channels.document("orders", channels.entry("mail", "ftp://me:hunter2@x/", "u1"))
    document["spec"]["arguments"] = {"ackWiat": "5s"}
    channels.kubernetes.create(channels.path, document)
    what = ("channel", "orders", "-n", channels.namespace)
    text = await described(channels.kubernetes, *what, text="ackWiat")
    assert 'did you mean "ackWait"' in text
    events = channels.kubernetes.get(f"/api/v1/namespaces/{channels.namespace}/events")["items"]
    assert {each["reason"] for each in events} == {"Ignored", "Refused"}
    assert not any("hunter2" in each["message"] for each in events)


@pytest.mark.parametrize("length", [64, 253])
async def test_a_channel_with_too_long_a_name_harms_no_other(
    dispatcher: Start,
    memory_server: NatsStreamingServer,
    channels: ChannelsOf,
    sink: Subscriber,
    length: int,
) -> None:
    """Of natss it is told on the channel; of another provisioner it is nobody's business."""
    process = await dispatcher(memory_server)
    ours, theirs = channels.document("a" * length), channels.document("b" * length)
    theirs["spec"]["provisioner"] = {"name": "kafka"}
    for document in (ours, theirs):
        channels.kubernetes.create(channels.path, document)
    events = f"/api/v1/namespaces/{channels.namespace}/events"
    told: list[dict[str, Any]] = []

    async def is_told() -> bool:
        told[:] = (await asyncio.to_thread(channels.kubernetes.get, events))["items"]
        return bool(told)

    await eventually(is_told, 20)
    await channels.apply("orders", channels.entry("mail", sink.url, "u1"))
    await wait_delivery(channels, u1="True")
    await post(process, channels, "e1")
    await sink.wait_for_events(1)
    assert [(each["involvedObject"]["name"], each["reason"]) for each in told] == [
        ("a" * length, "Refused")
    ]
    assert f"has {length} characters; at most 63 between two dots" in told[0]["message"]
    assert process.is_running


async def test_both_programs_together_call_a_channel_ready_and_tell_a_mistake_once(
    dispatcher: Start, memory_server: NatsStreamingServer, channels: ChannelsOf, tmp_path: Path
) -> None:
    """The controller knows by the host that is told; and both read ``spec.arguments``."""
    kubernetes = channels.kubernetes
    controller = ProvisionerProcess(kubernetes, tmp_path / "controller.log")
    await dispatcher(memory_server)
    try:
        await asyncio.to_thread(controller.start)
        document = channels.document("orders")
        document["spec"]["arguments"] = {"ackWiat": "5s"}
        kubernetes.create(channels.path, document)
        events = f"/api/v1/namespaces/{channels.namespace}/events"
        told: list[dict[str, Any]] = []

        async def is_told() -> bool:
            items = (await asyncio.to_thread(kubernetes.get, events))["items"]
            told[:] = [each for each in items if each["reason"] in {"Ignored", "Ready"}]
            return {each["reason"]: each["count"] for each in told} == {"Ignored": 2, "Ready": 1}

        await eventually(is_told, 25)
        assert len(told) == 2
        conditions = ((await channels.get("orders")) or {})["status"]["conditions"]
        assert {each["status"] for each in conditions if each["type"] == "Ready"} == {"True"}
    finally:
        await asyncio.to_thread(controller.stop)
