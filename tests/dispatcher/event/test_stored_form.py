"""The stored form, held against what the Go programs wrote and delivered."""

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from dispatcher.event.stored_form import Event, decode, encode, reply_head, smallest_stored_size
from tests.support.repository import GOLDEN_FOLDER

Headers = list[tuple[bytes, bytes]]

_RECORDED: list[dict[str, Any]] = json.loads((GOLDEN_FOLDER / "go-v0.6.0.json").read_bytes())
_DRAWN: list[dict[str, Any]] = json.loads((GOLDEN_FOLDER / "go-json.json").read_bytes())
_CONTROL = re.compile(r"[\x00-\x08\n-\x1f\x7f]")
_ADDED_BY_ANY_CLIENT = {"Host", "User-Agent", "Content-Length", "Accept-Encoding"}


def _raw(headers: Sequence[Sequence[str]]) -> Headers:
    return [(name.encode(), value.encode()) for name, value in headers]


def _lines(head: bytes) -> list[bytes]:
    assert head == b"" or head.endswith(b"\r\n")
    return head.split(b"\r\n")[:-1]


def _by_name(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", _RECORDED, ids=_by_name)
def test_stores_what_the_go_dispatcher_stored(case: dict[str, Any]) -> None:
    request = case["request"]
    body = base64.b64decode(request["body_base64"])
    stored = encode(_raw(request["headers"]), body, request["host"])
    assert stored == case["stored"]["data"].encode()


@pytest.mark.parametrize("case", _RECORDED, ids=_by_name)
def test_delivers_what_the_go_dispatcher_delivered(case: dict[str, Any]) -> None:
    event = decode(case["stored"]["data"].encode())
    delivered = [
        f"{name}: {value}".encode()
        for name, value in case["delivered"]["headers"]
        if name not in _ADDED_BY_ANY_CLIENT
    ]
    assert sorted(_lines(event.head)) == sorted(delivered)
    assert event.body == base64.b64decode(case["delivered"]["body_base64"])


def test_stores_byte_for_byte_what_encoding_json_writes() -> None:
    assert len(_DRAWN) == 200
    for case in _DRAWN:
        headers = [
            (header["name"].encode(), base64.b64decode(header["value"]))
            for header in case["headers"] or []
        ]
        body = base64.b64decode(case["body"])
        for given in (body, bytearray(body), memoryview(body)):
            assert encode(headers, given, case["host"]) == case["stored"].encode()


def test_reads_what_encoding_json_wrote() -> None:
    for case in _DRAWN:
        event = decode(case["stored"].encode())
        assert event.body == base64.b64decode(case["body"])
        stored: dict[str, str] = json.loads(case["stored"])["headers"]
        assert event.headers == {
            name.lower(): value.strip(" \t")
            for name, value in stored.items()
            if _CONTROL.search(value) is None
        }


def test_control_characters_are_escaped_as_in_the_time_of_v060() -> None:
    stored = encode([(b"Ce-Id", b"a\x08\x0c\n\r\t\x01\x7fb")], b"", "h")
    assert stored == (
        b'{"headers":{"Ce-Id":"a\\u0008\\u000c\\n\\r\\t\\u0001\x7fb","ce-knativehistory":"h"}}'
    )


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("ce-id", "Ce-Id"),
        ("CE-SOURCE-ID", "Ce-Source-Id"),
        ("ce-a--b-", "Ce-A--B-"),
        ("x-b3-traceid", "X-B3-Traceid"),
        ("content-TYPE", "Content-Type"),
        ("traceparent", "Traceparent"),
        ("TraceState", "Tracestate"),
        ("BAGGAGE", "Baggage"),
        ("b3", "B3"),
        ("ce-it's", "Ce-It's"),
    ],
)
def test_names_are_stored_in_canonical_form(name: str, stored: str) -> None:
    document = json.loads(encode([(name.encode(), b"v")], b"", "h"))
    assert document == {"headers": {stored: "v", "ce-knativehistory": "h"}}


@pytest.mark.parametrize(
    "name",
    [
        "Host", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
        "Content-Length", "Content-Encoding", "Authorization", "Cookie", "User-Agent", "Accept",
        "X-Forwarded-For", "X-Other", "ce", "ce_id", "traceparent-x", "b3-x", "b", "baggages",
        "x-content-type", "",
    ],
)  # fmt: skip
def test_other_headers_do_not_travel(name: str) -> None:
    stored = encode([(name.encode(), b"v")], b"x", "h")
    assert stored == b'{"headers":{"ce-knativehistory":"h"},"payload":"eA=="}'
    assert decode(json.dumps({"headers": {name: "v"}}).encode()).head == b""


@pytest.mark.parametrize(
    "name", [b"ce-\xc3\xbc", b"ce-a b", b"ce-a:b", b"ce-a\r\nX: 1", b"ce-a\x00"]
)
def test_a_name_that_is_no_token_does_not_travel(name: bytes) -> None:
    assert encode([(name, b"v")], b"", "h") == b'{"headers":{"ce-knativehistory":"h"}}'
    assert decode(json.dumps({"headers": {name.decode(): "v"}}).encode()).head == b""


@pytest.mark.parametrize(
    ("headers", "history"),
    [
        ([], "h"),
        ([(b"ce-knativehistory", b"a")], "a; h"),
        ([(b"Ce-Knativehistory", b"a; b")], "a; b; h"),
        ([(b"CE-KNATIVEHISTORY", b" a ")], "a; h"),
        ([(b"ce-knativehistory", b"")], "h"),
        ([(b"ce-knativehistory", b"a"), (b"Ce-KnativeHistory", b"b")], "a; h"),
    ],
)
def test_the_host_is_added_to_the_history(headers: Headers, history: str) -> None:
    stored = json.loads(encode([(b"Ce-Id", b"1"), *headers], b"", "h"))
    assert stored == {"headers": {"Ce-Id": "1", "ce-knativehistory": history}}


def test_the_first_value_of_a_header_is_stored_whatever_its_case() -> None:
    headers = [(b"ce-id", b"1"), (b"Ce-Id", b"2"), (b"CE-ID", b"3")]
    stored = json.loads(encode(headers, b"", "h"))["headers"]
    assert stored == {"Ce-Id": "1", "ce-knativehistory": "h"}


def test_white_space_around_a_value_is_no_part_of_it() -> None:
    stored = json.loads(encode([(b"Ce-Id", b" \t a b\t ")], b"", "h"))["headers"]
    assert stored["Ce-Id"] == "a b"


def test_names_with_a_percent_sign_are_no_format() -> None:
    stored = encode([(b"ce-%b", b"%s"), (b"ce-%%", b"")], b"x", "h")
    assert json.loads(stored)["headers"] == {"Ce-%%": "", "Ce-%b": "%s", "ce-knativehistory": "h"}
    assert _lines(decode(stored).head) == [b"Ce-%%: ", b"Ce-%b: %s", b"Ce-Knativehistory: h"]


def test_many_lists_of_names_are_stored_right() -> None:
    for number in range(3000):
        name = f"ce-x{number}"
        event = decode(encode([(name.encode(), b"v")], b"", "h"))
        assert event.headers == {name: "v", "ce-knativehistory": "h"}


def test_a_large_body_is_kept_byte_for_byte() -> None:
    body = bytes(range(256)) * 1024
    stored = encode([(b"Ce-Id", b"1")], body, "h")
    assert decode(stored).body == body


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 65536])
def test_no_stored_form_is_smaller_than_the_smallest(size: int) -> None:
    least = smallest_stored_size(size)
    without_headers = len(b'{"headers":{},"payload":"%b"}' % base64.b64encode(bytes(size)))
    assert least == without_headers
    assert size == 0 or least < len(encode([], bytes(size), "h"))


def test_headers_of_an_event_are_found_by_their_names_in_lower_case() -> None:
    event = Event("Ce-Id: 1\r\nCe-Subject: a: b\r\nCe-Type: \r\nCe-X: ü\r\n".encode(), b"")
    assert event.headers == {"ce-id": "1", "ce-subject": "a: b", "ce-type": "", "ce-x": "ü"}
    assert event.get("ce-id") == "1"
    assert event.get("ce-time") is None


def test_a_reply_carries_what_travels_of_the_answer() -> None:
    answer = [
        (b"content-type", b"application/json"),
        (b"Ce-Id", b"2"),
        (b"ce-id", b"3"),
        (b"Content-Length", b"2"),
        (b"Set-Cookie", b"secret"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Ce-Bad", b"a\r\nX: 1"),
        (b"x-request-id", b"r2"),
    ]
    head = reply_head(answer, decode(b'{"headers":{"Ce-Id":"1","X-Request-Id":"r1"}}'))
    assert _lines(head) == [b"Content-Type: application/json", b"Ce-Id: 2", b"X-Request-Id: r2"]


TRACE = {
    "Traceparent": "00-1-2-01",
    "Tracestate": "a=1",
    "Baggage": "user=7",
    "B3": "1-2-1",
    "X-B3-Traceid": "1",
    "X-Ot-Span-Context": "1;2",
}


def test_trace_context_travels_to_the_subscriber() -> None:
    sent = [(name.lower().encode(), value.encode()) for name, value in TRACE.items()]
    event = decode(encode(sent, b"", "h"))
    assert {name: event.get(name.lower()) for name in TRACE} == TRACE


def test_a_list_of_trace_context_in_several_headers_is_kept_whole() -> None:
    sent = [
        (b"tracestate", b"a=1"),
        (b"Baggage", b" x=1,y=2 "),
        (b"Ce-Id", b"first"),
        (b"TraceState", b"b=2"),
        (b"baggage", b"z=3"),
        (b"ce-id", b"second"),
    ]
    for _ in range(2):  # the second time by what was worked out for the first
        event = decode(encode(sent, b"", "h"))
        assert event.get("tracestate") == "a=1,b=2"
        assert event.get("baggage") == "x=1,y=2,z=3"
        assert event.get("ce-id") == "first"
    assert b"Baggage: x=1,y=2,z=3\r\n" in reply_head(sent, Event(b"", b""))
    stored = b'{"headers":{"baggage":"x=1","Baggage":"y=2"}}'
    assert decode(stored).head == b"Baggage: x=1,y=2\r\n"


def test_a_reply_has_the_trace_context_of_its_event() -> None:
    event = decode(json.dumps({"headers": {"Ce-Id": "1", **TRACE}}).encode())
    lines = _lines(reply_head([(b"Ce-Id", b"2")], event))
    assert lines == [b"Ce-Id: 2", *(f"{name}: {value}".encode() for name, value in TRACE.items())]


@pytest.mark.parametrize(
    ("own", "from_event"),
    [
        ([(b"traceparent", b"00-1-9-01")], ["Baggage"]),
        ([(b"b3", b"1-9-1")], ["Baggage"]),
        ([(b"x-b3-traceid", b"1"), (b"x-b3-spanid", b"9")], ["Baggage"]),
        ([(b"x-ot-span-context", b"1;9")], ["Baggage"]),
        ([(b"baggage", b"user=8")], [name for name in TRACE if name != "Baggage"]),
        ([(b"tracestate", b"b=9"), (b"Baggage", b"")], []),
    ],
)
def test_trace_context_of_the_answer_goes_first(
    own: list[tuple[bytes, bytes]], from_event: list[str]
) -> None:
    event = decode(json.dumps({"headers": TRACE}).encode())
    kept = [f"{name}: {TRACE[name]}".encode() for name in from_event]
    answered = [line.lower() for line in _lines(reply_head(own, event))]
    sent = [b"%b: %b" % pair for pair in own]
    assert sorted(answered) == sorted(line.lower() for line in sent + kept)


def test_a_reply_has_the_correlation_id_of_its_event() -> None:
    event = decode(b'{"headers":{"Knative-Correlation-Id":"c1"}}')
    assert reply_head([], event) == b"Knative-Correlation-Id: c1\r\n"
    answer = [(b"knative-correlation-id", b"c2"), (b"Ce-Id", b"2")]
    assert _lines(reply_head(answer, event)) == [b"Knative-Correlation-Id: c1", b"Ce-Id: 2"]
    assert reply_head(answer[:1], Event(b"", b"")) == b"Knative-Correlation-Id: c2\r\n"
