"""Makes the virtual environment ``.venv`` and keeps it in line with the requirement files.

``python -m tools.venv demo`` installs what the demo and the benchmarks need, ``dev`` what the tests
and checks need as well, ``fuzz`` also the fuzzer. Nothing happens if that is installed already. The
environment uses the Python that runs this program.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tools.cache import ToolError, locked, run, say

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
_INCLUDES = {
    "demo": ("demo", "dev", "fuzz"),
    "dev": ("dev", "fuzz"),
    "fuzz": ("fuzz",),
}
_REQUIREMENTS = {purpose: f"requirements-{purpose}.txt" for purpose in _INCLUDES}
_PIP: list[str | Path] = [
    VENV / "bin" / "python",
    "-m",
    "pip",
    "install",
    "--disable-pip-version-check",
    "--quiet",
]


def main() -> int:
    """Run the command line; return 1 if the environment could not be made."""
    parser = argparse.ArgumentParser(prog="python -m tools.venv", description=__doc__)
    parser.add_argument("purpose", choices=list(_REQUIREMENTS))
    purpose: str = parser.parse_args().purpose
    try:
        if not _is_ready(purpose):
            with locked(ROOT / ".tools" / ".lock-venv", ".venv"):
                if not _is_ready(purpose):
                    _install(purpose)
    except ToolError as error:
        print(f"tools: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tools: interrupted; the next run starts this step again", file=sys.stderr)
        return 130
    return 0


def _is_ready(purpose: str) -> bool:
    return any(
        _stamp(p).exists() and _stamp(p).read_text() == _wanted(p) for p in _INCLUDES[purpose]
    )


def _stamp(purpose: str) -> Path:
    """Return the file that is written last and removed first.

    Without any such file the environment is useless and made anew.
    """
    return VENV / f".installed-{purpose}"


def _wanted(purpose: str) -> str:
    digest = hashlib.sha256()
    for name in (_REQUIREMENTS[purpose], "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return f"{_python_version()} {digest.hexdigest()}\n"


def _python_version() -> str:
    return "{}.{}".format(*sys.version_info)


def _install(purpose: str) -> None:
    log = ROOT / ".tools" / "venv.log"
    stamps = [_stamp(p) for p in _REQUIREMENTS]
    usable = any(s.exists() and s.read_text().split()[0] == _python_version() for s in stamps)
    for stamp in stamps:
        stamp.unlink(missing_ok=True)
    if not usable:
        _create()
    environment = dict(os.environ)
    requirements = ["--require-hashes", "--requirement", str(ROOT / _REQUIREMENTS[purpose])]
    run(
        f"installing {_REQUIREMENTS[purpose]} into .venv (half a minute once)",
        [*_PIP, *requirements],
        log,
        environment,
    )
    run(
        "installing this project into .venv",
        [*_PIP, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)],
        log,
        environment,
    )
    _stamp(purpose).write_text(_wanted(purpose))


def _create() -> None:
    say(f"making .venv with Python {sys.version.split()[0]}")
    # Not sys.executable, which may belong to the environment that is about to be replaced.
    python = Path(sys.base_prefix) / "bin" / f"python{_python_version()}"
    command: list[str | Path] = [python, "-m", "venv", "--clear", VENV]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ToolError(
            f"{python} -m venv failed; on Debian and Ubuntu the package python3-venv is "
            "needed, or another Python can be named: make PYTHON=/path/to/python3.x\n"
            f"{result.stdout}{result.stderr}"
        )


if __name__ == "__main__":
    sys.exit(main())
