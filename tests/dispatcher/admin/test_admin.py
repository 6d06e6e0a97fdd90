"""The admin server over real sockets, also with a busy loop and much to show."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from html.parser import HTMLParser
from typing import Any

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.admin import page
from dispatcher.admin.readiness import Readiness
from dispatcher.admin.server import Admin
from dispatcher.admin.status import Described
from dispatcher.runtime.metrics import Metrics
from natss.contract.resources import ResourceName, Subscriber
from tests.support.channel_ids import channel_id

Get = Callable[..., Awaitable[tuple[aiohttp.ClientResponse, str]]]

STATUS: dict[str, object] = {
    "connections": {"publish": {"open": True, "lastError": None}},
    "problems": ["Channel default/orders: spec.arguments.retry: must be a number"],
    "channels": [
        {
            "namespace": "default",
            "name": "orders",
            "state": "serving",
            "hosts": ["orders.default.channels.cluster.local"],
            "published": {"stored": 12},
            "subscriptions": [
                {"subscription": "default/mail", "state": "failing", "inFlight": 3,
                 "lastSequence": 4711, "subscriber": "http://mail.default.svc/", "uid": "uid-1",
                 "lastError": "status 503", "lastErrorAt": "2026-01-01T00:00:00Z"},
            ],
        },
    ],
}  # fmt: skip


class Dispatcher:
    """What an admin server is told."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.reasons: list[str] = []
        self.warnings: list[str] = []
        self.document: dict[str, object] = STATUS
        self.admin = Admin(
            lambda: Readiness(self.reasons, self.warnings), lambda: self.document, self.metrics
        )


@pytest.fixture
async def dispatcher() -> AsyncIterator[Dispatcher]:
    made = Dispatcher()
    yield made
    await made.admin.close()


@pytest.fixture
async def get(dispatcher: Dispatcher) -> AsyncIterator[Get]:
    port = await dispatcher.admin.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def get(
            path: str, method: str = "GET", **headers: str
        ) -> tuple[aiohttp.ClientResponse, str]:
            async with session.request(method, path, headers=headers) as response:
                return response, await response.text()

        yield get


# --- answers --------------------------------------------------------------------------------------


async def test_healthz_answers(get: Get) -> None:
    response, text = await get("/healthz")
    assert (response.status, text) == (200, "ok\n")


async def test_readyz_says_why_not(get: Get, dispatcher: Dispatcher) -> None:
    response, text = await get("/readyz")
    assert (response.status, text) == (200, '{"ready":true,"reasons":[],"warnings":[]}\n')
    dispatcher.reasons = ["no channels loaded", 'NATS "away"']
    response, _ = await get("/readyz")
    assert response.status == 503
    assert await response.json() == {
        "ready": False,
        "reasons": ["no channels loaded", 'NATS "away"'],
        "warnings": [],
    }


async def test_readyz_warns_of_what_is_no_reason_to_leave(get: Get, dispatcher: Dispatcher) -> None:
    dispatcher.warnings = ["no event is delivered: NATS is <away>"]
    response, _ = await get("/readyz")
    assert response.status == 200
    assert await response.json() == {
        "ready": True,
        "reasons": [],
        "warnings": ["no event is delivered: NATS is <away>"],
    }
    _, text = await get("/")
    assert "<li>no event is delivered: NATS is &lt;away&gt;</li>" in text


async def test_metrics_are_text_for_prometheus(get: Get, dispatcher: Dispatcher) -> None:
    dispatcher.metrics.channel(channel_id("default", "orders")).results["stored"] += 5
    response, text = await get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(text)}
    values = {of.labels["result"]: of.value for of in families["natss_channel_events"].samples}
    assert values["stored"] == 5


async def test_status_is_json_and_pretty_on_demand(get: Get) -> None:
    response, text = await get("/status")
    assert response.headers["Content-Type"] == "application/json"
    assert await response.json() == STATUS
    assert text.count("\n") == 1
    response, text = await get("/status?pretty")
    assert await response.json() == STATUS
    assert '\n  "channels": [\n' in text


async def test_the_page_shows_links_channels_and_subscriptions(
    get: Get, dispatcher: Dispatcher
) -> None:
    dispatcher.reasons = ["NATS Streaming was not reached yet"]
    response, text = await get("/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page(text)
    assert page.links == ["/healthz", "/readyz", "/metrics", "/status?pretty"]
    for shown in (
        "default/orders", "orders.default.channels.cluster.local", "stored 12", "default/mail",
        "failing", "3", "4711", "http://mail.default.svc/", "status 503", "Channels (1)",
        "NATS Streaming was not reached yet",
        "Channel default/orders: spec.arguments.retry: must be a number",
    ):  # fmt: skip
        assert any(shown in piece for piece in page.text), shown


@pytest.mark.parametrize("path", ["/nothing", "/status/x", "/healthz/", "/metrics.json"])
async def test_unknown_paths_are_not_found(get: Get, path: str) -> None:
    response, _ = await get(path)
    assert response.status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed(get: Get, method: str) -> None:
    for path in ("/", "/healthz", "/readyz", "/metrics", "/status"):
        response, _ = await get(path, method)
        assert response.status == 405


async def test_every_path_answers_head_without_a_body(get: Get) -> None:
    for path in ("/", "/healthz", "/readyz", "/metrics", "/status"):
        response, text = await get(path, "HEAD")
        assert (response.status, text) == (200, "")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_answers_are_compressed_for_those_who_ask(get: Get, encoding: str) -> None:
    for path in ("/", "/metrics", "/status"):
        plain, plain_text = await get(path, **{"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        response, text = await get(path, **{"Accept-Encoding": encoding})
        assert response.headers["Content-Encoding"] == encoding
        assert text.count("\n") == plain_text.count("\n")


async def test_answers_tell_no_version_and_are_not_kept(get: Get) -> None:
    response, _ = await get("/")
    assert response.headers["Server"] == "natss-dispatcher"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_a_broken_status_is_answered_and_harms_nothing_else(
    get: Get, dispatcher: Dispatcher
) -> None:
    dispatcher.document = {"channels": [None, 7, {"subscriptions": [None, {"state": ["x"]}]}, {}]}
    for path in ("/", "/status"):
        response, _ = await get(path)
        assert response.status == 200
    dispatcher.document = {"odd": {1, 2}, "none": object(), "channels": "no list"}
    for path in ("/", "/status"):
        response, _ = await get(path)
        assert response.status == 200
    response, _ = await get("/healthz")
    assert response.status == 200


async def test_closing_is_possible_at_any_time_and_frees_the_port(dispatcher: Dispatcher) -> None:
    await dispatcher.admin.close()
    other = Dispatcher()
    port = await other.admin.start("127.0.0.1", 0)
    taken = Dispatcher()
    with pytest.raises(OSError, match=str(port)):
        await taken.admin.start("127.0.0.1", port)
    await taken.admin.close()
    await other.admin.close()
    await other.admin.close()
    again = Dispatcher()
    assert await again.admin.start("127.0.0.1", port) == port
    await again.admin.close()


# --- the page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Text, links and elements of a page, as a browser would find them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text: list[str] = []
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_everything_on_the_page_is_escaped() -> None:
    attack = "\"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;'"
    subscription = dict.fromkeys(
        ("subscription", "state", "durableState", "lastSequence", "subscriber", "lastError"), attack
    )
    channel = {
        "namespace": attack, "name": attack, "state": attack, "hosts": [attack],
        "published": {attack: attack}, "subscriptions": [subscription, {"state": [attack]}],
    }  # fmt: skip
    document: dict[str, object] = {
        attack: attack,
        "problems": [attack, {attack: attack}],
        "connections": {attack: {attack: attack}},
        "channels": [channel],
    }
    shown = Page("".join(page.parts(document, Readiness([attack], [attack]))))
    assert set(shown.elements) == {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "a",
        "table", "tr", "th", "td", "span",
    }  # fmt: skip
    assert shown.attributes <= {
        "lang", "charset", "http-equiv", "content", "href", "class", "colspan",
    }  # fmt: skip
    assert shown.links == ["/healthz", "/readyz", "/metrics", "/status?pretty"]
    assert shown.text.count(attack) >= 8


def test_a_page_of_nothing_says_so() -> None:
    shown = Page("".join(page.parts({"channels": [], "problems": []}, Readiness())))
    assert "There are none." in shown.text
    assert "Ready." in shown.text
    assert "Problems" not in shown.text


# --- under load -----------------------------------------------------------------------------------


def _fill(dispatcher: Dispatcher) -> None:
    """Add 1,000 channels with three subscriptions each."""
    channels: list[object] = []
    for number in range(1000):
        name = channel_id("default", f"channel-{number}")
        dispatcher.metrics.channel(name)
        subscriptions: list[object] = []
        for index in range(3):
            ref = ResourceName("default", f"subscription-{number}-{index}")
            dispatcher.metrics.subscription(name, Subscriber(ref)).attempt("202", 0.01)
            subscriptions.append(
                {"subscription": str(ref), "state": "active", "inFlight": 0, "settled": number,
                 "subscriber": f"http://subscriber-{index}.default.svc.cluster.local:8080/path"}
            )  # fmt: skip
        channels.append(
            {"namespace": "default", "name": name.name, "hosts": ["h"], "state": "serving",
             "subscriptions": subscriptions}
        )  # fmt: skip
    dispatcher.document = {"channels": channels}


class LoopWatch:
    """Counts the turns of the event loop and the processor time of its longest one."""

    def __init__(self) -> None:
        self.turns = 0
        self.longest = 0.0
        self._before = time.thread_time()  # what other processes take does not count
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._before)
        self._before = now
        self.turns += 1
        self._handle = self._loop.call_soon(self._turn)

    def stop(self) -> None:
        self._handle.cancel()


@pytest.mark.parametrize("path", ["/", "/metrics", "/status", "/status?pretty"])
async def test_a_large_answer_does_not_hold_up_the_loop(
    get: Get, dispatcher: Dispatcher, path: str
) -> None:
    _fill(dispatcher)
    gc.disable()  # it would walk through what all other tests have left
    try:
        watch = LoopWatch()
        response, text = await get(path, **{"Accept-Encoding": "gzip"})
        watch.stop()
    finally:
        gc.enable()
    assert response.status == 200
    assert len(text) > 500_000
    assert watch.longest < 0.1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/status", "/"])
async def test_a_busy_loop_is_answered_within_a_second(
    get: Get, dispatcher: Dispatcher, path: str
) -> None:
    """An answer takes few turns of the loop: at 10 ms a turn it is there within a second."""
    watch = LoopWatch()
    response, _ = await get(path, **{"Accept-Encoding": "identity"})
    watch.stop()
    assert response.status == 200
    assert watch.turns < 50


@pytest.mark.parametrize("numbers", [(), (1,), (1, 2)])
async def test_status_asks_for_parts_that_are_made_one_by_one(
    get: Get, dispatcher: Dispatcher, numbers: tuple[int, ...]
) -> None:
    def part(number: int) -> dict[str, object]:
        return {"number": number}

    dispatcher.document = {"channels": Described([partial(part, n) for n in numbers])}
    _, text = await get("/status")
    assert orjson.loads(text) == {"channels": [part(number) for number in numbers]}
    _, text = await get("/")
    assert f"Channels ({len(numbers)})" in text


@pytest.mark.parametrize("query", ["", "?pretty"])
@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": [], "b": ()},
        {"a": {}, "b": None, "c": "x\ny", "d": 1.5},
        {"list": [1, {"deep": [{"er": "a\nb"}, []]}, "x", []], "after": {"x": {"y": [1]}}},
        {"lists": [[1], [2, [3]]], "tuple": (1, 2)},
    ],
)
async def test_status_in_parts_is_the_same_json(
    get: Get, dispatcher: Dispatcher, document: dict[str, Any], query: str
) -> None:
    dispatcher.document = document
    _, text = await get(f"/status{query}")
    option = orjson.OPT_INDENT_2 if query else 0
    assert text == orjson.dumps(document, option=option).decode() + "\n"
