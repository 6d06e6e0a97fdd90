"""One object that is nested too deeply keeps nobody from seeing the others."""

import copy
import json

import orjson
import pytest

from natss.kube import nesting
from natss.kube.nesting import MAX_LEVELS


def nested(levels: int, inside: str = '"x"') -> str:
    """Return lists and objects in turn."""
    opened = ['{"a":' if number % 2 else "[" for number in range(levels)]
    closed = ["}" if number % 2 else "]" for number in range(levels)]
    return "".join(opened) + inside + "".join(reversed(closed))


def depth(value: object) -> int:
    levels, todo = 0, [value]
    while todo := [each for each in todo if isinstance(each, dict | list)]:
        levels += 1
        todo = [
            part for each in todo for part in (each if isinstance(each, list) else each.values())
        ]
    return levels


@pytest.mark.parametrize("levels", [1, 2, MAX_LEVELS, 2 * MAX_LEVELS])
def test_what_is_not_too_deep_stays(levels: int) -> None:
    raw = nested(levels).encode()
    assert nesting.loads(raw) == orjson.loads(raw)


@pytest.mark.parametrize("levels", [250, 300, 1024, 1025, 10_000, 300_000])
def test_what_is_too_deep_is_null_and_the_rest_is_there(levels: int) -> None:
    raw = f'{{"items":[{{"name":"a"}},{nested(levels)},{{"name":"]}}"}}],"n":1}}'.encode()
    value = nesting.loads(raw)
    assert isinstance(value, dict)
    assert (value["items"][0], value["items"][2], value["n"]) == ({"name": "a"}, {"name": "]}"}, 1)
    assert depth(value) == MAX_LEVELS
    # All that such a value goes through later, in a list of them or a file.
    assert copy.deepcopy(value) == value
    assert json.loads(json.dumps(value)) == orjson.loads(orjson.dumps(value))


@pytest.mark.parametrize("levels", range(200, 260, 3))
def test_whatever_comes_out_can_be_written(levels: int) -> None:
    raw = nested(levels).encode()
    assert orjson.dumps({"channels": [nesting.loads(raw)]})


@pytest.mark.parametrize("levels", [1, 2, MAX_LEVELS, MAX_LEVELS + 1, 300])
def test_a_value_is_cut_where_a_text_is(levels: int) -> None:
    value = orjson.loads(nested(levels))
    nesting.cut(value)
    assert depth(value) == min(levels, MAX_LEVELS)


def test_brackets_in_texts_are_no_levels() -> None:
    text = "[{" * 500 + '\\" [' + "\\\\"
    raw = orjson.dumps({"a": text, "b": orjson.Fragment(nested(2000))})
    assert nesting.loads(raw)["a"] == text  # type: ignore[index]  # an object


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[" * 5000, b"]" * 5000, b'{"a":' * 2000 + b"1"])
def test_what_is_no_json_stays_none(raw: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        nesting.loads(raw)
