"""YAML and JSON as plain values; mistakes with their place; bounded cost."""

import contextlib
import json
import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.desired.parsing import MAX_ALIASED_NODES, UnreadableDocument, parse_json, parse_yaml

drawn = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The same values each time, however busy the machine."""


def value(text: str) -> object:
    ((_, document),) = parse_yaml(text.encode())
    return document


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000),
        ("-.5", -0.5),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("No", False),
        ("null", None),
        ("~", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("!!float 5", 5),
        ("!!bool 'yes'", True),
        ("!!null ''", None),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[1, [2, {a: 3}]]", [1, [2, {"a": 3}]]),
        ("{a: {b: [c, ~]}}", {"a": {"b": ["c", None]}}),
        ("{2: a, true: b, null: c}", {2: "a", True: "b", None: "c"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x 1\nb: *x", {"a": 1, "b": 1}),
        ("d: &d {a: 1, b: 2}\ne: {<<: *d, b: 3}", {"d": {"a": 1, "b": 2}, "e": {"a": 1, "b": 3}}),
        ("e: {<<: [{a: 1}, {a: 2, b: 2}]}", {"e": {"a": 1, "b": 2}}),
        ("{'<<': 1}", {"<<": 1}),
        # what other readers of YAML make numbers and dates of, and kubectl does not
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01T12:00:00Z", "2024-05-01T12:00:00Z"),
        ("1:30", "1:30"),
        ("127.0.0.1", "127.0.0.1"),
        ("1" * 200, float("1" * 200)),
    ],
)
def test_values(text: str, expected: object) -> None:
    read = value(text)
    assert read == expected
    assert type(read) is type(expected)


def test_documents_come_with_their_lines() -> None:
    text = b"# first\na: 1\n---\n\n  \nb: 2\n---\n# nothing\n---\nc: 3\n...\n"
    assert parse_yaml(text) == [(2, {"a": 1}), (6, {"b": 2}), (9, None), (10, {"c": 3})]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert parse_yaml(b"\xef\xbb\xbfa: 1") == [(1, {"a": 1})]
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == [(1, {"a": 1})]


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# only a comment\n"])
def test_nothing(text: bytes) -> None:
    assert parse_yaml(text) == []


BILLION = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}], y: 1}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        (b"a: 1\nb:\n\tc: 1\n", (3, 1), "found character that cannot start any token"),
        (b"a: [1,\nb: {", (3, 1), "did not find expected node content"),
        (b"a: b: c", (1, 5), "mapping values are not allowed in this context"),
        (b"a: 1\nb:\n  c: 1\n  c: 2\n", (4, 3), "the key 'c' is there twice"),
        (b"a: *x", (1, 4), "no anchor &x before this alias"),
        (b"a: &a [*a]", (1, 8), "no anchor &a before this alias"),
        (b"a: &a 1\n---\nb: *a", (3, 4), "no anchor &a before this alias"),
        (b"[1]: 2", (1, 3), "a key must be a text"),
        (b"a: {<<: 5}", (1, 9), "only objects can be merged by <<"),
        (b"a: !!python/object/apply:os.system [x]", (1, 4), "python/object/apply:os.system' is no"),
        (b"a: !!binary aGk=", (1, 4), "binary' is not allowed here"),
        (b"a: !!int x", (1, 4), "int' is not allowed here"),
        (b"a: !mine {}", (1, 4), "the tag '!mine' is not allowed"),
        (b"a: 1\nb: caf\xe9", (2, 7), "must be UTF-8 text"),
        (b"a: 1\nb: \x00", (2, 4), "control characters are not allowed"),
        (b'a: "\\ud800"', (1, 7), "invalid Unicode character escape code"),
        (b"[" * 1_000_000, (1, 101), "nested more than 100 levels deep"),
        (b"- " * 1_000_000, (1, 201), "nested more than 100 levels deep"),
        (b"{a: " * 1_000_000, (1, 401), "nested more than 100 levels deep"),
        (BILLION.encode(), (5, 36), f"aliases add more than {MAX_ALIASED_NODES} values"),
        (MERGES.encode(), (6, 17), f"aliases add more than {MAX_ALIASED_NODES} values"),
    ],
)
def test_what_cannot_be_read_has_a_place_and_a_reason(
    text: bytes, place: tuple[int, int], reason: str
) -> None:
    started = time.process_time()
    with pytest.raises(UnreadableDocument) as unreadable:
        parse_yaml(text)
    assert reason in unreadable.value.reason
    assert (unreadable.value.line, unreadable.value.column) == place
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        (b"", (1, 1), "Expecting value"),
        (b'{\n  "a": 1,\n}', (3, 1), "Expecting property name"),
        (b'{"a": 1, "a": 2}', (0, 0), "the key 'a' is there twice"),
        (b'{"a": NaN}', (0, 0), "NaN is no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", (0, 0), "limit"),
        (b'{"a": 1e400}', (0, 0), "the number 1e400... is beyond the limit"),
        (b'{"a": 1}\n{"a": 2}\n{"a": }', (3, 7), "Expecting value"),
        (b'{"a": 1},{"a": 2}', (1, 9), "Expecting value"),
        (b'{"a":\n "\xff"}', (2, 0), "must be UTF-8 text"),
        (b"[" * 1_000_000, (0, 0), "nested too deeply"),
    ],
)
def test_json_that_cannot_be_read(text: bytes, place: tuple[int, int], reason: str) -> None:
    with pytest.raises(UnreadableDocument) as unreadable:
        parse_json(text)
    assert reason in unreadable.value.reason
    assert (unreadable.value.line, unreadable.value.column) == place


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@drawn
@given(JSON)
def test_json_is_read_back(document: object) -> None:
    assert parse_json(json.dumps(document).encode()) == [(1, document)]


@drawn
@given(st.binary() | st.text(alphabet="abc:[]{}&*!<>-?|#'\"\n ,123~").map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for parse in (parse_yaml, parse_json):
        with contextlib.suppress(UnreadableDocument):
            parse(data)
