"""What pip installs: three top-level names, and no other."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.repository import ROOT

NAMES = {"dispatcher", "natss", "natss_provisioner"}


def built(folder: Path) -> zipfile.ZipFile:
    """Build the wheel from a copy, since a build leaves files in its source."""
    source = folder / "source"
    source.mkdir()
    for name in [*NAMES, "bench", "tools", "tests/support"]:  # as a checkout has more than is built
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_the_wheel_has_our_packages_and_no_other(tmp_path: Path) -> None:
    with built(tmp_path) as wheel:
        files = set(wheel.namelist())
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == NAMES
    modules = {
        path.relative_to(ROOT).as_posix()
        for name in NAMES
        for path in (ROOT / name).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    assert modules <= files
