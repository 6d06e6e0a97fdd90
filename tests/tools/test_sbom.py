"""The bill of materials of the image says what is installed, and nothing that is not pinned is."""

import hashlib
import json
import re
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from tools.cache import ToolError
from tools.image import ROOT
from tools.sbom import bill, read_lock

METADATA = """\
Metadata-Version: 2.4
Name: {name}
Version: {version}
License-Expression: MIT OR Apache-2.0
{more}
"""


class Made:
    """An installation, the wheels that it was made of, and a lock file.

    Args:
        folder: For all of it.
    """

    def __init__(self, folder: Path) -> None:
        self.packages, self.wheels, self.lock = folder / "lib", folder / "wheels", folder / "lock"
        self.packages.mkdir()
        self.wheels.mkdir()
        self.lock.touch()
        needs = "Requires-Dist: Aio_HTTP>=1\nRequires-Dist: nkeys; extra == 'keys'"
        self.install("natss-channel", "0.1.0", f"{needs}\nProvides-Extra: keys")

    def install(self, name: str, version: str, more: str = "") -> None:
        folder = self.packages / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        text = METADATA.format(name=name, version=version, more=more)
        (folder / "METADATA").write_text(text)

    def wheel(self, name: str) -> str:
        """Put a wheel there; return its hash."""
        file = self.wheels / f"{name}.whl"
        file.write_text(name)
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def pin(self, pin: str, *hashes: str) -> None:
        lines = "".join(f" \\\n    --hash=sha256:{each}" for each in hashes)
        with self.lock.open("a") as lock:
            lock.write(f"{pin}{lines}\n    # via natss-channel\n")

    def bill(self) -> dict[str, Any]:
        return dict(json.loads(self.text()))

    def text(self) -> str:
        return bill(distributions(path=[str(self.packages)]), self.lock, self.wheels)


OTHER = "0" * 64
SOURCE = "5" * 64


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Return an installation with one package of a wheel, and one built from its source."""
    made = Made(tmp_path)
    made.install("Aio.HTTP", "3.1", "Requires-Dist: nkeys; python_version < '2'")
    made.install("nkeys", "0.2")
    made.pin("aio-http==3.1", OTHER, made.wheel("aio_http-3.1"))
    made.pin("nkeys==0.2 ; sys_platform != 'win32'", SOURCE)
    made.wheel("nkeys-0.2")
    made.pin("colorama==9 ; sys_platform == 'win32'", OTHER)
    return made


def test_it_names_what_is_installed_with_version_and_hash(made: Made) -> None:
    document = made.bill()
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "natss-channel"
    wheel = hashlib.sha256(b"aio_http-3.1").hexdigest()
    found = {
        each["purl"]: [(h["alg"], h["content"]) for h in each["hashes"]]
        for each in document["components"]
    }
    assert found == {
        "pkg:pypi/aio-http@3.1": [("SHA-256", wheel)],
        "pkg:pypi/nkeys@0.2": [("SHA-256", SOURCE)],
    }
    (license_of_it,) = document["components"][0]["licenses"]
    assert license_of_it["expression"] == "MIT OR Apache-2.0"


def test_it_tells_what_needs_what(made: Made) -> None:
    needs = {each["ref"]: each.get("dependsOn", []) for each in made.bill()["dependencies"]}
    assert needs == {
        "pkg:generic/natss-channel@0.1.0": ["pkg:pypi/aio-http@3.1", "pkg:pypi/nkeys@0.2"],
        "pkg:pypi/aio-http@3.1": [],
        "pkg:pypi/nkeys@0.2": [],
    }


def test_the_same_contents_give_the_same_bytes(made: Made) -> None:
    first = made.text()
    assert made.text() == first
    assert "timestamp" not in first
    serial = made.bill()["serialNumber"]
    made.install("new", "1")
    made.pin("new==1", OTHER)
    assert made.bill()["serialNumber"] != serial


def test_what_is_not_pinned_is_an_error(made: Made) -> None:
    made.install("surprise", "1")
    with pytest.raises(ToolError, match="surprise is installed and not pinned"):
        made.bill()


def test_another_version_than_the_pinned_one_is_an_error(made: Made) -> None:
    made.install("late", "2")
    made.pin("late==1", OTHER)
    with pytest.raises(ToolError, match="late is pinned at 1, and 2 is installed"):
        made.bill()


def test_another_file_than_a_pinned_one_is_an_error(made: Made) -> None:
    made.install("forged", "1")
    made.wheel("forged-1")
    made.pin("forged==1", OTHER, SOURCE)
    with pytest.raises(ToolError, match="none of the files that are pinned for forged"):
        made.bill()


def test_the_lock_file_of_the_image_can_be_read() -> None:
    text = (ROOT / "requirements.txt").read_text()
    pins = read_lock(text)
    assert set(pins) == set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))
    assert sum(len(pin.hashes) for pin in pins.values()) == text.count("--hash=sha256:")
    assert all(pin.hashes for pin in pins.values())


def test_the_label_leads_to_it() -> None:
    text = (ROOT / "Dockerfile").read_text()
    (path,) = re.findall(r'^ +natss-channel\.sbom="(\S+)"', text, re.MULTILINE)
    assert re.search(rf"^COPY --from=build \S+\.cdx\.json {path}$", text, re.MULTILINE)
    assert path in (ROOT / "docs" / "security.md").read_text()


def test_what_makes_it_is_the_same_everywhere() -> None:
    of_image = read_lock((ROOT / "tools" / "sbom-requirements.txt").read_text())
    of_tests = read_lock((ROOT / "requirements-dev.txt").read_text())
    assert of_image
    for name, pin in of_image.items():
        assert of_tests[name] == pin
