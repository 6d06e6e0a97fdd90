"""The demo as ``make demo`` runs it, only with fewer events."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

_AS_FROM_A_TERMINAL = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("examples.demo", run_name="__main__", alter_sys=True)
"""
# Where the tests themselves run in the background, their children ignore Ctrl-C from the start.


def start_demo(folder: Path, events: int) -> subprocess.Popen[str]:
    """Start the demo in a session of its own, with its temporary files in ``folder``."""
    return subprocess.Popen(
        [sys.executable, "-c", _AS_FROM_A_TERMINAL, f"--events={events}"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def still_running(session: int) -> list[str]:
    """Return the command lines of the processes of a session."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has just ended
            continue
    return found


def read_until(demo: subprocess.Popen[str], text: str) -> None:
    assert demo.stdout is not None
    output = ""
    for line in demo.stdout:
        output += line
        if text in output:
            return
    raise AssertionError(f"{text!r} was not printed:\n{output}")


@pytest.mark.timeout(60)
def test_nothing_is_lost_when_dispatcher_and_server_are_killed(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, events=30)
    output = demo.communicate(timeout=50)[0]
    assert demo.returncode == 0, output
    rows = re.findall(
        r"(quick|slow|flaky|ledger) +│ +(\d+) │ +(\d+) │ +(\d+) │ +\d+ │ +(\d+)", output
    )
    assert rows == [(name, "30", "30", "30", "0") for name in ("quick", "slow", "flaky", "ledger")]
    assert "SIGKILL to the dispatcher" in output
    assert "SIGKILL to nats-streaming-server" in output
    commands = re.sub(r"\\\n +", "", output)
    assert "nats-streaming-server -a 127.0.0.1 -store FILE" in commands
    assert "natss-dispatcher --channels examples/channels.yaml --natss-url" in commands
    assert "--listen 127.0.0.1:8080 --admin-listen 127.0.0.1:8081 --state-dir" in commands
    assert "curl -i http://127.0.0.1:8080/" in commands
    assert list(tmp_path.iterdir()) == []
    assert still_running(demo.pid) == []


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(
    tmp_path: Path, signal_number: signal.Signals
) -> None:
    demo = start_demo(tmp_path, events=1000)
    read_until(demo, "natss-dispatcher at")
    assert len(still_running(demo.pid)) == 3
    demo.send_signal(signal_number)
    output = demo.communicate(timeout=50)[0]
    assert demo.returncode == 130, output
    assert "Interrupted" in output
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []
    assert still_running(demo.pid) == []
