"""The programs' event loops: nothing waits for names, whichever library looks them up."""

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable

import aiohttp
import pytest
import trustme

from natss.process.daemon_thread import in_daemon_thread
from natss.process.event_loops import AsyncioLoop, UvloopLoop

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [AsyncioLoop, UvloopLoop]
EVENT_LOOPS = {loop.__name__: loop for loop in (AsyncioLoop, UvloopLoop)}


async def test_a_name_is_connected_to() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("localhost", port)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()


async def test_with_tls_the_name_is_verified() -> None:
    authority = trustme.CA()
    for name, is_right in (("localhost", True), ("other.example", False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        server = await asyncio.start_server(
            lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
        )
        port = server.sockets[0].getsockname()[1]
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        if is_right:
            _, writer = await asyncio.open_connection("localhost", port, ssl=trusting)
            writer.close()
            await writer.wait_closed()
        else:
            with pytest.raises(ssl.SSLError, match="Hostname mismatch"):
                await asyncio.open_connection("localhost", port, ssl=trusting)
        server.close()


async def test_an_unknown_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror, match="not known"):
        await asyncio.open_connection("unknown.example", 80)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorDNSError):
            await session.get("http://unknown.example/")


async def test_who_gives_up_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: go.wait(60))
    asking = asyncio.create_task(asyncio.open_connection("silent.example", 80))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait((asking,))
    assert asking.cancelled()
    go.set()


async def test_what_breaks_in_a_thread_is_told() -> None:
    def broken() -> None:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        await in_daemon_thread("test", broken)
    assert await in_daemon_thread("test", lambda: 42) == 42


async def test_a_refused_thread_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        with pytest.raises(OSError, match="no thread for names: can't start new thread"):
            await asyncio.open_connection("orders.example", 80)


_ENDS = """
import asyncio, socket, threading, time
from natss.process.event_loops import {loop} as Loop
asked = threading.Event()
def hang(*_, **__):
    asked.set()
    time.sleep(300)
socket.getaddrinfo = hang
async def main():
    task = asyncio.create_task({call})
    while not asked.is_set():
        await asyncio.sleep(0.01)
with asyncio.Runner(loop_factory=Loop) as runner:
    runner.run(main())
print("closed", flush=True)
"""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "call",
    [
        "asyncio.open_connection('silent.example', 80)",
        "asyncio.get_running_loop().getaddrinfo('silent.example', 80)",
    ],
)
def test_no_lookup_holds_up_the_end_of_the_process(
    call: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    program = _ENDS.format(loop=loop.__name__, call=call)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=50
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "closed\n", "")
