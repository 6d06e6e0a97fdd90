"""Builds the container image of this project with docker, podman or buildah, whichever works here.

``python -m tools.image`` builds ``natss-channel`` with the version of ``pyproject.toml`` as tag, as
the manifests in ``config/`` name it; further arguments go to the builder, as ``--platform``.
"""

import argparse
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tools.cache import ToolError, say

ROOT = Path(__file__).resolve().parent.parent
_ANSWERS = {
    "docker": ["version", "--format", "{{.Server.Version}}"],
    "podman": ["info"],
    "buildah": ["info"],
}
"""Builders in the order of preference, and what each can do only where it can build."""

_ANSWER_SECONDS = 30.0


def main() -> int:
    """Run the command line; return 1 if the image could not be built."""
    parser = argparse.ArgumentParser(prog="python -m tools.image", description=__doc__)
    parser.add_argument("--name", default=name(), help="of the image (%(default)s)")
    arguments, further = parser.parse_known_args()
    try:
        build(find_builder(list(_ANSWERS)), arguments.name, ROOT, [*build_arguments(), *further])
    except ToolError as error:
        print(f"tools: {error}", file=sys.stderr)
        return 1
    return 0


def name() -> str:
    """Return the name that the manifests use, such as ``natss-channel:1.2.3``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"{project['name']}:{project['version']}"


def build_arguments() -> list[str]:
    """Return flags for any builder that fill in the labels, all from the version and the commit."""
    revision = _git("rev-parse", "HEAD")
    if revision and _git("status", "--porcelain"):
        revision += "-dirty"
    values = {
        "VERSION": name().partition(":")[2],
        "REVISION": revision,
        "CREATED": _git("log", "-1", "--format=%cI"),
    }
    return [f"--build-arg={key}={value}" for key, value in values.items()]


def find_builder(candidates: Sequence[str]) -> str:
    """Return the first of these programs that is installed and works.

    Raises:
        ToolError: none does; the text says what is wrong with each.
    """
    wrong = []
    for builder in candidates:
        problem = _problem_with(builder)
        if problem is None:
            return builder
        wrong.append(f"{builder}: {problem}")
    listed = "\n  ".join(wrong)
    raise ToolError(f"an image needs one of these programs, and none works here:\n  {listed}")


def build(builder: str, image: str, folder: Path, arguments: Sequence[str]) -> None:
    """Build the Dockerfile of a folder.

    Raises:
        ToolError: the builder failed; it has said why.
    """
    say(f"building the image {image} with {builder}")
    command = [builder, "build", f"--tag={image}", *arguments, str(folder)]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise ToolError(f"{builder} failed with status {status}")
    say(f"{image} is built")


def _problem_with(builder: str) -> str | None:
    if shutil.which(builder) is None:
        return "not installed"
    command = [builder, *_ANSWERS[builder]]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"does not answer within {_ANSWER_SECONDS:.0f} s"
    if result.returncode == 0:
        return None
    lines = (result.stderr or result.stdout).strip().splitlines()
    return lines[-1] if lines else f"fails with status {result.returncode}"


def _git(*arguments: str) -> str:
    """Return what git says; nothing outside a checkout."""
    try:
        result = subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
