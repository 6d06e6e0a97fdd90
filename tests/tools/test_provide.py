import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tools.cache import ToolError
from tools.shifted_clock import with_shift

FAKE_GO = """#!/bin/sh
case "$1 $2" in
"env GOVERSION") echo go1.99.0 ;;
"env GOFLAGS") echo -mod=mod ;;
"env GOROOT") echo "$FAKE_GO_ROOT" ;;
install*)
    echo "$GOFLAGS" >"$GOBIN/flags"
    echo "$@" >>"$NATSS_TOOLS_DIR/calls"
    sleep 0.2
    printf '#!/bin/sh\\necho fake' >"$GOBIN/nats-streaming-server"
    chmod +x "$GOBIN/nats-streaming-server" ;;
esac
"""


def fake_environment(folder: Path) -> dict[str, str]:
    """Return a machine with an empty cache, and a Go that builds in no time."""
    (folder / "bin").mkdir(parents=True)
    go = folder / "bin" / "go"
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    path = f"{folder / 'bin'}:/usr/bin:/bin"
    return {**os.environ, "PATH": path, "NATSS_TOOLS_DIR": str(folder / "cache")}


def checkout(folder: Path) -> Path:
    """Return a checkout that contains only the tools."""
    folder.mkdir()
    (folder / "tools").symlink_to(ROOT / "tools")
    return folder


SCRIPT = """
import sys
from pathlib import Path
from tools import provide
provide.BIN = Path.cwd() / "bin"
sys.exit(provide.main())
"""


def test_two_at_once_build_once_and_both_get_the_program(tmp_path: Path) -> None:
    environment = fake_environment(tmp_path / "machine")
    folders = [checkout(tmp_path / "one"), checkout(tmp_path / "two")]
    command = [sys.executable, "-c", SCRIPT, "nats-streaming-server"]
    processes = [
        subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        for folder in folders
    ]
    outputs = [process.communicate(timeout=20)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    for folder in folders:
        program = folder / "bin" / "nats-streaming-server"
        assert subprocess.run([program], capture_output=True, check=True).stdout == b"fake\n"
    calls = (tmp_path / "machine" / "cache" / "calls").read_text().splitlines()
    assert len(calls) == 1
    assert "github.com/nats-io/nats-streaming-server@v0.25.6" in calls[0]


def test_the_flags_of_the_user_are_kept(tmp_path: Path) -> None:
    environment = fake_environment(tmp_path / "machine")
    command = [sys.executable, "-c", SCRIPT, "nats-streaming-server"]
    folder = checkout(tmp_path / "one")
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    cache = tmp_path / "machine" / "cache"
    flags = (cache / "nats-streaming-server-0.25.6" / "flags").read_text()
    assert flags == "-mod=mod -modcacherw\n"


def test_the_server_with_a_clock_that_jumps_is_built_from_the_pinned_one(tmp_path: Path) -> None:
    package = tmp_path / "go" / "src" / "time"
    package.mkdir(parents=True)
    (package / "time.go").write_text(TIME_GO)
    environment = fake_environment(tmp_path / "machine") | {"FAKE_GO_ROOT": str(tmp_path / "go")}
    command = [sys.executable, "-c", SCRIPT, "nats-streaming-server-shifted"]
    folder = checkout(tmp_path / "one")
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    program = folder / "bin" / "nats-streaming-server-shifted"
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"fake\n"
    (call,) = (tmp_path / "machine" / "cache" / "calls").read_text().splitlines()
    assert "-overlay" in call
    assert call.endswith("github.com/nats-io/nats-streaming-server@v0.25.6")


TIME_GO = """package time

// Now returns the current local time.
func Now() Time {
	sec, nsec, mono := runtimeNow()
	mono -= startNano
}
"""


@pytest.mark.parametrize("source", [TIME_GO, TIME_GO.replace("runtimeNow", "now")])
def test_the_clock_of_every_known_go_is_shifted(source: str) -> None:
    assert "now()\n\tsec, nsec = shifted(sec, nsec)\n\tmono" in with_shift(source).replace("N", "n")


@pytest.mark.parametrize("source", ["", TIME_GO.replace("sec, nsec, mono :=", "t :=")])
def test_a_go_with_another_clock_is_refused(source: str) -> None:
    with pytest.raises(ToolError, match=r"put Go 1\.21"):
        with_shift(source)
