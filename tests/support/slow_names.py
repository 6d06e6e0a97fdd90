"""Runs a command on a machine whose resolver takes its time for every name that it does not know.

``python -m tests.support.slow_names make test``. In a mount namespace of its own the command has
another ``resolv.conf``, which leads to a name server in this process. That asks the machine's
server; known names are answered at once, everything else after ``--seconds``. It needs root.

With ``--isolated`` it does not need root, where users may create namespaces: the command has no
network but its own loopback, and knows no names but those of ``/etc/hosts``.
"""

import argparse
import asyncio
import ctypes
import fcntl
import ipaddress
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_SERVER = "127.9.9.53"
_RESOLV_CONF = Path("/etc/resolv.conf")
_NSSWITCH = Path("/etc/nsswitch.conf")
_LONGEST = 30
"""Seconds that glibc waits for a server at most (``RES_MAXRETRANS``); then it asks again."""

_NO_SUCH_NAME = 3
_INSIDE = "--inside"


def command(*given: str, seconds: float, isolated: bool, log: Path | None = None) -> list[str]:
    """Return the command line that runs a command in this way.

    Args:
        given: The command.
        seconds: Delay of the answer for an unknown name.
        isolated: As the module says.
        log: Gets a line for each requested name.
    """
    namespaces = ["--user", "--map-root-user", "--net"] if isolated else []
    flags = [f"--seconds={seconds:g}", *(["--isolated"] if isolated else [])]
    flags += [f"--log={log}"] if log else []
    inside = [sys.executable, "-m", "tests.support.slow_names", _INSIDE, *flags, "--", *given]
    return ["unshare", "--mount", *namespaces, *inside]


def can_isolate() -> bool:
    """Return whether users, or this one, may create namespaces."""
    tried = ["unshare", "--user", "--map-root-user", "--mount", "--net", "true"]
    try:
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class SlowServer(asyncio.DatagramProtocol):
    """Answers what another server knows; everything else after a delay, with "no such name"."""

    def __init__(self, upstream: str | None, seconds: float, log: Path | None) -> None:
        self._upstream = upstream
        self._seconds = seconds
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.create_task(self._answer(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, query: bytes, peer: tuple[str, int]) -> None:
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(f"{_name(query)}\n")
        known = None if self._upstream is None else await _ask(self._upstream, query)
        if known is None or known[3] & 15:
            await asyncio.sleep(self._seconds)
            known = query[:2] + struct.pack(">H", 0x8180 | _NO_SUCH_NAME) + query[4:]
        if self._transport is not None:
            self._transport.sendto(known, peer)


def _name(query: bytes) -> str:
    labels, at = [], 12
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode("ascii", "replace"))
        at += 1 + size
    return ".".join(labels)


async def _ask(server: str, query: bytes) -> bytes | None:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(5):
                await loop.sock_connect(sock, (server, 53))
                await loop.sock_sendall(sock, query)
                return await loop.sock_recv(sock, 65535)
        except (OSError, TimeoutError):
            return None


def _own_files(seconds: float, folder: Path) -> None:
    """Put files of a folder in the places where glibc looks."""
    wait = min(_LONGEST, int(seconds) + 5)
    kept = re.findall(r"(?m)^(?:search|domain)\b.*\n", _RESOLV_CONF.read_text())
    names = f"nameserver {_SERVER}\n{''.join(kept)}options timeout:{wait} attempts:5\n"
    _mount(_RESOLV_CONF, names, folder)
    if _NSSWITCH.exists():
        order = re.sub(r"(?m)^hosts:.*$", "hosts: files dns", _NSSWITCH.read_text())
        _mount(_NSSWITCH, order, folder)


def _mount(path: Path, text: str, folder: Path) -> None:
    file = folder / path.name
    file.write_text(text)
    file.chmod(0o644)
    subprocess.run(["mount", "--bind", file, path.resolve()], check=True)


def _have_loopback() -> None:
    """Set IFF_UP in the flags of the loopback interface (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0x1 | 0x8 | 0x40)
        fcntl.ioctl(sock, 0x8914, request)


async def _run(given: Sequence[str], upstream: str | None, seconds: float, log: Path | None) -> int:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: SlowServer(upstream, seconds, log), local_addr=(_SERVER, 53)
    )
    process = await asyncio.create_subprocess_exec(*given, preexec_fn=_end_with_parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.send_signal, number)
    status = await process.wait()
    transport.close()
    return status if status >= 0 else 128 - status


def main(argv: Sequence[str]) -> int:
    """Run the command and return its status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10.0, help="until an unknown name is told")
    parser.add_argument("--isolated", action="store_true", help="no network but loopback")
    parser.add_argument("--log", type=Path, help="gets every name that is asked for")
    parser.add_argument(_INSIDE, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    given = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not given:
        parser.error("which command?")
    if not options.inside:
        if not options.isolated and os.geteuid() != 0:
            parser.error("only root may do this; or give --isolated")
        outside = command(
            *given, seconds=options.seconds, isolated=options.isolated, log=options.log
        )
        os.execvp(outside[0], outside)
    if options.isolated:
        _have_loopback()
        upstream = None
    else:
        upstream = _nameserver()
    with tempfile.TemporaryDirectory(prefix="slow-names-") as folder:
        Path(folder).chmod(0o755)
        _own_files(options.seconds, Path(folder))
        return asyncio.run(_run(given, upstream, options.seconds, options.log))


def _end_with_parent() -> None:
    """End with the parent: whoever kills this process kills the command too (prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _nameserver() -> str | None:
    """Return the first name server of the machine."""
    for found in re.findall(r"(?m)^nameserver\s+(\S+)", _RESOLV_CONF.read_text()):
        return str(ipaddress.ip_address(found))
    return None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
