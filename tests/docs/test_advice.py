"""What one page advises, no other page warns of."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.reporting.verdicts import CHANNEL_LIMIT
from tests.support.repository import ROOT

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def sentences(page: Path, word: str) -> Iterator[str]:
    """Yield the rows of tables and the paragraphs of a page that contain a word."""
    for part in re.split(r"\n\s*\n|\n(?=\s*[|-])|\n(?=\s+\w+:)", page.read_text()):
        if word in part:
            yield " ".join(part.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_who_names_max_inactivity_says_what_it_deletes(page: Path) -> None:
    """It removes the durables of subscribers that are down, and what waits for them."""
    for each in sentences(page, "max_inactivity"):
        assert "durables" in each, each


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_who_says_that_events_are_kept_says_until_when(page: Path) -> None:
    promise = re.compile(r"[Nn]othing is lost|events (are|is) kept(?! \w*until)|none is lost")
    for each in re.split(r"\n\s*\n|\n(?=\s*[|-])", page.read_text()):
        assert not promise.search(" ".join(each.split())), each


def test_a_full_server_is_not_said_to_have_room_for_the_deletion_of_channels() -> None:
    """NATS Streaming has no way to delete a channel but ``max_inactivity``."""
    for text in (CHANNEL_LIMIT, *(page.read_text() for page in PAGES)):
        assert "or delete Channels" not in text
        assert "or delete channels" not in text
