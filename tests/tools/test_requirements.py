import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    "requirements.txt",
    "requirements-demo.txt",
    "requirements-dev.txt",
    "requirements-graph.txt",
    "tools/etcd-requirements.txt",
    "tools/go-requirements.txt",
    "tools/setuptools-requirements.txt",
    "tools/uv-requirements.txt",
]


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", FILES)
def test_every_package_is_pinned_with_hashes_and_no_registry_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)
    packages = re.split(r"\n(?=\S)", text.strip())
    for package in packages:
        assert re.match(r"[\w.-]+==[\w.]+( ; [^\n]+)? \\\n +--hash=sha256:", package), package[:80]


@pytest.mark.parametrize(("smaller", "larger"), [(0, 1), (1, 2), (2, 3)])
def test_one_environment_can_be_used_for_all(smaller: int, larger: int) -> None:
    assert pins(FILES[smaller]).items() < pins(FILES[larger]).items()
