"""A program that cannot listen says which flag to change."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from natss.process.kinds import ListenAddress
from natss.process.listening import CannotListen, listening
from tests.support.servers import free_port

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: me, user: {token: none}}]
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def start(*command: str, environ: dict[str, str]) -> tuple[int, str]:
    """Return the exit status of a program and its output."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("flag", ["--listen", "--admin-listen"])
def test_the_dispatcher_says_which_of_its_ports_is_in_use(
    flag: str, taken: int, tmp_path: Path
) -> None:
    (tmp_path / "channels.yaml").touch()
    other = {"--listen": "--admin-listen", "--admin-listen": "--listen"}[flag]
    status, said = start(
        "dispatcher.main",
        f"--channels={tmp_path / 'channels.yaml'}",
        "--natss-url=nats://127.0.0.1:1",
        f"{flag}=127.0.0.1:{taken}",
        f"{other}=127.0.0.1:{free_port()}",
        environ={},
    )
    assert status == 1
    told = f"{flag}: cannot listen on 127.0.0.1:{taken}: another process listens there; end it"
    assert told in said
    assert "Traceback" not in said


def test_the_provisioner_says_so_too(taken: int, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    status, said = start(
        "natss_provisioner.main",
        f"--health-listen=127.0.0.1:{taken}",
        environ={"KUBECONFIG": str(tmp_path / "config")},
    )
    assert status == 1
    assert f"--health-listen: cannot listen on 127.0.0.1:{taken}: another process" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EADDRINUSE, "x"), "another process listens there"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "this machine has no such address"),
        (PermissionError(errno.EACCES, "x"), "from 1024 on"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "the host has no address"),
    ],
)
def test_a_reason_says_what_to_do(error: OSError, reason: str) -> None:
    with (
        pytest.raises(CannotListen, match=reason) as caught,
        listening("--x", ListenAddress("::1", 80)),
    ):
        raise error
    assert str(caught.value).startswith("--x: cannot listen on [::1]:80: ")


def test_what_has_nothing_to_do_with_the_address_stays_as_it_is() -> None:
    with pytest.raises(FileNotFoundError), listening("--x", ListenAddress("::1", 80)):
        raise FileNotFoundError(errno.ENOENT, "no such file", "tls.crt")


async def test_the_errors_of_event_loops_are_known() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(CannotListen), listening("--x", ListenAddress("192.0.2.1", 0)):
        await loop.create_server(asyncio.Protocol, "192.0.2.1", 0)
