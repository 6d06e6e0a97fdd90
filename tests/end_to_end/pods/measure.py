"""Measures the image from inside, and prints it as JSON.

``size`` is what the project adds to the base image, in bytes. ``seconds`` has, for each command,
how long it took from its start until /healthz answered, and ``cpu`` the processor time of that.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "none", "user": {"token": "none"}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "current-context": "none",
}
"""Of an API that does not answer: a start does not wait for it."""

SETTINGS = {"KUBECONFIG": "/tmp/kubeconfig", "KUBERNETES": "on"}


def main() -> None:
    Path("/tmp/kubeconfig").write_text(json.dumps(KUBECONFIG))
    files = [path for path in Path(sys.prefix).rglob("*") if path.is_file()]
    seconds, cpu = {}, {}
    for command in ("natss-dispatcher", "natss-provisioner"):
        seconds[command], cpu[command] = start(command)
    size = sum(path.lstat().st_size for path in files)
    print(json.dumps({"size": size, "seconds": seconds, "cpu": cpu}))


def start(command: str) -> tuple[float, float]:
    """Return seconds, and seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    process = subprocess.Popen([command], env={**os.environ, **SETTINGS}, stdout=sys.stderr)
    while not answers():
        if process.poll() is not None:
            raise SystemExit(f"{command} ended with status {process.returncode}")
        time.sleep(0.02)
    seconds = time.monotonic() - begin
    process.send_signal(signal.SIGKILL)
    process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def answers() -> bool:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8081/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main()
