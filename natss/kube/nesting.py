"""JSON of the API as values that are not nested too deeply. Pure.

The API server accepts objects with thousands of levels where a definition leaves fields open. The
libraries that parse, compare, copy and write JSON here stop at a few hundred, with an error for the
whole document: one such object would hide all the others. Nobody needs such depth, so it becomes
null.
"""

import re
from collections.abc import Iterable
from typing import Any

import orjson

MAX_LEVELS = 100
"""Levels of lists and objects around a value, once something has been cut. Real objects have about
20.
"""

_ROOM = 10
"""Levels that may be put around a value when it is written, besides its own."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', re.DOTALL)


def loads(raw: bytes) -> object:
    """Return the value of a JSON text, cut if it could not be written again (at about 240 levels).

    Raises:
        orjson.JSONDecodeError: it is not JSON.
    """
    try:
        value: object = orjson.loads(raw)
        if len(raw) > 2 * MAX_LEVELS:
            _write(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return orjson.loads(_without_depths(raw))
    return value


def _write(value: object) -> None:
    """Write the value, ten times as fast as counting its levels. Raises orjson.JSONEncodeError."""
    for _ in range(_ROOM):
        value = [value]
    orjson.dumps(value)


def cut(value: object) -> None:
    """Put null for every list and object in a value that is nested too deeply."""
    level = _inner([value])
    for _ in range(MAX_LEVELS - 1):
        if not level:
            return
        level = _inner(each for outer in level for each in _parts(outer))
    for outer in level:
        places = outer.items() if isinstance(outer, dict) else enumerate(outer)
        for place, each in list(places):
            if isinstance(each, dict | list):
                outer[place] = None


def _inner(values: Iterable[object]) -> list[Any]:
    """Return those that contain others."""
    return [each for each in values if isinstance(each, dict | list)]


def _parts(outer: Any) -> Iterable[object]:
    return outer.values() if isinstance(outer, dict) else outer


def _without_depths(raw: bytes) -> bytes:
    """Return the same text with null for what is nested too deeply."""
    kept: list[bytes] = []
    begin = levels = 0
    for token in _TOKEN.finditer(raw):
        bracket = raw[token.start()]
        if bracket in b"[{":
            levels += 1
            if levels == MAX_LEVELS + 1:
                kept += raw[begin : token.start()], b"null"
        elif bracket in b"]}":
            if levels == MAX_LEVELS + 1:
                begin = token.end()
            levels -= 1
    return b"".join((*kept, raw[begin:]))
