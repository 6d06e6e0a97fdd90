"""How long a connection of a publisher lives, and what else than events is said on it."""

import base64
import json

import pytest

from tests.support.publishers import AWAY, HOST, Publisher, payload, post, post_chunked


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
