import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools.cache import ToolError
from tools.image import ROOT, find_builder

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKS = "#!/bin/sh\necho $0 $@ >>$CALLS\n"
NO_ENGINE = "#!/bin/sh\necho Is the docker daemon running? >&2\nexit 1\n"


def machine(folder: Path, **programs: str) -> dict[str, str]:
    """Return the environment of a machine with these builders, which records their calls."""
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "git").symlink_to("/usr/bin/git")
    (folder / "sh").symlink_to("/bin/sh")
    return {**os.environ, "PATH": str(folder), "CALLS": str(folder / "calls")}


def make_image(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.image", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_builder_without_an_engine_is_passed_over(tmp_path: Path) -> None:
    environment = machine(tmp_path / "bin", docker=NO_ENGINE, buildah=WORKS)
    result = make_image(environment, "--pull-never")
    assert result.returncode == 0, result.stderr
    *_, call = (tmp_path / "bin" / "calls").read_text().splitlines()
    version = PROJECT["project"]["version"]
    assert "/buildah build " in call
    assert f" --tag=natss-channel:{version} " in call
    assert f" --build-arg=VERSION={version} " in call
    assert call.endswith(f" --pull-never {ROOT}")


def test_a_builder_that_fails_is_an_error(tmp_path: Path) -> None:
    fails = WORKS + "[ $1 = build ] && exit 3\nexit 0\n"
    result = make_image(machine(tmp_path / "bin", podman=fails, buildah=WORKS))
    assert result.returncode == 1
    assert result.stderr.endswith("tools: podman failed with status 3\n")


def test_where_nothing_can_build_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", machine(tmp_path / "bin", docker=NO_ENGINE)["PATH"])
    with pytest.raises(ToolError) as caught:
        find_builder(["docker", "podman", "buildah"])
    assert str(caught.value).splitlines() == [
        "an image needs one of these programs, and none works here:",
        "  docker: Is the docker daemon running?",
        "  podman: not installed",
        "  buildah: not installed",
    ]


def test_the_image_is_made_of_all_packages_and_little_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    taken = {line.removeprefix("!") for line in lines if line.startswith("!")}
    packages = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert taken >= {package.removesuffix("*").removesuffix(".") for package in packages}
    assert all((ROOT / each).exists() for each in taken)


def test_what_builds_the_project_is_the_same_everywhere() -> None:
    of_image = (ROOT / "tools" / "setuptools-requirements.txt").read_text().strip()
    assert of_image in (ROOT / "requirements-demo.txt").read_text()
