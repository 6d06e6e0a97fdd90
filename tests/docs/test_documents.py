"""Every document: its links lead somewhere, its examples are right."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.support.documents import examples, prose
from tests.support.repository import ROOT

NOT_OURS = {"build", "dist"}
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.md")
    if not any(part in NOT_OURS or part[0] == "." for part in path.relative_to(ROOT).parts)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(language: str, document: Path) -> list[str]:
    return examples(language, (ROOT / document).read_text())


def commands() -> list[tuple[Path, list[str]]]:
    """Return every command of a shell example, as words, and its document."""
    return [
        (document, shlex.split(line))
        for document in DOCUMENTS
        for block in blocks("sh", document)
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for link in LINK.findall(prose((ROOT / document).read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert broken == []


def test_the_readme_begins_with_the_two_commands() -> None:
    assert blocks("sh", Path("README.md"))[0].split("\n")[:2] == ["make demo", "make test"]


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {
        word
        for _, words in commands()
        if words[0] == "make"
        for word in words[1:]
        if "=" not in word
    }
    assert used
    assert used <= targets


def test_files_that_commands_name_exist() -> None:
    missing = [
        f"{document}: {word}"
        for document, words in commands()
        for word in words
        if re.fullmatch(r"(bench|docs|examples|nats_streaming|tests|tools)/[\w./-]+", word)
        and not (ROOT / word).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_yaml_examples_are_yaml(document: Path) -> None:
    for block in blocks("yaml", document):
        assert all(list(yaml.safe_load_all(block)))


def test_the_change_log_has_the_unreleased_on_top() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "[Unreleased]"
