import os
import subprocess
import sys
from pathlib import Path

from tests.support.repository import ROOT

# What it writes into the module's go.mod is looked at afterwards.
FAKE_GO = """#!/bin/sh
case "$1 $2" in
"env GOVERSION") echo go1.99.0 ;;
"env GOFLAGS") ;;
"mod download") echo '{"GoMod": "'$FAKE_GO_MOD'"}' ;;
"build -C")
    echo "$GOFLAGS $@" >"$3/../calls"
    while [ "$1" != -o ]; do shift; done
    printf '#!/bin/sh\\necho fake' >"$2"
    chmod +x "$2" ;;
esac
"""

RELEASED = """module k8s.io/kubernetes
go 1.24.0
require (
	github.com/spf13/cobra v1.9.1
	k8s.io/api v0.0.0
	k8s.io/klog/v2 v2.130.1
	k8s.io/sample-apiserver v0.0.0 // indirect
)
"""

SCRIPT = """
import sys
from pathlib import Path
from tools import provide
provide.BIN = Path.cwd() / "bin"
sys.exit(provide.main())
"""


def machine(folder: Path, *, kubectl: bool) -> dict[str, str]:
    """Return a machine with an empty cache and a fast fake Go; perhaps with a kubectl."""
    (folder / "bin").mkdir(parents=True)
    (folder / "go.mod").write_text(RELEASED)
    for name, text in {"go": FAKE_GO, "kubectl": "#!/bin/sh\necho own"}.items():
        if name == "kubectl" and not kubectl:
            continue
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    (folder / "checkout").mkdir()
    (folder / "checkout" / "tools").symlink_to(ROOT / "tools")
    tools = folder / "system"
    tools.mkdir()
    for name in ("sh", "printf", "chmod", "echo", "env"):
        (tools / name).symlink_to(f"/bin/{name}")
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{tools}",
        "NATSS_TOOLS_DIR": str(folder / "cache"),
        "FAKE_GO_MOD": str(folder / "go.mod"),
    }


def provide(folder: Path, environment: dict[str, str], *names: str) -> None:
    command = [sys.executable, "-c", SCRIPT, *names]
    result = subprocess.run(
        command, cwd=folder / "checkout", env=environment, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr.decode()


def output(program: Path) -> str:
    return subprocess.run([program], capture_output=True, check=True, text=True).stdout.strip()


def test_modules_that_kubernetes_replaces_by_folders_are_replaced_by_their_releases(
    tmp_path: Path,
) -> None:
    environment = machine(tmp_path / "m", kubectl=False)
    provide(tmp_path / "m", environment, "kube-apiserver")
    entry = next((tmp_path / "m" / "cache").glob("kube-apiserver-1.*[0-9]"))
    minor = entry.name.removeprefix("kube-apiserver-1.")
    module = (entry / "module" / "go.mod").read_text()
    assert f"require k8s.io/kubernetes v1.{minor}" in module
    assert [line for line in module.splitlines() if line.startswith("replace")] == [
        f"replace k8s.io/api => k8s.io/api v0.{minor}",
        f"replace k8s.io/sample-apiserver => k8s.io/sample-apiserver v0.{minor}",
    ]
    calls = (entry / "calls").read_text()
    assert "-mod=mod" in calls
    assert f"gitVersion=v1.{minor}" in calls
    assert output(tmp_path / "m" / "checkout" / "bin" / "kube-apiserver") == "fake"


def test_the_kubectl_of_the_machine_is_taken_before_one_is_built(tmp_path: Path) -> None:
    with_one = machine(tmp_path / "one", kubectl=True)
    provide(tmp_path / "one", with_one, "kubectl")
    provide(tmp_path / "one", with_one, "kubectl")
    assert output(tmp_path / "one" / "checkout" / "bin" / "kubectl") == "own"
    without = machine(tmp_path / "two", kubectl=False)
    provide(tmp_path / "two", without, "kubectl")
    assert output(tmp_path / "two" / "checkout" / "bin" / "kubectl") == "fake"
