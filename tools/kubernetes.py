"""Builds programs of Kubernetes, a project that publishes no Go programs to install.

``go install k8s.io/kubernetes/cmd/...`` is refused, because that module replaces the ``k8s.io/*``
modules of its own source tree by folders. A separate module, which replaces the same ones by their
releases (v0.X.Y belongs to v1.X.Y), builds them from the released sources; Go checks those against
the public checksum database.
"""

import json
import re
import subprocess
from pathlib import Path

from tools import go_toolchain
from tools.cache import ToolError, cache_dir, run

MODULE = "k8s.io/kubernetes"
_OLDEST_GO = (1, 24)
_UNRELEASED = re.compile(r"^\s*(k8s\.io/[\w.-]+) v0\.0\.0(?:\s|$)", re.MULTILINE)
_VERSION = "k8s.io/component-base/version"


def build(name: str, version: str, folder: Path) -> None:
    """Build ``k8s.io/kubernetes/cmd/<name>`` of a release as ``folder/<name>``.

    Raises:
        ToolError: there is no suitable Go, a source is not available, or the build failed.
    """
    go = go_toolchain.find_or_install(_OLDEST_GO)
    log = cache_dir() / f"{name}-{version}.log"
    environment = go.environment()
    environment["GOFLAGS"] += " -mod=mod"
    module = folder / "module"
    module.mkdir()
    (module / "go.mod").write_text(_go_mod(_go_mod_of_release(go, version), version))
    major, minor, _ = version.split(".")
    stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s -w", *(f"-X {_VERSION}.{key}={stamps[key]}" for key in stamps)])
    command: list[str | Path] = [go.command, "build", "-C", module, "-trimpath"]
    run(
        f"building {name} {version} with {go.version} (takes a few minutes once)",
        [*command, f"-ldflags={flags}", "-o", folder / name, f"{MODULE}/cmd/{name}"],
        log,
        environment,
    )


def _go_mod(released: str, version: str) -> str:
    """Return the ``go.mod`` of the separate module, given that of the release."""
    staging = sorted(set(_UNRELEASED.findall(released)))
    if not staging:
        raise ToolError(f"{MODULE} {version} has a go.mod of a form that is not known here")
    tag = version.partition(".")[2]
    lines = [
        "module natss-channel-tools",
        "",
        f"go {'.'.join(map(str, _OLDEST_GO))}",
        "",
        f"require {MODULE} v{version}",
        "",
        *(f"replace {name} => {name} v0.{tag}" for name in staging),
    ]
    return "\n".join([*lines, ""])


def _go_mod_of_release(go: go_toolchain.GoToolchain, version: str) -> str:
    result = subprocess.run(
        [go.command, "mod", "download", "-json", f"{MODULE}@v{version}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=cache_dir(),
        env=go.environment(),
    )
    if result.returncode:
        output = result.stderr or result.stdout
        raise ToolError(f"{MODULE} {version} cannot be downloaded: {output}")
    return Path(json.loads(result.stdout)["GoMod"]).read_text()
