import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

FAKE_GO = """#!/bin/sh
case "$1 $2" in
"env GOVERSION") echo go1.99.0 ;;
"env GOFLAGS") echo -mod=mod ;;
install*)
    echo "$GOFLAGS" >"$GOBIN/flags"
    echo "$@" >>"$NATSS_TOOLS_DIR/calls"
    sleep 0.2
    printf '#!/bin/sh\\necho fake' >"$GOBIN/nats-streaming-server"
    chmod +x "$GOBIN/nats-streaming-server" ;;
esac
"""


def fake_environment(folder: Path) -> dict[str, str]:
    """A machine with an empty cache, and a Go that builds in no time."""
    (folder / "bin").mkdir(parents=True)
    go = folder / "bin" / "go"
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    path = f"{folder / 'bin'}:/usr/bin:/bin"
    return {**os.environ, "PATH": path, "NATSS_TOOLS_DIR": str(folder / "cache")}


def checkout(folder: Path) -> Path:
    """A checkout in which only the tools are."""
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
