"""Makes the compiled programs that the demo, the tests and the benchmarks run.

``python -m tools.provide NAME...`` builds what is not in the cache yet and links each program as
``.tools/bin/NAME``. Names are those of ``versions.toml``, and ``bench-load``, the load generator
of this repository.
"""

import argparse
import hashlib
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

from tools import go_toolchain
from tools.cache import ToolError, cache_dir, locked, new_entry, run

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".tools" / "bin"
_LOAD_SOURCE = ROOT / "bench" / "load"
_LOAD = "bench-load"
_SLIM = ["-trimpath", "-ldflags=-s -w"]


def main() -> int:
    """Command line; the status is 1 if something could not be made."""
    pinned = tomllib.loads(Path(__file__).with_name("versions.toml").read_text())
    parser = argparse.ArgumentParser(prog="python -m tools.provide", description=__doc__)
    parser.add_argument("names", nargs="+", choices=[*pinned, _LOAD], metavar="NAME")
    try:
        for name in parser.parse_args().names:
            if name == _LOAD:
                provide_load()
            else:
                provide_server(name, pinned[name]["package"], pinned[name]["version"])
    except ToolError as error:
        print(f"tools: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tools: interrupted; the next run starts this step again", file=sys.stderr)
        return 130
    return 0


def provide_server(name: str, package: str, version: str) -> None:
    """Build a program from its module's released source and link it.

    Go checks the source against the public checksum database.
    """

    def build(folder: Path) -> None:
        go = go_toolchain.find_or_install()
        run(
            f"building {name} {version} with {go.version} (takes a minute or two once)",
            [go.command, "install", *_SLIM, f"{package}@v{version}"],
            cache_dir() / f"{name}-{version}.log",
            go.environment(GOBIN=str(folder)),
        )

    _provide(f"{name}-{version}", name, build)


def provide_load() -> None:
    """Build the load generator, again whenever its source has changed, and link it."""
    digest = hashlib.sha256()
    for source in [*sorted(_LOAD_SOURCE.glob("*.go")), _LOAD_SOURCE / "go.mod"]:
        digest.update(source.read_bytes())

    def build(folder: Path) -> None:
        go = go_toolchain.find_or_install()
        run(
            f"building {_LOAD} with {go.version}",
            [
                go.command,
                "build",
                "-C",
                _LOAD_SOURCE,
                *_SLIM,
                "-buildvcs=false",
                "-o",
                folder / _LOAD,
            ],
            cache_dir() / f"{_LOAD}.log",
            go.environment(),
        )

    _provide(f"{_LOAD}-{digest.hexdigest()[:12]}", _LOAD, build)


def _provide(entry: str, name: str, build: Callable[[Path], None]) -> None:
    program = cache_dir() / entry / name
    if not program.exists():
        with locked(cache_dir() / f".lock-{entry}", entry):
            if not program.exists():
                with new_entry(entry) as folder:
                    build(folder)
    _link(program, BIN / name)


def _link(program: Path, link: Path) -> None:
    """Point ``link`` to ``program`` in one step: a process that starts it meanwhile finds it."""
    if link.is_symlink() and link.readlink() == program:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".link-", dir=link.parent) as folder:
        new = Path(folder) / link.name
        new.symlink_to(program)
        new.replace(link)


if __name__ == "__main__":
    sys.exit(main())
