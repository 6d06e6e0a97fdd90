"""Both programs listen on IPv4 and IPv6 by default, with what the machine has of them."""

import asyncio
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from natss.process.event_loops import AsyncioLoop, UvloopLoop
from natss.process.kinds import ADDRESS, ListenAddress
from natss.process.listening import bind
from tests.support import slow_names
from tests.support.channel_files import write_documents

EVENT_LOOPS = {loop.__name__: loop for loop in (AsyncioLoop, UvloopLoop)}

DISPATCHER, PROVISIONER = "dispatcher.main", "natss_provisioner.main"


async def answering(address: ListenAddress) -> list[str]:
    """Return which loopback addresses accept a connection, one after the other."""
    sockets = await bind(address)
    servers = [
        await asyncio.start_server(lambda _, writer: writer.close(), sock=sock) for sock in sockets
    ]
    ports = {sock.getsockname()[1] for sock in sockets}
    (port,) = ports
    found = []
    for host in ("127.0.0.1", "::1"):
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            continue
        writer.close()
        found.append(host)
    for server in servers:
        server.close()
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (":0", ["127.0.0.1", "::1"]),
        ("0.0.0.0:0", ["127.0.0.1"]),
        ("[::]:0", ["::1"]),
        ("127.0.0.1:0", ["127.0.0.1"]),
        ("[::1]:0", ["::1"]),
    ],
)
async def test_which_addresses_a_setting_stands_for(text: str, wanted: list[str]) -> None:
    address = ADDRESS.parse(text)
    assert isinstance(address, ListenAddress)
    assert str(address) == text
    assert await answering(address) == wanted


async def test_a_name_stands_for_its_addresses() -> None:
    sockets = await bind(ListenAddress("localhost", 0))
    assert {sock.getsockname()[0] for sock in sockets} <= {"127.0.0.1", "::1"}
    for sock in sockets:
        sock.close()


async def test_an_ipv4_peer_has_an_ipv4_address() -> None:
    """Not ``::ffff:127.0.0.1``: bounds and logs are by address."""
    peers: asyncio.Queue[Any] = asyncio.Queue()

    def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.put_nowait(writer.get_extra_info("peername"))
        writer.close()

    sockets = await bind(ListenAddress("", 0))
    servers = [await asyncio.start_server(accepted, sock=sock) for sock in sockets]
    _, writer = await asyncio.open_connection("127.0.0.1", sockets[0].getsockname()[1])
    assert (await peers.get())[0] == "127.0.0.1"
    writer.close()
    for server in servers:
        server.close()


@pytest.mark.parametrize("missing", [socket.AF_INET, socket.AF_INET6])
async def test_a_kernel_without_one_of_them(missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket(socket.socket):
        def __init__(self, family: int = -1, *args: Any, **kwargs: Any) -> None:
            if family == missing:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr("natss.process.listening.socket.socket", Socket)
        (sock,) = await bind(ListenAddress("", 0))
        with pytest.raises(OSError, match=r"cannot listen on .*: address family not supported"):
            await bind(ListenAddress("127.0.0.1" if missing == socket.AF_INET else "::1", 0))
    assert sock.family != missing
    sock.close()


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
async def test_a_port_that_is_taken_in_one_of_them_is_taken(taken: str) -> None:
    (other,) = await bind(ListenAddress(taken, 0))
    other.listen()
    port = other.getsockname()[1]
    with pytest.raises(OSError, match=f"cannot listen on :{port}: address already in use"):
        await bind(ListenAddress("", port))
    other.close()
    for sock in await bind(ListenAddress("", port)):  # nothing was left open
        sock.close()


async def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:8080: cannot assign"):
        await bind(ListenAddress("192.0.2.1", 8080))


# The programs, in networks of their own: each with a probe of its default ports.

_PROBE = """
import pathlib, socket, subprocess, sys, time
hosts, ports, *program = sys.argv[1:]
NETWORK
process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
for port in ports.split(","):
    for host in hosts.split(","):
        while True:
            try:
                socket.create_connection((host, int(port)), 5).close()
                print("answers", host, port)
                break
            except OSError as error:
                if process.poll() is not None:
                    sys.exit(process.stdout.read().decode())
                time.sleep(0.05)
process.terminate()
output = process.communicate()[0].decode()
sys.exit(output if process.returncode else 0)
"""
_BOTH = ""
_IPV6_OFF = """
for name in ("all", "default", "lo"):
    pathlib.Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
"""
_IPV4_OFF = """
subprocess.run(["ip", "-4", "address", "flush", "dev", "lo"], check=True)
"""


@pytest.mark.skipif(
    not slow_names.can_isolate(), reason="needs unshare of util-linux, and leave to use it"
)
@pytest.mark.parametrize(
    ("network", "hosts"),
    [
        pytest.param(_BOTH, "127.0.0.1,::1", id="both"),
        pytest.param(_IPV6_OFF, "127.0.0.1", id="IPv6 switched off"),
        pytest.param(
            _IPV4_OFF,
            "::1",
            id="no IPv4 address",
            marks=pytest.mark.skipif(not shutil.which("ip"), reason="needs ip of iproute2"),
        ),
    ],
)
@pytest.mark.parametrize(
    ("module", "flags", "ports"),
    [
        (DISPATCHER, ("--channels=CHANNELS", "--natss-url=nats://127.0.0.1:4222"), "8080,8081"),
        (PROVISIONER, (), "8081"),
    ],
    ids=["dispatcher", "provisioner"],
)
def test_default_ports_of_the_programs(
    module: str, flags: tuple[str, ...], ports: str, network: str, hosts: str, tmp_path: Path
) -> None:
    channels = write_documents(tmp_path / "channels.yaml")
    config = tmp_path / "kubeconfig"
    config.write_text(
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:6443'}}]\n"
        "users: [{name: u, user: {token: t}}]\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
        "current-context: x\n"
    )
    program = [sys.executable, "-m", module, *(f.replace("CHANNELS", str(channels)) for f in flags)]
    probe = [sys.executable, "-c", _PROBE.replace("NETWORK", network), hosts, ports, *program]
    process = subprocess.Popen(
        slow_names.command(*probe, seconds=0.1, isolated=True),
        env={**os.environ, "KUBECONFIG": str(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=40)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == 0, output
    wanted = [f"answers {host} {port}" for port in ports.split(",") for host in hosts.split(",")]
    assert output.splitlines() == wanted
