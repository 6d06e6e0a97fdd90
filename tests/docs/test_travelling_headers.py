"""The table of headers in the documentation is what the code does."""

import re

import pytest

from dispatcher.event import headers
from dispatcher.event.stored_form import decode, reply_head
from tests.support.repository import ROOT

_TEXT = (ROOT / "docs" / "publishing.md").read_text("utf-8")
_TABLE = _TEXT.partition("## Which headers travel")[2].partition("\n\nA dead letter")[0]
_ROWS = [
    (re.findall(r"`([^`]+)`", cells[0]), cells[1:])
    for cells in ([cell.strip() for cell in row.split("|")[1:-1]] for row in _TABLE.splitlines())
    if len(cells) == 3 and cells[0].find("`") >= 0
]


def _named(pattern: str) -> bytes:
    return pattern.replace("*", "Some-Thing").encode()


@pytest.mark.parametrize(("names", "cells"), _ROWS, ids=lambda value: str(value[0]))
def test_a_row_tells_what_travels(names: list[str], cells: list[str]) -> None:
    for name in map(_named, names):
        assert headers.travels(name) == cells[0].startswith("yes")
        canonical = headers.canonical(name).decode()
        event = decode(b'{"headers":{"%b":"of the event"}}' % name)
        assert event.head == f"{canonical}: of the event\r\n".encode()
        inherits = "else of the event" in cells[1]
        assert (b"of the event" in reply_head([], event)) == inherits
        assert reply_head([(name, b"of the answer")], decode(b"{}")) == (
            f"{canonical}: of the answer\r\n".encode()
        )


def test_every_name_of_the_set_is_in_the_table() -> None:
    told = {name.lower().removesuffix("*") for names, _ in _ROWS for name in names}
    known = re.findall(r"[a-z][a-z0-9-]+", headers._SET.pattern.decode())
    assert set(known) <= told
    assert len(_ROWS) >= 7
