"""What the programs say when they cannot start, or are asked how, shows no secret either."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.natss.nats_streaming.credentials import user_key
from tests.security.marks import Marks
from tests.support.channel_files import channel, write_documents
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.servers import free_port

DISPATCHER, PROVISIONER = "dispatcher.main", "natss_provisioner.main"
SEED = b"-----BEGIN USER NKEY SEED-----\n%b\n------END USER NKEY SEED------\n"


def output(module: str, *flags: str, **variables: str) -> tuple[int, str]:
    """Return status and output of a program that ends by itself."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *flags],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("flag", ["--help", "--version"])
@pytest.mark.parametrize("module", [DISPATCHER, PROVISIONER])
def test_help_shows_nothing_of_the_environment(module: str, flag: str) -> None:
    marks = Marks()
    url = marks.uri("URL of NATS", "nats://host:4222")
    status, text = output(module, flag, DEFAULT_NATSS_URL=url, DEAD_LETTER_URI=url)
    assert status == 0
    assert marks.found({"output": text}) == []


@pytest.mark.parametrize(
    "wrong",
    [
        ("--natss-url", "nats://user:{}@host:port"),
        ("--natss-url", "nats://user:{}@host:4222 x"),
        ("--natss-url", "http://{}@host"),
        ("--natss-url", "nats://{}@"),
        ("--dead-letter-uri", "ftp://user:{}@host/"),
        ("--dead-letter-uri", "http://host:99999/?token={}"),
        ("--dead-letter-uri", "user:{}@ho st"),
        ("--natss-password", "{}"),
        ("--natss-password={}",),
        ("--natss-token={}",),
    ],
    ids=" ".join,
)
def test_a_wrong_setting_is_told_without_it(wrong: tuple[str, ...]) -> None:
    marks = Marks()
    secret = marks.new("setting")
    flags = [each.format(secret) for each in wrong]
    status, text = output(DISPATCHER, "--channels=/nowhere", *flags)
    assert status == 2
    assert len(text.splitlines()) == 1
    assert marks.found({"output": text}) == []


@pytest.mark.parametrize(
    ("flags", "content"),
    [
        (("--natss-user=me", "--natss-password-file={}"), b"%b\xff"),
        (("--natss-token-file={}",), b"\xff%b"),
        (("--natss-tls-ca-file={}",), b"-----BEGIN CERTIFICATE-----\n%b\n"),
        (("--natss-tls-cert-file={}", "--natss-tls-key-file={}"), b"-----BEGIN %b"),
        (("--egress-tls-ca-file={}",), b"%b"),
    ],
    ids=str,
)
def test_a_file_that_cannot_be_used_is_told_without_what_it_holds(
    flags: tuple[str, ...], content: bytes, tmp_path: Path
) -> None:
    marks = Marks()
    file = tmp_path / "file"
    file.write_bytes(content % marks.new("file").encode())
    addresses = (f"--listen=127.0.0.1:{free_port()}", f"--admin-listen=127.0.0.1:{free_port()}")
    given = [flag.format(file) for flag in flags]
    status, text = output(DISPATCHER, "--channels=/nowhere", *addresses, *given)
    assert status == 2
    assert marks.found({"output": text}) == []


@pytest.mark.parametrize("flag", ["--natss-credentials-file", "--natss-nkey-seed-file"])
@pytest.mark.parametrize(
    "content",
    [
        b"%b",
        b"\xff%b",
        b"-----BEGIN NATS USER JWT-----\n%b\n------END NATS USER JWT------\n",
        b"-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n" + SEED,
    ],
    ids=["text", "no UTF-8", "no seed", "no valid seed"],
)
async def test_credentials_that_cannot_be_used_are_told_without_them(
    natss_server: StartServer, flag: str, content: bytes, tmp_path: Path
) -> None:
    """They are read when the server asks for a signature."""
    users = f'{{ user: "streaming", password: "s" }}, {{ nkey: {user_key().public} }}'
    server = await natss_server(
        nats=f"authorization {{ users: [ {users} ] }}",
        streaming='username: "streaming"\npassword: "s"',
    )
    marks = Marks()
    file = tmp_path / "credentials"
    file.write_bytes(content % marks.new("credentials").encode())
    channels = write_documents(tmp_path / "channels.yaml", channel("orders"))
    flags = (f"{flag}={file}", "--log-level=debug")
    dispatcher = ObservedDispatcher(server, channels, flags)
    try:
        await dispatcher.start(until="/healthz")
        await dispatcher.wait_for_log("cannot connect", where="publish")
        shown = {page: (await dispatcher.admin(page))[1] for page in ("/", "/readyz", "/status")}
        shown["log"] = dispatcher.log.read_text()
    finally:
        await dispatcher.close_http()
        await dispatcher.kill()
    assert "credentials" in shown["/readyz"]
    assert marks.found(shown) == []


@pytest.mark.parametrize("module", [DISPATCHER, PROVISIONER])
@pytest.mark.parametrize(
    "content",
    [
        'users: [{name: u, user: {token: "TOKEN}}]\n',
        "users: [{name: u, user: {token: TOKEN}}]\ncurrent-context: x\n",
        "TOKEN",
        "users: TOKEN\n",
    ],
)
def test_a_broken_kubeconfig_is_told_without_what_it_holds(
    module: str, content: str, tmp_path: Path
) -> None:
    """Neither program ends for that: the file may be put right."""
    marks = Marks()
    file = tmp_path / "kubeconfig"
    file.write_text(content.replace("TOKEN", marks.new("kubeconfig")))
    listen = {
        DISPATCHER: ("--kubernetes=on", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"),
        PROVISIONER: ("--health-listen=127.0.0.1:0",),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--log-level=debug", *listen[module]],
        env={**os.environ, "KUBECONFIG": str(file)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    told = ""
    try:
        while "kubeconfig" not in told.lower() and (line := process.stdout.readline()):
            told += line
    finally:
        process.terminate()
        told += process.communicate(timeout=20)[0]
    assert "kubeconfig" in told.lower()
    assert marks.found({"log": told}) == []
