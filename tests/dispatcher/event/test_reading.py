"""Reading stored messages: the older form, poison, and whatever else may lie in a channel."""

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.event.stored_form import Event, UnreadableEvent, decode, encode

_NEVER_IN_A_VALUE = re.compile(rb"[\x00-\x08\n-\x1f\x7f]")


def _stored(headers: object, payload: object = "") -> bytes:
    return json.dumps({"headers": headers, "payload": payload}).encode()


# --- the form of v0.3.0 ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x00\xff\xfe",
        b"17",
        b"null",
        b'"text"',
        b"[1,2]",
        b"{}",
        b'{"a":1}',
        b'{"a":1',
        b'{"headers":{},"payload":"","more":1}',
        b'{"header":{}}',
        b'["headers"]',
        b'{"specversion":1}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_envelope_is_the_body_itself(data: bytes) -> None:
    event = decode(data)
    assert (event.head, event.body) == (b"", data)


def test_a_bare_cloudevent_gets_the_content_type_of_a_structured_one() -> None:
    data = b' {"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"headers":1}}\n'
    event = decode(data)
    assert event.head == b"Content-Type: application/cloudevents+json\r\n"
    assert event.body == data


# --- the form of v0.4.0 and later -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "head", "body"),
    [
        (b'{"headers":{"Ce-Id":"1"}}', b"Ce-Id: 1\r\n", b""),
        (b'{"payload":"eA=="}', b"", b"x"),
        (b'{"headers":null,"payload":null}', b"", b""),
        (b'{"headers":{},"payload":""}', b"", b""),
        (b' {\n"payload" : "eA==", "headers" : {"ce-id":"1"}}\n', b"Ce-Id: 1\r\n", b"x"),
        (b'{"payload":"eHh4\\neHh4\\r\\n"}', b"", b"xxxxxx"),  # Go's reader skips line ends
        (b'{"payload":"eHh4\\u0065HR\\/"}', b"", b"xxxxt\x7f"),
    ],
)
def test_reads_every_spelling_of_the_envelope(data: bytes, head: bytes, body: bytes) -> None:
    event = decode(data)
    assert (event.head, event.body) == (head, body)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"headers":{"Ce-Id":"geheim"', "no valid JSON"),
        (b' { "payload" : "geheim', "no valid JSON"),
        (b'{"headers":{"Ce-Id":"\xff geheim"}}', "no valid JSON"),
        (b'{"payload":' + b"[" * 100_000, "no valid JSON"),
        (b'{"headers":{"Ce-Id":NaN}}', "no valid JSON"),
        (b'{"headers":["geheim"]}', "headers are not an object"),
        (b'{"headers":"geheim"}', "headers are not an object"),
        (b'{"headers":0}', "headers are not an object"),
        (b'{"headers":{"Ce-Id":1}}', "value of a header is not a string"),
        (b'{"headers":{"Ce-Id":null}}', "value of a header is not a string"),
        (b'{"headers":{"X-Other":["geheim"]}}', "value of a header is not a string"),
        (b'{"payload":{"a":"geheim"}}', "payload is not a string"),
        (b'{"payload":1}', "payload is not a string"),
        (b'{"payload":["geheim"]}', "payload is not a string"),
        (b'{"payload":"geheim!"}', "not base64"),
        (b'{"payload":"gehei"}', "not base64"),
        (b'{"payload":"ge=="}{"payload":"ge=="}', "no valid JSON"),
        (b'{"payload":"ge==ge=="}', "not base64"),
        (b'{"payload":"geh_"}', "not base64"),
        (b'{"payload":"ge he"}', "not base64"),
        (b'{"payload":"geh\xc3\xbc"}', "not base64"),
    ],
)
def test_a_broken_envelope_is_poison_and_the_reason_does_not_quote_it(
    data: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableEvent, match=reason) as raised:
        decode(data)
    text = str(raised.value)
    assert "geh" not in text
    assert len(text) < 100
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\x00b", "\x1b", "\x7f"])
def test_a_value_that_could_be_read_as_more_is_not_forwarded(value: str) -> None:
    event = decode(_stored({"Ce-Bad": value, "Ce-Id": "1"}))
    assert event.head == b"Ce-Id: 1\r\n"
    assert event.get("ce-bad") is None


def test_stored_headers_that_do_not_travel_are_not_forwarded() -> None:
    hop_by_hop = {
        "Host": "other", "host": "other", "Content-Length": "0", "Transfer-Encoding": "chunked",
        "Connection": "close", "Authorization": "secret", "": "empty", "Ce-A B": "x", "Ce-A:": "x",
        "Ce-ü": "x", "Ce-\r\nX": "x",
    }  # fmt: skip
    event = decode(_stored({**hop_by_hop, "ce-id": "1", "x-request-id": "r"}))
    assert event.head == b"Ce-Id: 1\r\nX-Request-Id: r\r\n"


def test_values_beyond_ascii_travel_as_utf8() -> None:
    event = decode(_stored({"Ce-Subject": "grün \u2028 \U0001f600", "Ce-Tab": "a\tb"}))
    assert event.head == "Ce-Subject: grün \u2028 \U0001f600\r\nCe-Tab: a\tb\r\n".encode()
    assert event.get("ce-subject") == "grün \u2028 \U0001f600"


def test_one_name_in_two_spellings_is_forwarded_once() -> None:
    assert decode(_stored({"ce-id": "1", "Ce-Id": "2"})).head == b"Ce-Id: 1\r\n"


def test_a_history_that_go_stored_under_two_names_is_one() -> None:
    stored = {"Ce-Id": "1", "Ce-Knativehistory": "a; b", "ce-knativehistory": "c"}
    assert decode(_stored(stored)).head == b"Ce-Id: 1\r\nCe-Knativehistory: a; b; c\r\n"


def test_a_header_of_many_names_is_forwarded_whole() -> None:
    stored = {f"Ce-{'x' * 100}{number}": str(number) for number in range(500)}
    event = decode(_stored(stored))
    assert event.headers == {name.lower(): value for name, value in stored.items()}


# --- anything -------------------------------------------------------------------------------------

_drawn = settings(derandomize=True, deadline=None, max_examples=200)

_names = st.one_of(
    st.sampled_from(
        [b"ce-id", b"Ce-Id", b"content-type", b"ce-knativehistory", b"host", b"x-b3-x"]
    ),
    st.from_regex(rb"(ce-|Knative-|X-)[!#$%&'*+.^_`|~0-9A-Za-z-]{0,8}", fullmatch=True),
)
_values = st.one_of(st.text(max_size=20).map(str.encode), st.binary(max_size=20))
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(["headers", "payload", "ce-id"]), st.text(max_size=5)),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@_drawn
@given(st.lists(st.tuples(_names, _values), max_size=8), st.binary(max_size=100))
def test_what_is_stored_is_read_back(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    event = decode(encode(headers, body, "host"))
    assert event.body == body
    _assert_safe(event)
    history = event.get("ce-knativehistory")
    assert history is None or history.endswith("host")
    first: dict[str, bytes] = {}
    for name, value in headers:
        first.setdefault(name.decode().lower(), value)
    for key, text in event.headers.items():
        if key != "ce-knativehistory":
            assert text == _as_go_reads(first[key])


def _as_go_reads(value: bytes) -> str:
    """Replace each byte that is not UTF-8, as Go does."""
    text = value.strip(b" \t").decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", "\ufffd", text)


def _assert_safe(event: Event) -> None:
    """Check that the head is lines of a travelling name and a value of plain characters."""
    lines = event.head.split(b"\r\n")
    assert lines.pop() == b""
    for line in lines:
        name, colon, value = line.partition(b": ")
        assert colon
        assert re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name)
        assert _NEVER_IN_A_VALUE.search(value) is None
    assert len(lines) == len(event.headers)


def _read(data: bytes) -> None:
    try:
        event = decode(data)
    except UnreadableEvent:
        return
    _assert_safe(event)


@_drawn
@given(st.binary(max_size=200))
@example(b'{"headers":')
def test_any_bytes_are_an_event_or_poison(data: bytes) -> None:
    _read(data)
    _read(b'{"headers":' + data)
    _read(b'{"headers":{"Ce-Id":"' + data + b'"},"payload":"eA=="}')
    _read(b'{"payload":"' + data)


@_drawn
@given(_json)
def test_any_json_is_an_event_or_poison(document: object) -> None:
    _read(json.dumps(document).encode())
    _read(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    _read(json.dumps({"headers": document}).encode())
    _read(json.dumps({"headers": {"ce-id": document}, "payload": document}).encode())
