"""Parses YAML and JSON text into documents of plain JSON values, each with the line of its start.

The values are those that kubectl reads: YAML 1.1 as Go implements it, and whole numbers are
integers in any notation (``8.0``, ``1e+06``). The result has only strings, numbers, booleans,
nulls, lists and objects: no dates, no base 60, no Python objects. Limits bound the cost of hostile
or mistaken text: nesting and aliases (they multiply) here, the size in the caller. Documents are
built from the parser's events, without recursion; libyaml's own composer overflows the stack at
some ten thousand brackets.
"""

import json
import math
import re
from collections.abc import Callable, Hashable, Iterator
from typing import NoReturn

import yaml

MAX_DEPTH = 100
"""Kubernetes objects have at most some 20 levels."""

MAX_ALIASED_NODES = 100_000
"""Values that aliases and merges may add to a file, so that ten lines cannot expand to a billion.
"""

_CORE = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    word: value
    for words, value in (
        (("true", "yes", "on", "y"), True),
        (("false", "no", "off", "n"), False),
    )
    for lower in words
    for word in (lower, lower.capitalize(), lower.upper())
}
_INTEGER = re.compile(
    r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|([0-9]+))", re.ASCII
)
_BASES = (16, 2, 8, 10)
_LONGEST_INTEGER = 70
"""In characters: 64 bits in base 2, and some. Longer text is not an integer of 64 bits."""

_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NO_NUMBER = re.compile(r"([-+]?)\.(?:inf|Inf|INF|(nan|NaN|NAN))")


class UnreadableDocument(Exception):
    """A text is not YAML or JSON, or exceeds a limit.

    Attributes:
        line: Counted from 1; 0 if unknown.
        column: Counted from 1; 0 if unknown.
        reason: What is wrong, for people.
    """

    def __init__(self, line: int, column: int, reason: str) -> None:
        super().__init__(f"line {line}, column {column}: {reason}" if line else reason)
        self.line = line
        self.column = column
        self.reason = reason


def parse_yaml(data: bytes) -> list[tuple[int, object]]:
    """Return the documents of a YAML text, each with its line.

    Raises:
        UnreadableDocument: For a syntax error, a duplicate key, a tag, or an exceeded limit.
    """
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        return list(_documents(yaml.parse(data, Loader=loader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = str(error.problem or error.context)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise UnreadableDocument(line, column, reason) from error
    except yaml.reader.ReaderError as error:
        before = data[: error.position]
        line = before.count(b"\n") + 1
        column = len(before) - before.rfind(b"\n")
        raise UnreadableDocument(line, column, f"{error.reason} (must be UTF-8 text)") from error


def parse(data: bytes, *, is_json: bool) -> list[tuple[int, object]]:
    """Return the documents of a text, each with its line.

    As in kubectl, text that begins with ``{`` is JSON. YAML that begins so is read as well.

    Args:
        data: The text.
        is_json: Whether the file is named JSON, so that its errors are reported as those of JSON.

    Raises:
        UnreadableDocument: The text is neither.
    """
    if not _BEGINNING_OF_JSON.match(data):
        return parse_yaml(data)
    try:
        return parse_json(data)
    except UnreadableDocument as mistake:
        try:
            return parse_yaml(data)
        except UnreadableDocument:
            if is_json:
                raise mistake from None
            raise


_BEGINNING_OF_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")


def parse_json(data: bytes) -> list[tuple[int, object]]:
    """Return the documents of a JSON text, with or without blanks in between, each with its line.

    Raises:
        UnreadableDocument: For a syntax error, a duplicate key, or an exceeded limit.
    """
    try:
        return list(_json_documents(data.decode("utf-8-sig")))
    except json.JSONDecodeError as error:
        raise UnreadableDocument(error.lineno, error.colno, error.msg) from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableDocument(line, 0, "must be UTF-8 text") from error
    except RecursionError as error:
        raise UnreadableDocument(0, 0, "nested too deeply") from error


def _json_documents(text: str) -> Iterator[tuple[int, object]]:
    """Yield one document or more. Raises JSONDecodeError, UnreadableDocument, RecursionError."""
    end, line = 0, 1
    while True:
        blanks = _BLANKS.match(text, end)
        begin = blanks.end() if blanks else end
        if end and begin == len(text):
            return
        line += text.count("\n", end, begin)
        document, end = _JSON.raw_decode(text, begin)
        yield line, document
        line += text.count("\n", begin, end)


_BLANKS = re.compile(r"[ \t\r\n]*")


def _json_number(text: str) -> int | float:
    number = _number(text)
    if number is None:
        raise UnreadableDocument(0, 0, f"the number {text[:20]}... is beyond the limit of 64 bits")
    return number


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise UnreadableDocument(0, 0, f"the key {key[:60]!a} is there twice")
        result[key] = value
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise UnreadableDocument(0, 0, f"{name} is no JSON")


_JSON = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_constant=_refuse_constant,
    parse_float=_json_number,
    parse_int=_json_number,
)


class _Frame:
    """A list or an object that is being built."""

    __slots__ = ("anchor", "key", "key_known", "merged", "size", "value")

    def __init__(self, value: dict[Hashable, object] | list[object], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: Hashable = None
        self.key_known = False
        self.merged: list[dict[Hashable, object]] = []
        self.size = 1


_MERGE = object()
"""The key ``<<``."""


def _documents(events: Iterator[yaml.Event]) -> Iterator[tuple[int, object]]:
    budget = MAX_ALIASED_NODES
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            builder = _Builder(budget)
            first = next(events)
            builder.take(first)
            while builder.unfinished:
                builder.take(next(events))
            budget = builder.budget
            yield _place(first)[0], builder.result


class _Builder:
    """Builds one document from events."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.result: object = None
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[object, int]] = {}

    @property
    def unfinished(self) -> bool:
        return bool(self._frames)

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
            if event.anchor:
                self._anchors[event.anchor] = value, 1
            self._put(value, 1, event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            self._put_alias(event)

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        is_object = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in {None, "!", f"{_CORE}{'map' if is_object else 'seq'}"}:
            raise _unreadable(event, f"the tag {str(event.tag)[:60]!a} is not allowed")
        if len(self._frames) >= MAX_DEPTH:
            raise _unreadable(event, f"nested more than {MAX_DEPTH} levels deep")
        self._frames.append(_Frame({} if is_object else [], event.anchor))

    def _end(self, event: yaml.CollectionEndEvent) -> None:
        frame = self._frames.pop()
        if isinstance(frame.value, dict):
            for merged in frame.merged:
                self._spend(len(merged), event)
                for key, value in merged.items():
                    frame.value.setdefault(key, value)
        if frame.anchor:
            self._anchors[frame.anchor] = frame.value, frame.size
        self._put(frame.value, frame.size, event)

    def _put_alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise _unreadable(event, f"no anchor &{event.anchor} before this alias")
        value, size = self._anchors[event.anchor]
        self._spend(size, event)
        self._put(value, size, event)

    def _spend(self, nodes: int, event: yaml.Event) -> None:
        self.budget -= nodes
        if self.budget < 0:
            raise _unreadable(event, f"aliases add more than {MAX_ALIASED_NODES} values")

    def _put(self, value: object, size: int, event: yaml.Event) -> None:
        if not self._frames:
            self.result = value
            return
        frame = self._frames[-1]
        frame.size += size
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif not frame.key_known:
            frame.key, frame.key_known = self._key(value, frame.value, event), True
        elif frame.key is _MERGE:
            frame.merged += _mergeable(value, event)
            frame.key_known = False
        else:
            frame.value[frame.key] = value
            frame.key_known = False

    def _key(self, value: object, siblings: dict[Hashable, object], event: yaml.Event) -> Hashable:
        if value == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            return _MERGE
        if not isinstance(value, str | int | float | None):
            raise _unreadable(event, "a key must be a text")
        if value in siblings:
            raise _unreadable(event, f"the key {str(value)[:60]!a} is there twice")
        return value


def _mergeable(value: object, event: yaml.Event) -> list[dict[Hashable, object]]:
    mergeable: list[dict[Hashable, object]] = []
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            raise _unreadable(event, "only objects can be merged by <<")
        mergeable.append(item)
    return mergeable


def _unreadable(event: yaml.Event, reason: str) -> UnreadableDocument:
    return UnreadableDocument(*_place(event), reason)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


def _scalar(event: yaml.ScalarEvent) -> object:
    plain, quoted = event.implicit
    if plain:
        return _plain(event.value)
    tag = event.tag or "!"
    if quoted or tag in {"!", _CORE + "str"}:
        return event.value
    if tag == _CORE + "null":
        return None
    convert = _CONVERSIONS.get(tag)
    value = convert(event.value) if convert else None
    if value is None:
        raise _unreadable(event, f"the tag {tag[:60]!a} is not allowed here")
    return value


def _plain(text: str) -> object:
    """Return the value of a scalar without quotes."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> int | float | None:
    """Return the number; None if Go reads none, or it exceeds the largest number type of Go."""
    if text[:1] not in "+-.0123456789":
        return None
    plain = text.replace("_", "") if text[0] != "." else text
    integer = _integer(plain)
    if integer is not None:
        return integer
    if _FLOAT.fullmatch(plain):
        return _narrowed(float(plain))
    if match := _NO_NUMBER.fullmatch(text):
        return math.nan if match[2] else float(f"{match[1]}inf")
    return None


def _integer(text: str) -> int | None:
    """Return an integer of 64 bits, signed or unsigned; None if the text is none."""
    match = _INTEGER.fullmatch(text) if len(text) <= _LONGEST_INTEGER else None
    if match is None:
        return None
    sign, *parts = match.groups()
    digits, base = next((part, base) for part, base in zip(parts, _BASES, strict=True) if part)
    if base == 10 and digits[0] == "0" and len(digits) > 1:  # 08: neither octal nor decimal
        return None
    number = int(sign + digits, base)
    return number if -(2**63) <= number < 2**64 else None


def _narrowed(number: float) -> int | float | None:
    """Return a number as Go's JSON does: it writes 8.0 as 8, which is read as an integer."""
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


_CONVERSIONS: dict[str, Callable[[str], object]] = {
    _CORE + "bool": _BOOLEANS.get,
    _CORE + "int": _number,
    _CORE + "float": _number,
}
