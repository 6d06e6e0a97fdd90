"""Both programs end at once on a machine whose resolver does not answer."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import slow_names
from tests.support.channel_files import channel, write_documents

pytestmark = pytest.mark.skipif(
    not slow_names.can_isolate(), reason="needs unshare of util-linux, and leave to use it"
)

NEVER = 600.0
UNKNOWN = "unknown.example"
DISPATCHER, PROVISIONER = "dispatcher.main", "natss_provisioner.main"
LOCAL = ("--listen=127.0.0.1:8080", "--admin-listen=127.0.0.1:8081")


def kubeconfig(folder: Path) -> Mapping[str, str]:
    """Return an environment in which the API server has a name."""
    file = folder / "kubeconfig"
    file.write_text(
        f"clusters: [{{name: c, cluster: {{server: 'http://{UNKNOWN}:6443'}}}}]\n"
        "users: [{name: u, user: {token: t}}]\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
        "current-context: x\n"
    )
    return {"KUBECONFIG": str(file)}


@pytest.mark.parametrize(
    ("module", "flags"),
    [
        (DISPATCHER, ("--channels=CHANNELS", f"--natss-url=nats://{UNKNOWN}:4222", *LOCAL)),
        (DISPATCHER, ("--channels=CHANNELS", f"--natss-url=tls://{UNKNOWN}:4222", *LOCAL)),
        (DISPATCHER, ("--kubernetes=on", "--natss-url=nats://127.0.0.1:4222", *LOCAL)),
        (PROVISIONER, ("--health-listen=127.0.0.1:8081",)),
        (PROVISIONER, ("--health-listen=127.0.0.1:8081", "--admission=on")),
    ],
    ids=["NATS", "NATS by TLS", "API", "API of the provisioner", "and its webhook"],
)
async def test_sigterm_ends_it_while_a_name_is_looked_up(
    module: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    """The lookup would take minutes, and what is asserted is not how quick the end is."""
    channels = write_documents(tmp_path / "channels.yaml", channel("orders"))
    log = tmp_path / "asked"
    log.touch()
    given = [flag.replace("CHANNELS", str(channels)) for flag in flags]
    process = await asyncio.create_subprocess_exec(
        *slow_names.command(
            sys.executable, "-m", module, *given, seconds=NEVER, isolated=True, log=log
        ),
        env={**os.environ, **kubeconfig(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(30):
            while UNKNOWN not in log.read_text():
                assert process.returncode is None, (await process.communicate())[0].decode()
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            output = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output
    assert "stopped" in output


async def test_the_servers_of_names_are_those_of_the_test(tmp_path: Path) -> None:
    """Else the test above would show nothing: a name that is not known takes its time."""
    log = tmp_path / "asked"
    process = await asyncio.create_subprocess_exec(
        *slow_names.command("getent", "ahosts", UNKNOWN, seconds=0.01, isolated=True, log=log)
    )
    assert await process.wait() == 2, "getent: not found"
    assert UNKNOWN in log.read_text()
