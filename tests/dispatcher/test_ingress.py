"""What a publisher is answered, byte for byte, on a transport that the test plays."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import nats_streaming
from dispatcher.broker import EventTooLarge, NotStored
from dispatcher.channels import Channels
from tests.fakes import run_callbacks
from tests.publishers import HOST, OTHER_HOST, Publisher, post, post_chunked, read_answers

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "go-v0.6.0.json").read_text("utf-8"))


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
    assert publisher.publish.calls == []
    assert publisher.metrics.unknown_hosts == 1
    # Kyma repeats a 404 at once: the connection is as good as before.
    assert [answer.status for answer in publisher.send(post(b"{}"))] == [202]


async def test_before_the_channels_are_known_no_host_is_called_unknown() -> None:
    """A publisher takes 404 for the last word; a dispatcher that has just started cannot say it."""
    publisher = Publisher(instant=True)
    table = publisher.context.channels.table
    publisher.context.channels = Channels()
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
    assert publisher.publish.calls == []
    assert publisher.metrics.refused[409] == 1
    for host, subject in (("a.test", "a.default"), ("b.test", "b.default")):
        assert [answer.status for answer in publisher.send(post(b"{}", host=host))] == [202]
        assert publisher.publish.calls.pop()[0] == subject


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
    assert len(publisher.publish.calls) == (2 if status == 202 else 1)


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

AWAY = NotStored("unavailable", "NATS Streaming cannot be reached: refused", retriable=True)
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
        publisher.publish.error = error
        (answer,) = publisher.send(post(b"hello"))
        publisher.publish.error = None
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
    publisher.publish.error = NotStored("error", "two\r\nlines: \xe4", retriable=False)
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
    publisher.publish.futures[0].cancel()
    await run_callbacks()
    assert [answer.status for answer in publisher.answers()] == [503]


async def test_a_broken_store_is_500_and_the_server_goes_on() -> None:
    publisher = Publisher(instant=True)
    publisher.publish.error = RuntimeError("secret detail")
    (answer,) = publisher.send(post(b"hello"))
    assert answer.status == 500
    assert "secret" not in answer.body
    publisher.publish.error = None
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


# --- bodies ---------------------------------------------------------------------------------------


def payload(stored: bytes) -> bytes:
    return base64.b64decode(json.loads(stored)["payload"])


async def test_a_chunked_body_is_one_event() -> None:
    publisher = Publisher(instant=True)
    (answer,) = publisher.send(post_chunked(b"he", b"l", b"lo"))
    assert answer.status == 202
    assert payload(publisher.stored[0]) == b"hello"


async def test_trailers_are_no_headers_of_this_event_or_the_next() -> None:
    publisher = Publisher(instant=True)
    trailers = b"Ce-Evil: 1\r\nHost: both.test\r\n"
    answers = publisher.send(post_chunked(b"x", trailers=trailers) + post(b"y", "Ce-Id: 2"))
    assert [answer.status for answer in answers] == [202, 202]
    first, second = (json.loads(stored)["headers"] for stored in publisher.stored)
    assert first == {"ce-knativehistory": HOST}
    assert second == {"Ce-Id": "2", "ce-knativehistory": HOST}


async def test_a_body_in_many_pieces_is_one_event() -> None:
    publisher = Publisher(instant=True)
    request = post(bytes(range(256)) * 8)
    for index in range(len(request) - 1):
        assert publisher.send(request[index : index + 1]) == []
    assert [answer.status for answer in publisher.send(request[-1:])] == [202]
    assert payload(publisher.stored[0]) == bytes(range(256)) * 8


async def test_a_post_without_any_length_has_no_body() -> None:
    publisher = Publisher(instant=True)
    (answer,) = publisher.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nCe-Id: 1\r\n\r\n".encode())
    assert answer.status == 202
    assert "payload" not in json.loads(publisher.stored[0])


# --- connections ----------------------------------------------------------------------------------


async def test_a_publisher_that_says_close_gets_close() -> None:
    publisher = Publisher()
    publisher.send(post(b"hello", "Connection: close"))
    assert not publisher.transport.is_closing()
    (answer,) = await publisher.store(0)
    assert answer.status == 202
    assert answer.headers["connection"] == "close"
    assert publisher.transport.is_closing()
    assert not publisher.transport.aborted


async def test_http_10_is_answered_and_closed() -> None:
    publisher = Publisher(instant=True)
    request = post(b"hello").replace(b"HTTP/1.1", b"HTTP/1.0")
    (answer,) = publisher.send(request)
    assert answer.status == 202
    assert answer.headers["connection"] == "close"
    assert publisher.transport.is_closing()


async def test_http_10_may_ask_for_keep_alive() -> None:
    publisher = Publisher(instant=True)
    request = post(b"hello", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    for _ in range(2):
        (answer,) = publisher.send(request)
        assert answer.status == 202
        assert answer.headers["connection"] == "keep-alive"
    unknown = request.replace(HOST.encode(), b"nowhere.test")
    (answer,) = publisher.send(unknown)
    assert (answer.status, answer.headers["connection"]) == (404, "keep-alive")
    assert not publisher.transport.is_closing()


async def test_a_half_closed_publisher_still_gets_its_answers() -> None:
    publisher = Publisher()
    publisher.send(post(b"a") + post(b"b") + post(b"cut off")[:-3])
    publisher.transport.receive_eof()
    assert not publisher.transport.is_closing()
    assert [answer.status for answer in await publisher.store(1)] == []
    assert [answer.status for answer in await publisher.store(0)] == [202, 202]
    assert publisher.transport.is_closing()
    assert len(publisher.stored) == 2


async def test_a_publisher_that_leaves_in_the_middle_stores_nothing() -> None:
    publisher = Publisher(instant=True)
    publisher.send(post(b"hello")[:-1])
    publisher.transport.receive_eof()
    assert publisher.transport.is_closing()
    assert publisher.stored == []
    assert publisher.context.budget.used == 0


async def test_a_publisher_that_leaves_before_its_answer_harms_nothing() -> None:
    publisher = Publisher()
    publisher.send(post(b"a") + post(b"b"))
    publisher.transport.lose(ConnectionResetError())
    assert await publisher.store(0) == []
    assert await publisher.store(1, AWAY) == []
    assert publisher.orders.results["stored"] == 1
    assert publisher.orders.results["unavailable"] == 1
    assert publisher.context.connections == set()


async def test_the_date_is_that_of_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = Publisher(instant=True)
    monkeypatch.setattr("time.time", lambda: 784111777.0)
    publisher.context.tick()
    (answer,) = publisher.send(post())
    assert answer.headers["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110, 5.6.7
    monkeypatch.setattr("time.time", lambda: 784111778.9)
    publisher.context.tick()
    (answer,) = publisher.send(post())
    assert answer.headers["date"] == "Sun, 06 Nov 1994 08:49:38 GMT"


# --- Expect ---------------------------------------------------------------------------------------


def expecting(body: bytes, expectation: str = "100-continue") -> tuple[bytes, bytes]:
    request = post(body, f"Expect: {expectation}")
    return request[: len(request) - len(body)], body


async def test_continue_is_said_before_the_body() -> None:
    publisher = Publisher(instant=True)
    head, body = expecting(b"hello", "100-Continue")
    assert [answer.status for answer in publisher.send(head)] == [100]
    assert [answer.status for answer in publisher.send(body)] == [202]
    assert payload(publisher.stored[0]) == b"hello"


async def test_continue_is_not_said_when_the_body_has_come() -> None:
    publisher = Publisher(instant=True)
    head, body = expecting(b"hello")
    assert [answer.status for answer in publisher.send(head + body[:1])] == []
    assert [answer.status for answer in publisher.send(body[1:])] == [202]


async def test_continue_waits_for_the_answers_before_it() -> None:
    publisher = Publisher()
    head, body = expecting(b"hello")
    assert publisher.send(post(b"first") + head) == []
    assert [answer.status for answer in await publisher.store(0)] == [202, 100]
    publisher.send(body)
    assert [answer.status for answer in await publisher.store(1)] == [202]


async def test_continue_follows_an_answer_of_the_same_moment() -> None:
    publisher = Publisher(instant=True)
    head, body = expecting(b"hello")
    assert [answer.status for answer in publisher.send(post(b"first") + head)] == [202, 100]
    assert [answer.status for answer in publisher.send(body)] == [202]


async def test_http_10_is_not_told_to_continue() -> None:
    publisher = Publisher(instant=True)
    head, body = expecting(b"hello")
    assert publisher.send(head.replace(b"HTTP/1.1", b"HTTP/1.0")) == []
    assert [answer.status for answer in publisher.send(body)] == [202]


async def test_continue_is_not_said_where_no_body_follows() -> None:
    publisher = Publisher(instant=True)
    assert [answer.status for answer in publisher.send(expecting(b"")[0])] == [202]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (expecting(b"x")[0].replace(HOST.encode(), b"nowhere.test"), 404),
        (expecting(b"x")[0].replace(b"POST / ", b"PUT / "), 405),
        (expecting(b"x" * 100_000)[0], 413),
        (expecting(b"x", "chocolate")[0], 417),
    ],
)
async def test_what_is_refused_is_not_told_to_continue(data: bytes, status: int) -> None:
    publisher = Publisher(instant=True)
    (answer,) = publisher.send(data)
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert publisher.transport.sent_eof


# --- other protocols ------------------------------------------------------------------------------

UPGRADE = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ"


@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_a_request_for_an_upgrade_is_a_request(step: int) -> None:
    publisher = Publisher(instant=True)
    requests = [
        post(b"first", UPGRADE),
        post_chunked(b"sec", b"ond", headers=UPGRADE + "\r\n"),
        post(b"third", "Connection: upgrade", "Upgrade: websocket"),
        post(b"", UPGRADE),
        post(b"last"),
    ]
    data = b"".join(requests)
    answers = []
    for start in range(0, len(data), step):
        answers += publisher.send(data[start : start + step])
    assert [answer.status for answer in answers] == [202] * 5
    bodies = [json.loads(stored).get("payload", "") for stored in publisher.stored]
    assert [base64.b64decode(body) for body in bodies] == [
        b"first",
        b"second",
        b"third",
        b"",
        b"last",
    ]


async def test_an_upgrade_does_not_undo_close() -> None:
    publisher = Publisher(instant=True)
    (answer,) = publisher.send(post(b"x", "Connection: upgrade, close", "Upgrade: h2c"))
    assert answer.headers["connection"] == "close"
    assert publisher.transport.is_closing()


async def test_connect_is_405_and_what_follows_is_not_read() -> None:
    publisher = Publisher(instant=True)
    connect = f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    (answer,) = publisher.send(connect + post(b"smuggled"))
    assert answer.status == 405
    assert answer.headers["connection"] == "close"
    assert publisher.stored == []


# --- what could be lost of an event ---------------------------------------------------------------


def without_length(version: str, *headers: str) -> bytes:
    lines = [f"POST / HTTP/{version}", f"Host: {HOST}", "Ce-Id: 1", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize(
    "head",
    [
        without_length("1.0"),
        without_length("1.0", "Connection: close"),
        without_length("1.0", "Connection: keep-alive"),
        without_length("1.1", "Connection: close"),
        without_length("1.1", "Connection: x-other, Close"),
        without_length("1.1", "Connection: close", "Expect: 100-continue"),
    ],
)
@pytest.mark.parametrize("body", [b"", b'{"the": "event"}', b"POST / HTTP/1.1\r\n"])
async def test_a_body_that_may_go_on_until_the_end_is_411(head: bytes, body: bytes) -> None:
    publisher = Publisher(instant=True)
    (answer,) = publisher.send(head + body)
    assert answer.status == 411
    assert answer.headers["connection"] == "close"
    assert "send Content-Length, 0 for an event without data" in answer.body
    assert publisher.publish.calls == []
    assert publisher.transport.sent_eof
    assert publisher.metrics.refused[411] == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        without_length("1.1"),  # as curl -X POST sends it; there is no body (RFC 9112, 6.3)
        without_length("1.1", "Connection: keep-alive"),
        without_length("1.1", "Content-Length: 0"),
        without_length("1.1", "Content-Length: 0", "Connection: close"),
        without_length("1.0", "Content-Length: 0"),
        post_chunked(headers="Connection: close\r\n"),
    ],
)
async def test_an_event_without_data_is_stored(request_bytes: bytes) -> None:
    publisher = Publisher(instant=True)
    assert [answer.status for answer in publisher.send(request_bytes)] == [202]
    assert "payload" not in json.loads(publisher.stored[0])


async def test_a_wrong_path_or_method_is_told_before_a_missing_length() -> None:
    for line, status in (("POST /x", 404), ("GET /", 405), ("GET /x", 404)):
        publisher = Publisher(instant=True)
        head = without_length("1.1", "Connection: close").replace(b"POST /", line.encode())
        assert [answer.status for answer in publisher.send(head)] == [status]


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Encoding: gzip"],
        ["content-encoding: GZIP"],
        ["Content-Encoding: x-gzip"],
        ["Content-Encoding: deflate"],
        ["Content-Encoding: br"],
        ["Content-Encoding: \t zstd"],
        ["Content-Encoding: gzip, identity"],
        ["Content-Encoding: identity,gzip"],
        ["Content-Encoding: identity", "Content-Encoding: gzip"],
        ["Content-Encoding: no-such-thing"],
        ["Content-Encoding: gzip", "Connection: close"],
    ],
)
async def test_a_content_coding_is_415_and_never_lost(headers: list[str]) -> None:
    publisher = Publisher(instant=True)
    (answer,) = publisher.send(post(b"\x1f\x8bcoded", *headers))
    assert answer.status == 415
    assert answer.headers["accept-encoding"] == "identity"
    assert "leave out Content-Encoding" in answer.body
    assert publisher.publish.calls == []
    assert publisher.metrics.refused[415] == 1
    if "connection" not in answer.headers:
        assert [answer.status for answer in publisher.send(post(b"next"))] == [202]


async def test_a_content_coding_of_chunks_is_415_too() -> None:
    publisher = Publisher(instant=True)
    data = post_chunked(b"\x1f\x8b", b"coded", headers="Content-Encoding: gzip\r\n")
    assert [a.status for a in publisher.send(data + post(b"next"))] == [415, 202]


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Encoding: identity"],
        ["Content-Encoding: Identity, IDENTITY"],
        ["Content-Encoding:"],
        ["Content-Encoding: ,identity ,"],
        ["Content-Encoding: identity", "Content-Encoding: identity", "Connection: close"],
        ["Ce-Datacontentencoding: base64"],
    ],
)
async def test_what_is_no_coding_is_stored(headers: list[str]) -> None:
    publisher = Publisher(instant=True)
    assert [answer.status for answer in publisher.send(post(b"as it is", *headers))] == [202]
    stored = json.loads(publisher.stored[0])
    assert base64.b64decode(stored["payload"]) == b"as it is"
    assert "Content-Encoding" not in stored["headers"]
