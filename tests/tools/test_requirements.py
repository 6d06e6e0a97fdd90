import re

import pytest

from tests.support.repository import ROOT

FILES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*requirements*.txt", "tools/*requirements*.txt")
    for path in ROOT.glob(pattern)
)
IMAGE, DEMO, DEV = (f"requirements{purpose}.txt" for purpose in ("", "-demo", "-dev"))
BEYOND = sorted(path.name for path in ROOT.glob("requirements-*.txt"))
NESTED = [(IMAGE, DEMO), (DEMO, DEV), *((DEV, each) for each in BEYOND if each not in {DEMO, DEV})]


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_image_takes_nothing_without_its_hash() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    commands = re.findall(r"\bpip (?:--\S+ \S+ )?(install|wheel)\b([^&\n]*)", text)
    assert len(commands) == 5
    for verb, flags in commands:
        held = {"--require-hashes"} if " -r " in flags else {"--no-deps"}
        held = {"--no-index"} if "natss-channel" in flags else held
        assert held <= set(flags.split()), f"pip {verb}{flags}"


@pytest.mark.parametrize("name", FILES)
def test_every_package_is_pinned_with_hashes_and_no_registry_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)
    packages = re.split(r"\n(?=\S)", text.strip())
    for package in packages:
        assert re.match(r"[\w.-]+==[\w.]+( ; [^\n]+)? \\\n +--hash=sha256:", package), package[:80]


@pytest.mark.parametrize(("smaller", "larger"), NESTED)
def test_one_environment_can_be_used_for_all(smaller: str, larger: str) -> None:
    assert pins(smaller).items() < pins(larger).items()
