"""docs/security.md names tests and settings that exist, and what is denied by default."""

import ast
import re

import pytest

from dispatcher.egress import proxies
from dispatcher.settings.settings import DispatcherSettings
from dispatcher.settings.table import SECTIONS
from tests.support.documents import examples
from tests.support.repository import ROOT

DOCUMENT = "docs/security.md"
TEXT = (ROOT / DOCUMENT).read_text()
ROWS = [row.strip("|").split(" | ") for row in re.findall(r"^\|.*\|$", TEXT, re.MULTILINE)]
THREATS = [row for row in ROWS if "shown by" not in row[-1] and not row[0].startswith("---")]
TESTS = sorted(set(re.findall(r"`(tests/[\w./]+)`", TEXT)))


def test_every_threat_has_an_answer_and_a_test() -> None:
    assert len(THREATS) > 20
    for row in THREATS:
        assert len(row) == 3, row
        assert re.search(r"`tests/[\w/]+/test_\w+\.py`", row[-1]), row


@pytest.mark.parametrize("path", TESTS)
def test_every_test_that_is_named_exists_and_tests_something(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [each.name for each in ast.walk(tree) if isinstance(each, functions)]
    assert [name for name in names if name.startswith("test_")]


def test_every_setting_that_is_named_exists() -> None:
    options = [option for section in SECTIONS for option in section.options]
    flags = {option.flag for option in options} | {"--help"}
    variables = {variable for option in options for variable in option.variables}
    assert set(re.findall(r"`(--[a-z-]+)`", TEXT)) <= flags
    assert set(re.findall(r"\b([A-Z]+_[A-Z_]+)\b", TEXT)) <= variables | set(proxies.VARIABLES)


def test_the_example_denies_what_is_denied_by_default_and_more() -> None:
    (command,) = (each for each in examples("sh", TEXT) if "EGRESS_DENY" in each)
    (networks,) = re.findall(r"EGRESS_DENY=(\S+)", command)
    told = DispatcherSettings.load(["--kubernetes=on", f"--egress-deny={networks}"], {})
    default = str(DispatcherSettings.load(["--kubernetes=on"], {}).egress.denied_networks)
    assert str(told.egress.denied_networks).startswith(f"{default},")


def test_who_finds_a_weak_point_finds_where_to_tell() -> None:
    assert "(docs/security.md)" in (ROOT / "SECURITY.md").read_text()
    assert "(../SECURITY.md)" in TEXT
    assert "(docs/security.md)" in (ROOT / "README.md").read_text()
