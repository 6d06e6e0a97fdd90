"""What a publisher is answered, byte for byte, on a transport that the test plays."""

import base64
import json
from typing import Any

import pytest

from dispatcher.ingress.routing import Router
from dispatcher.stores.interface import EventTooLarge, NotStored
from natss import nats_streaming
from tests.support.fakes import run_callbacks
from tests.support.publishers import AWAY, HOST, OTHER_HOST, Publisher, post, read_answers
from tests.support.repository import GOLDEN_FOLDER

GOLDEN = json.loads((GOLDEN_FOLDER / "go-v0.6.0.json").read_text("utf-8"))


async def test_202_comes_only_after_the_event_is_stored() -> None:
    publisher = Publisher()
    assert publisher.send(post(b"hello", "Ce-Id: 1")) == []
    await run_callbacks()
    assert publisher.answers() == []
    (answer,) = await publisher.store(0)
    assert answer.status == 202
    assert answer.body == ""
    assert answer.headers.keys() == {"date", "content-length"}
    assert not publisher.transport.is_closing()


async def test_an_event_that_is_stored_at_once_is_answered_at_once() -> None:
    publisher = Publisher(instant=True)
    assert [answer.status for answer in publisher.send(post(b"hello"))] == [202]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: str(case["name"]))
async def test_events_are_stored_as_go_stored_them(case: dict[str, Any]) -> None:
    request = case["request"]
    body = base64.b64decode(request["body_base64"])
    publisher = Publisher(instant=True)
    names = [f"{name}: {value}" for name, value in request["headers"]]
    (answer,) = publisher.send(post(body, *names))
    assert answer.status == case["status"]
    recorded = case["stored"]["data"].replace(request["host"], HOST)
    assert publisher.stored == [recorded.encode("utf-8")]


@pytest.mark.parametrize(
    "host",
    [HOST, f"{HOST}:80", HOST.upper(), f"{HOST}.", OTHER_HOST, f"{OTHER_HOST}:31380", f" {HOST}\t"],
)
async def test_the_host_decides_the_channel(host: str) -> None:
    publisher = Publisher(instant=True)
    (answer,) = publisher.send(post(b"{}", host=host))
    assert answer.status == 202
    assert len(publisher.stored) == 1
    assert json.loads(publisher.stored[0])["headers"]["ce-knativehistory"] == host.strip()


async def test_an_unknown_host_is_404_and_says_so() -> None:
    publisher = Publisher(instant=True)
    (answer,) = publisher.send(post(b"{}", host="nowhere.test:80"))
    assert answer.status == 404
    assert answer.body == (
        "no channel has the host nowhere.test: the Host header must name one, as"
        " NAME.NAMESPACE.channels.cluster.local\n"
    )
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert publisher.sink.calls == []
    assert publisher.metrics.unknown_hosts == 1
    # Kyma repeats a 404 at once: the connection is as good as before.
    assert [answer.status for answer in publisher.send(post(b"{}"))] == [202]


async def test_before_the_channels_are_known_no_host_is_called_unknown() -> None:
    """A publisher takes 404 for the last word; a dispatcher that has just started cannot say it."""
    publisher = Publisher(instant=True)
    table = publisher.context.channels.table
    publisher.context.channels = Router()
    (answer,) = publisher.send(post(b"{}"))
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert "just started" in answer.body
    assert publisher.metrics.unknown_hosts == 0
    publisher.context.channels.swap(table)
    assert [answer.status for answer in publisher.send(post(b"{}"))] == [202]


async def test_a_host_of_two_channels_is_409_and_all_others_are_served() -> None:
    publisher = Publisher(instant=True)
    (answer,) = publisher.send(post(b"{}", host="both.test"))
    assert answer.status == 409
    assert answer.body == (
        "the host both.test is claimed by the channels default/a and default/b; "
        "only one may have it\n"
    )
    assert publisher.sink.calls == []
    assert publisher.metrics.refused[409] == 1
    for host, subject in (("a.test", "a.default"), ("b.test", "b.default")):
        assert [answer.status for answer in publisher.send(post(b"{}", host=host))] == [202]
        assert publisher.sink.calls.pop()[0] == subject


async def test_a_table_that_changes_holds_for_the_next_request() -> None:
    publisher = Publisher(instant=True)
    publisher.send(post(b"{}"))
    publisher.context.channels.swap(type(publisher.context.channels.table)({}))
    assert [answer.status for answer in publisher.send(post(b"{}"))] == [404]


def request_line(line: str) -> bytes:
    return f"{line} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\n{{}}".encode()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("POST /", 202),
        ("POST /?a=b", 202),
        ("POST /events", 404),
        ("POST //", 404),
        ("POST /default/orders", 404),
        ("POST *", 404),
        ("GET /healthz", 404),
        ("OPTIONS /x", 404),
        ("GET /", 405),
        ("PUT /", 405),
        ("DELETE /", 405),
        ("PATCH /", 405),
        ("OPTIONS /", 200),
        ("OPTIONS *", 200),
    ],
)
async def test_path_and_method(line: str, status: int) -> None:
    publisher = Publisher(instant=True)
    answers = publisher.send(request_line(line) + post(b"next"))
    assert [answer.status for answer in answers] == [status, 202]  # the body was read
    if status in {200, 405}:
        assert answers[0].headers["allow"] == "POST, OPTIONS"
    assert len(publisher.sink.calls) == (2 if status == 202 else 1)


async def test_options_answers_the_handshake_of_a_web_hook() -> None:
    (answer,) = Publisher().send(request_line("OPTIONS /"))
    assert answer.headers["webhook-allowed-origin"] == "*"
    assert answer.headers["webhook-allowed-rate"] == "*"


async def test_head_is_405_without_a_body() -> None:
    publisher = Publisher(instant=True)
    head = f"HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    publisher.transport.receive(head)
    (answer,) = read_answers(publisher.transport.take_output(), to_head=True)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST, OPTIONS"
    assert int(answer.headers["content-length"]) > 0
    assert [answer.status for answer in publisher.send(post(b"next"))] == [202]


async def test_head_has_no_body_either_if_it_is_malformed() -> None:
    publisher = Publisher(instant=True)
    publisher.transport.receive(b"HEAD / HTTP/1.1\r\n\r\n")
    (answer,) = read_answers(publisher.transport.take_output(), to_head=True)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("method", "line_host", "status"),
    [("POST", HOST, 202), ("POST", f"{HOST}:80", 202), ("POST", "x.test", 404), ("GET", HOST, 405)],
)
async def test_the_host_of_an_absolute_target_counts(
    method: str, line_host: str, status: int
) -> None:
    publisher = Publisher(instant=True)
    data = f"{method} http://{line_host}/ HTTP/1.1\r\nHost: ignored.test\r\n\r\n".encode()
    assert [answer.status for answer in publisher.send(data)] == [status]


# --- what the store says --------------------------------------------------------------------------

REFUSED = NotStored("refused", "invalid subject", retriable=False)
TOO_LARGE = EventTooLarge(5000, 4096)


@pytest.mark.parametrize("at_once", [True, False], ids=["raised", "by the future"])
@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (AWAY, 503, "not stored, send it again: NATS Streaming cannot be reached: refused\n"),
        (REFUSED, 500, "not stored: invalid subject\n"),
        (TOO_LARGE, 413, f"{TOO_LARGE}\n"),
    ],
    ids=["away", "refused", "too large"],
)
async def test_an_event_that_is_not_stored(
    error: NotStored, status: int, text: str, at_once: bool
) -> None:
    publisher = Publisher()
    if at_once:
        publisher.sink.error = error
        (answer,) = publisher.send(post(b"hello"))
        publisher.sink.error = None
    else:
        publisher.send(post(b"hello"))
        (answer,) = await publisher.store(0, error)
    assert answer.status == status
    assert answer.body == text
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    assert publisher.orders.results[error.reason] == 1
    assert publisher.orders.results["stored"] == 0
    # The next event may fare better, on the same connection.
    publisher.send(post(b"hello"))
    assert [answer.status for answer in await publisher.store(-1)] == [202]


async def test_whatever_the_reason_it_is_one_line() -> None:
    publisher = Publisher()
    publisher.sink.error = NotStored("error", "two\r\nlines: \xe4", retriable=False)
    (answer,) = publisher.send(post(b"hello"))
    assert answer.body == "not stored: two  lines: \xe4\n"


async def test_errors_of_the_client_library_are_understood() -> None:
    publisher = Publisher()
    publisher.send(post(b"hello") * 2)
    (answer,) = await publisher.store(0, nats_streaming.MessageTooLarge(5000, 4096))
    assert answer.status == 413
    (answer,) = await publisher.store(1, nats_streaming.NotConnected())
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"


async def test_a_publish_that_is_given_up_is_503() -> None:
    publisher = Publisher()
    publisher.send(post(b"hello"))
    publisher.sink.futures[0].cancel()
    await run_callbacks()
    assert [answer.status for answer in publisher.answers()] == [503]


async def test_a_broken_store_is_500_and_the_server_goes_on() -> None:
    publisher = Publisher(instant=True)
    publisher.sink.error = RuntimeError("secret detail")
    (answer,) = publisher.send(post(b"hello"))
    assert answer.status == 500
    assert "secret" not in answer.body
    publisher.sink.error = None
    assert [answer.status for answer in publisher.send(post(b"hello"))] == [202]


async def test_results_and_times_are_counted() -> None:
    publisher = Publisher()
    publisher.send(post(b"a") + post(b"b"))
    publisher.clock.advance(0.03)
    await publisher.store(0)
    publisher.clock.advance(0.2)
    await publisher.store(1)
    assert publisher.orders.results["stored"] == 2
    assert publisher.orders.seconds.total == pytest.approx(0.03 + 0.23)
    assert sum(publisher.orders.seconds.counts) == 2
