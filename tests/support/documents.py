"""Reads documents: their sections, and the examples in these."""

import re
from collections.abc import Iterator

from tests.support.repository import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """Return a text without its examples."""
    return _FENCE.sub("", text)


def examples(language: str, text: str) -> list[str]:
    """Return the fenced blocks of a language, such as ``sh``."""
    return [body for name, body in _FENCE.findall(text) if name == language]


def section(document: str, heading: str) -> str:
    """Return the text under a heading of the second level. Raises KeyError if there is none."""
    text = (ROOT / document).read_text()
    return dict(_sections(text))[heading]


def _sections(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        yield heading, body
