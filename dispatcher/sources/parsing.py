"""YAML and JSON text as documents of plain JSON values, each with the line where it begins.

Nothing but texts, numbers, booleans, nulls, lists and objects comes out, as from kubectl: no dates,
no base 60, no Python objects. What a hostile or mistaken text could cost is bounded: nesting,
aliases (they multiply), and by the caller the size. Documents are built from the parser's events,
without recursion; libyaml's own composer overruns the stack at some ten thousand brackets.
"""

import json
import math
import re
from collections.abc import Callable, Hashable, Iterator
from typing import NoReturn

import yaml

MAX_DEPTH = 100
"""Kubernetes objects have some 20 levels at most."""

MAX_ALIASED_NODES = 100_000
"""Values that aliases and merges may add to a file, so that ten lines cannot mean a billion."""

_CORE = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    word: value
    for words, value in ((("true", "yes", "on"), True), (("false", "no", "off"), False))
    for lower in words
    for word in (lower, lower.capitalize(), lower.upper())
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,99})|0x[0-9a-fA-F]{1,64}|0o[0-7]{1,64}", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII
)
_NO_NUMBER = re.compile(r"([-+]?)\.(?:inf|Inf|INF|(nan|NaN|NAN))")


class Unreadable(Exception):
    """A text is no YAML or JSON, or more than may be read.

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
    """The documents of a YAML text, each with its line.

    Raises:
        Unreadable: for a mistake in the syntax, a key that is there twice, a tag, or a bound.
    """
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        return list(_documents(yaml.parse(data, Loader=loader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = str(error.problem or error.context)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise Unreadable(line, column, reason) from error
    except yaml.reader.ReaderError as error:
        before = data[: error.position]
        line = before.count(b"\n") + 1
        column = len(before) - before.rfind(b"\n")
        raise Unreadable(line, column, f"{error.reason} (must be UTF-8 text)") from error


def parse_json(data: bytes) -> list[tuple[int, object]]:
    """The document of a JSON text.

    Raises:
        Unreadable: for a mistake in the syntax, a key that is there twice, or a bound.
    """
    try:
        text = data.decode("utf-8-sig")
        return [(1, json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant))]
    except json.JSONDecodeError as error:
        raise Unreadable(error.lineno, error.colno, error.msg) from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, 0, "must be UTF-8 text") from error
    except RecursionError as error:
        raise Unreadable(0, 0, "nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise Unreadable(0, 0, str(error)) from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise Unreadable(0, 0, f"the key {key[:60]!a} is there twice")
        result[key] = value
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise Unreadable(0, 0, f"{name} is no JSON")


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


def _unreadable(event: yaml.Event, reason: str) -> Unreadable:
    return Unreadable(*_place(event), reason)


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
    """The value of a scalar without quotes (YAML 1.2 core, and the booleans of 1.1)."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> int | float | None:
    if text[:1] not in "+-.0123456789":
        return None
    if _INTEGER.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _NO_NUMBER.fullmatch(text):
        return math.nan if match[2] else float(f"{match[1]}inf")
    return None


_CONVERSIONS: dict[str, Callable[[str], object]] = {
    _CORE + "bool": _BOOLEANS.get,
    _CORE + "int": _number,
    _CORE + "float": _number,
}
