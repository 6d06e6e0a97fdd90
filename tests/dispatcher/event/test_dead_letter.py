"""Events for the dead letter sink, judged by the CloudEvents SDK."""

import base64
import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_binary_event,
    from_structured_event,
)

from dispatcher.event.stored_form import Event, dead_letter, decode

_BINARY = (
    b"Ce-Id: 1\r\nCe-Source: /s\r\nCe-Type: t\r\nCe-Specversion: 1.0\r\nCe-Myext: x\r\n"
    b"Ce-Time: 2020-01-01T00:00:00Z\r\nContent-Type: application/json\r\n"
)
_STRUCTURED = b"Content-Type: application/cloudevents+json; charset=UTF-8\r\n"
_DATA = b'"data":[ 1.0, {"}":"{"} ]'
_URL = "http://sink.default.svc:8080/path?q=1"


def _message(head: bytes, body: bytes) -> HTTPMessage:
    return HTTPMessage(headers=Event(head, body).headers, body=body)


def test_binary_event_gets_the_attributes_as_headers() -> None:
    head, body = dead_letter(Event(_BINARY, b'{"a": 1}'), _URL, 503, b"try later")
    assert head.startswith(_BINARY)
    assert body == b'{"a": 1}'
    attributes = from_binary_event(_message(head, body)).get_attributes()
    assert attributes == {
        "id": "1", "source": "/s", "type": "t", "specversion": "1.0", "myext": "x",
        "time": datetime(2020, 1, 1, tzinfo=UTC),
        "datacontenttype": "application/json",
        "knativeerrordest": _URL,
        "knativeerrorcode": "503",
        "knativeerrordata": base64.b64encode(b"try later").decode(),
    }  # fmt: skip


def test_structured_event_gets_them_inside_and_all_else_stays() -> None:
    original = (
        b'\n{ "specversion" : "1.0", "id":"1","source":"/s","type":"t\\u00fc",'
        b'"time":"2020-01-01T00:00:00Z",'
        b' "data":{"n":1.0e10,"i":12345678901234567890123,"z":[1 ,2]}}\r\n'
    )
    head, body = dead_letter(Event(_STRUCTURED, original), _URL, 500, b"refused")
    assert head == _STRUCTURED
    end = original.rindex(b"}")
    assert body.startswith(original[:end])
    assert body.endswith(original[end:])
    event = from_structured_event(_message(head, body))
    before = from_structured_event(_message(_STRUCTURED, original))
    assert event.get_data() == before.get_data()
    assert event.get_attributes() == {
        **before.get_attributes(),
        "knativeerrordest": _URL,
        "knativeerrorcode": 500,
        "knativeerrordata": base64.b64encode(b"refused").decode(),
    }


def test_a_second_dead_letter_tells_of_the_last_failure_only() -> None:
    first = dead_letter(Event(_BINARY, b"x"), "http://first/", 500, b"first")
    head, body = dead_letter(Event(*first), "http://second/", 404, b"")
    assert from_binary_event(_message(head, body)).get_extension("knativeerrordata") is None
    assert head == (
        _BINARY + b"Ce-Knativeerrordest: http://second/\r\nCe-Knativeerrorcode: 404\r\n"
    )


@pytest.mark.parametrize(
    "original",
    [
        b'{"specversion":"1.0","id":"1","source":"/s","type":"t",' + _DATA + b"}",
        b'{"knativeerrorcode":"old","specversion":"1.0","id":"1","source":"/s","type":"t"}',
        b'{"specversion":"1.0","knative\\u0065rrordest":"old" , "id":"1","source":"/s","type":"t"}',
        b'{"specversion":"1.0","id":"1","source":"/s","type":"t","knativeerrordata":"b2xk"}',
    ],
)
def test_a_second_structured_dead_letter_has_each_attribute_once(original: bytes) -> None:
    first = dead_letter(Event(_STRUCTURED, original), "http://first/", 500, b"first")
    head, body = dead_letter(Event(*first), "http://second/", 404, b"")
    names = [name for name, _ in json.loads(body, object_pairs_hook=list)]
    assert len(names) == len(set(names))
    attributes = from_structured_event(_message(head, body)).get_attributes()
    assert attributes["knativeerrordest"] == "http://second/"
    assert attributes["knativeerrorcode"] == 404
    assert "knativeerrordata" not in attributes
    assert attributes["id"] == "1"
    assert b"old" not in body
    if _DATA in original:
        assert _DATA in body


def test_an_object_of_nothing_but_old_attributes_stays_valid() -> None:
    _, body = dead_letter(Event(_STRUCTURED, b'{"knativeerrorcode":1}'), "", 500, b"")
    assert json.loads(body) == {"knativeerrorcode": 500}
    _, body = dead_letter(Event(_STRUCTURED, b"{ }"), "", 500, b"")
    assert json.loads(body) == {"knativeerrorcode": 500}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b"{",
        b'{"a":1}}',
        b"\xff",
        b'{"knativeerrorcode":1,"a":' + b"[" * 950 + b"]" * 950 + b"}",
    ],
)
def test_a_structured_event_that_cannot_take_them_gets_headers(body: bytes) -> None:
    head, kept = dead_letter(Event(_STRUCTURED, body), _URL, 500, b"")
    if kept == body:
        assert head == _STRUCTURED + (
            b"Ce-Knativeerrordest: %b\r\nCe-Knativeerrorcode: 500\r\n" % _URL.encode()
        )
    else:  # nested deep, but not too deep for this Python
        assert json.loads(kept)["knativeerrorcode"] == 500


@pytest.mark.parametrize(
    "media_type",
    ["application/cloudevents-batch+json", "application/cloudevents+avro", "application/json", ""],
)
def test_other_formats_get_headers(media_type: str) -> None:
    head = f"Content-Type: {media_type}\r\n".encode() if media_type else b""
    changed, body = dead_letter(Event(head, b'{"specversion":"1.0"}'), "", 500, b"")
    assert (changed, body) == (head + b"Ce-Knativeerrorcode: 500\r\n", b'{"specversion":"1.0"}')


@pytest.mark.parametrize("size", [1, 767, 768, 769, 1024, 1025, 100_000])
def test_error_data_is_cut_to_1024_characters_and_can_be_decoded(size: int) -> None:
    data = bytes(range(256)) * 400
    head, _ = dead_letter(Event(b"", b""), "", 500, data[:size])
    encoded = Event(head, b"").headers["ce-knativeerrordata"]
    assert len(encoded) <= 1024
    assert base64.b64decode(encoded, validate=True) == data[: min(size, 768)]


@pytest.mark.parametrize(
    ("destination", "told"),
    [
        ("http://user:pa:ss@host/p", "http://host/p"),
        ("https://***@host:8443/p@q", "https://host:8443/p@q"),
        ("http://a@b@host/", "http://host/"),
        ("http://host/?mail=a@b", "http://host/?mail=a@b"),
        ("http://host/a%20b", "http://host/a%20b"),
        ('http://host/"ü \r\n', 'http://host/"ü \r\n'),
    ],
)
def test_the_destination_is_told_without_user_and_password(destination: str, told: str) -> None:
    head, body = dead_letter(Event(_BINARY, b""), destination, 500, b"")
    assert len(head.splitlines()) == len(_BINARY.splitlines()) + 2
    attributes = from_binary_event(_message(head, body)).get_attributes()
    assert attributes["knativeerrordest"] == told
    head, body = dead_letter(Event(_STRUCTURED, b"{}"), destination, 500, b"")
    assert json.loads(body)["knativeerrordest"] == told


def test_the_dead_letter_of_a_stored_event_has_all_its_headers() -> None:
    event = decode(
        b'{"headers":{"Ce-Id":"1","Content-Type":"text/plain","X-Request-Id":"r",'
        b'"ce-knativehistory":"h"},"payload":"eA=="}'
    )
    head, body = dead_letter(event, "", 502, b"")
    assert head == event.head + b"Ce-Knativeerrorcode: 502\r\n"
    assert body == b"x"
