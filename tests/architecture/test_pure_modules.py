"""A module whose docstring says "Pure" waits for nothing, tells nobody, and asks no clock.

What it imports in turn is looked at by import-linter, where a whole folder is pure. Elsewhere a
pure module reads values whose classes lie beside code that acts: only its own imports count.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PACKAGES = ("dispatcher", "natss", "natss_provisioner")
ACTING = {
    *("asyncio", "concurrent", "selectors", "signal", "threading", "uvloop"),
    *("logging", "structlog", "sys.stderr", "sys.stdout", "warnings"),
    *("datetime.date.today", "datetime.datetime.now", "datetime.datetime.utcnow", "time"),
    *("aiohttp", "kopf", "nats", "socket", "ssl", "urllib.request"),
    *("os", "pathlib", "shutil", "subprocess", "tempfile", "random", "secrets"),
}
BUILT_IN = {"input", "open", "print"}
WHOLLY_PURE = ("dispatcher.event", "natss.contract", "natss_provisioner")
"""Where import-linter also checks indirect imports."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def says_pure(text: str) -> bool:
    return re.search(r"\bPure[.:,]", ast.get_docstring(ast.parse(text)) or "") is not None


MODULES = {
    name_of(path): path.read_text()
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
PURE = [
    name
    for name, text in MODULES.items()
    if says_pure(text) or name.startswith("natss.contract")  # which says it for all of them
]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]


def acts(source: str) -> list[str]:
    """Return what is not pure in a module's source."""
    tree = ast.parse(source)
    names = dict(imported(tree))
    used = [*names.values(), *(dotted(node, names) for node in ast.walk(tree))]
    return sorted({each for each in used if each and is_acting(each)})


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield every name that is imported, in the module and in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield each.asname or each.name, each.name
        elif isinstance(node, ast.ImportFrom):
            for each in node.names:
                yield each.asname or each.name, f"{node.module}.{each.name}"


def dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    """Return the full name that an expression stands for, if it is a name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id if node.id in BUILT_IN else None)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, names)
        return before and f"{before}.{node.attr}"
    return None


def is_acting(name: str) -> bool:
    return name in BUILT_IN or any(f"{name}.".startswith(f"{each}.") for each in ACTING)


def test_some_modules_say_that_they_are_pure() -> None:
    assert len(PURE) > 40


@pytest.mark.parametrize("module", PURE)
def test_what_says_that_it_is_pure_is(module: str) -> None:
    assert acts(MODULES[module]) == []


def test_import_linter_looks_at_every_pure_module_of_the_pure_folders() -> None:
    (contract,) = (each for each in CONTRACTS if "asyncio" in each.get("forbidden_modules", ()))
    looked_at = tuple(contract["source_modules"])
    missing = {
        module for module in PURE if is_in(module, WHOLLY_PURE) and not is_in(module, looked_at)
    }
    assert missing == set()


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{each}.") for each in packages)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import asyncio", ["asyncio"]),
        ("import asyncio.events as loops", ["asyncio.events"]),
        ("def decide():\n    from time import monotonic", ["time.monotonic"]),
        ("import structlog\nlog = structlog.get_logger()", ["structlog", "structlog.get_logger"]),
        ("from datetime import UTC, datetime\nnow = datetime.now(UTC)", ["datetime.datetime.now"]),
        ("import datetime as dt\nnow = dt.datetime.now()", ["datetime.datetime.now"]),
        ("text = open('file').read()", ["open"]),
        ("import sys\nsys.stderr.write('')", ["sys.stderr", "sys.stderr.write"]),
        ("from datetime import datetime\nwhen = datetime.fromisoformat('2019-01-01')", []),
        ("import sys\nsize = sys.getsizeof(b'')", []),
        ("def tell(time, warnings):\n    warnings.append(time)", []),
        ("import timeit_of_ours", []),
    ],
)
def test_what_is_not_pure_is_found(source: str, expected: list[str]) -> None:
    assert acts(source) == expected
