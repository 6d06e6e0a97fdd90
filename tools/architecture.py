"""Draws the imports between folders into ``docs/architecture.md``, as they are in the code.

Unlike most tools it needs grimp, which comes with import-linter; it is for people who work on this
project.
"""

import re
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("dispatcher", "natss_provisioner", "natss")
_DRAWN_AS_ONE = {"natss_provisioner"}
_LEFT_OUT = {"dispatcher.version", "natss.backoff", "natss.document", "natss.knative"}
_BLOCK = re.compile(r"```mermaid\n.*?```\n", re.DOTALL)

Imports = Mapping[str, frozenset[str]]
"""Each folder, and the folders that it imports from."""


def main() -> int:
    """Run the command line."""
    PAGE.write_text(drawn_into(PAGE.read_text(), imports()))
    return 0


def imports() -> Imports:
    """Return the folders of this repository. A file beside the folders counts as one."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        importer = _folder(module)
        imported = {_folder(each) for each in graph.find_modules_directly_imported_by(module)}
        found.setdefault(importer, set()).update(imported - {importer})
    drawn = found.keys() - set(PACKAGES) - _LEFT_OUT | _DRAWN_AS_ONE
    return {each: frozenset(found[each] & drawn) for each in drawn}


def without_detours(imports: Imports) -> Imports:
    """Return only the imports that no chain of others implies.

    Raises:
        graphlib.CycleError: folders import each other in a cycle.
    """
    reached: dict[str, set[str]] = {}
    for folder in TopologicalSorter(imports).static_order():  # what is imported comes first
        reached[folder] = set().union(*(reached[each] | {each} for each in imports[folder]))
    return {
        folder: targets - set().union(*(reached[each] for each in targets))
        for folder, targets in imports.items()
    }


def mermaid(imports: Imports) -> str:
    """Return a flow chart of folders, with a box around those of each package."""
    lines = ["flowchart TB"]
    for package in PACKAGES:
        folders = [each for each in _downwards(imports) if each.split(".")[0] == package]
        if package in _DRAWN_AS_ONE:
            lines += [f"  {_node(each)}" for each in folders]
            continue
        lines += [f"  subgraph {package}", *(f"    {_node(each)}" for each in folders), "  end"]
    kept = without_detours(imports)
    lines += [
        f"  {_name(folder)} --> {_name(each)}"
        for folder in _downwards(imports)
        for each in sorted(kept[folder])
    ]
    return "\n".join(lines) + "\n"


def drawn_into(page: str, imports: Imports) -> str:
    """Return a page with its chart replaced.

    Raises:
        ValueError: it does not have exactly one chart.
    """
    text, count = _BLOCK.subn(lambda _: f"```mermaid\n{mermaid(imports)}```\n", page)
    if count != 1:
        raise ValueError(f"the page has {count} mermaid blocks, not one")
    return text


def _folder(module: str) -> str:
    package, *rest = module.split(".")
    return package if package in _DRAWN_AS_ONE or not rest else f"{package}.{rest[0]}"


def _downwards(imports: Imports) -> Iterable[str]:
    """Yield importing folders before those that they import; the same order each time."""
    ordered = {folder: sorted(imports[folder]) for folder in sorted(imports)}
    return reversed(list(TopologicalSorter(ordered).static_order()))


def _name(folder: str) -> str:
    return folder.replace(".", "_")


def _node(folder: str) -> str:
    path = ROOT.joinpath(*folder.split("."))
    label = f"{path.name}/" if path.is_dir() else f"{path.name}.py"
    return f'{_name(folder)}["{label}"]'


if __name__ == "__main__":
    raise SystemExit(main())
