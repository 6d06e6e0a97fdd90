"""A body is stored whole or refused: nothing of an event is lost unseen. On a played transport."""

import base64
import json

import pytest

from tests.support.publishers import HOST, Publisher, payload, post, post_chunked


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
    assert publisher.sink.calls == []
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
    assert publisher.sink.calls == []
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
