"""Credentials and TLS, against real servers that ask for them."""

import asyncio
import ssl
from datetime import datetime
from pathlib import Path

import pytest
import trustme

import natss.nats_streaming as ns
from natss.nats_streaming import ConnectionState
from tests.conftest import StartServer
from tests.natss.nats_streaming.credentials import operator_config, user_key
from tests.natss.nats_streaming.watching import Connect, Received
from tests.support.certificates import certificate_with_common_name
from tests.support.servers import NatsStreamingServer

USERS = """
authorization {
  users = [
    { user: "streaming", password: "s" }
    { user: "me", password: "p@ss word" }
    { user: "weak", password: "w", permissions: { publish: "_STAN.discover.>", subscribe: ">" } }
  ]
}
"""
AS_USER = 'username: "streaming"\npassword: "s"'


async def _works(connection: ns.Connection) -> None:
    received = Received()
    await connection.subscribe("a", received)
    await connection.publish("a", b"")
    await received.until(1)


async def test_user_and_password(natss_server: StartServer, connect: Connect) -> None:
    server = await natss_server(nats=USERS, streaming=AS_USER)
    connection, _ = await connect(server.url, nats={"user": "me", "password": "p@ss word"})
    await _works(connection)


async def test_user_and_password_in_the_url(natss_server: StartServer, connect: Connect) -> None:
    """Percent-encoded there; never shown in an event or error."""
    server = await natss_server(nats=USERS, streaming=AS_USER)
    connection, watched = await connect(f"nats://me:p%40ss%20word@127.0.0.1:{server.port}")
    await _works(connection)
    await server.kill()
    await watched.until(ConnectionState.DISCONNECTED)
    await watched.until_true(
        lambda: any(isinstance(event, ns.ConnectionProblem) for event in watched.events)
    )
    assert "ss" not in "".join(
        event.text for event in watched.events if isinstance(event, ns.ConnectionProblem)
    ).replace("address", "")


@pytest.mark.parametrize(
    "credentials",
    [{}, {"user": "me", "password": "wrong-secret"}, {"token": "wrong-secret"}],
    ids=["none", "password", "token"],
)
async def test_wrong_credentials(
    natss_server: StartServer, connect: Connect, credentials: dict[str, str]
) -> None:
    """Told at once, as an error of its own, without the secret."""
    server = await natss_server(nats=USERS, streaming=AS_USER)
    with pytest.raises(ns.AuthenticationFailed) as raised:
        await asyncio.wait_for(connect(server.url, nats=credentials), 5)
    assert not raised.value.retriable
    assert "secret" not in str(raised.value)


async def test_token(natss_server: StartServer, connect: Connect) -> None:
    server = await natss_server(
        nats='authorization { token: "t/oken" }', streaming='token: "t/oken"'
    )
    connection, _ = await connect(server.url, nats={"token": "t/oken"})
    await _works(connection)
    other, _ = await connect(f"nats://t%2Foken@127.0.0.1:{server.port}", client_id="other")
    await _works(other)


async def test_secret_that_is_replaced(
    natss_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    """A function gives the password at each connect; that it cannot is an error without it."""
    file = tmp_path / "password"
    file.write_text("wrong")
    server = await natss_server(nats=USERS, streaming=AS_USER)
    nats = {"user": "me", "password": file.read_text}
    with pytest.raises(ns.AuthenticationFailed):
        await connect(server.url, nats=nats)
    file.write_text("p@ss word")
    connection, watched = await connect(server.url, nats=nats)
    await _works(connection)
    file.unlink()
    link = connection._link
    assert link is not None
    link.abort("cut by the test")
    await watched.until_true(
        lambda: any(isinstance(event, ns.ConnectionProblem) for event in watched.events)
    )
    (problem,) = [event for event in watched.events if isinstance(event, ns.ConnectionProblem)]
    assert isinstance(problem.error, ns.AuthenticationFailed)
    file.write_text("p@ss word")
    await watched.until(ConnectionState.RESTORING, ConnectionState.OPEN)


async def test_nkey(natss_server: StartServer, connect: Connect, tmp_path: Path) -> None:
    user = user_key()
    seed = tmp_path / "seed.nk"
    seed.write_bytes(user.seed + b"\n")
    server = await natss_server(
        nats=f"authorization {{ users = [ {{ nkey: {user.public} }} ] }}",
        streaming=f'nkey_seed_file: "{seed}"',
    )
    connection, _ = await connect(server.url, nats={"nkey_seed_file": seed})
    await _works(connection)
    other = tmp_path / "other.nk"
    other.write_bytes(user_key().seed)
    with pytest.raises(ns.AuthenticationFailed):
        await connect(server.url, nats={"nkey_seed_file": other}, client_id="other")


async def test_credentials_file(
    natss_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    config, credentials = operator_config(tmp_path)
    server = await natss_server(nats=config, streaming=f'credentials: "{credentials}"')
    connection, watched = await connect(server.url, nats={"credentials_file": credentials})
    await _works(connection)
    await server.restart()
    await watched.until(ConnectionState.DISCONNECTED, ConnectionState.RESTORING)
    _, strange = operator_config(tmp_path)
    with pytest.raises(ns.AuthenticationFailed):
        await connect(server.url, nats={"credentials_file": strange}, client_id="other")


@pytest.mark.parametrize("option", ["credentials_file", "nkey_seed_file"])
@pytest.mark.parametrize("content", [None, "nonsense secret"], ids=["missing", "nonsense"])
async def test_unusable_file(
    natss_server: StartServer, connect: Connect, tmp_path: Path, option: str, content: str | None
) -> None:
    """A clear error that does not show what is in the file, and no attempt without it."""
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    server = await natss_server(nats=USERS, streaming=AS_USER)
    with pytest.raises(ns.AuthenticationFailed, match="credentials") as raised:
        await asyncio.wait_for(connect(server.url, nats={option: file}), 5)
    assert "secret" not in str(raised.value)


async def test_missing_permission_is_told(natss_server: StartServer, connect: Connect) -> None:
    """NATS drops what may not be published; only its complaint tells why nothing is answered."""
    server = await natss_server(nats=USERS, streaming=AS_USER)
    connection, watched = await connect(
        server.url, nats={"user": "weak", "password": "w"}, publish_timeout=0.2
    )
    with pytest.raises(ns.PublishTimeout):
        await connection.publish("a", b"")
    problems = [event.text for event in watched.events if isinstance(event, ns.ConnectionProblem)]
    assert any("permissions violation" in text.lower() for text in problems)
    assert connection.state is ConnectionState.OPEN


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def _tls_config(authority: trustme.CA, directory: Path, *, verify: bool = False) -> tuple[str, str]:
    """Return the configuration for the NATS server, and for NATS Streaming as its client."""
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1", "nats.example")
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(directory / "cert.pem"), append=number > 0)
    files = f'cert_file: "{directory}/cert.pem", key_file: "{directory}/key.pem"'
    verification = f', ca_file: "{directory}/ca.pem", verify: true' if verify else ""
    own = (
        f'tls {{ client_ca: "{directory}/ca.pem", client_cert: "{directory}/cert.pem", '
        f'client_key: "{directory}/key.pem" }}'
    )
    return f"tls {{ {files}{verification} }}", own


def _trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls(
    natss_server: StartServer, connect: Connect, tmp_path: Path, authority: trustme.CA
) -> None:
    nats, streaming = _tls_config(authority, tmp_path)
    server = await natss_server(nats=nats, streaming=streaming, scheme="tls")
    connection, watched = await connect(server.url, nats={"tls": _trusting(authority)})
    await _works(connection)
    link = connection._link
    assert link is not None
    link.abort("cut by the test")
    await watched.until(
        ConnectionState.DISCONNECTED, ConnectionState.RESTORING, ConnectionState.OPEN
    )
    await _works(connection)
    await connection.close()


async def test_tls_with_a_client_certificate_and_another_name(
    natss_server: StartServer, connect: Connect, tmp_path: Path, authority: trustme.CA
) -> None:
    nats, streaming = _tls_config(authority, tmp_path, verify=True)
    server = await natss_server(nats=nats, streaming=streaming)
    context = _trusting(authority)
    with pytest.raises(ns.NatsUnreachable):
        await connect(server.url, nats={"tls": context})
    authority.issue_cert("me.example").configure_cert(context)
    connection, _ = await connect(server.url, nats={"tls": context, "tls_hostname": "nats.example"})
    await _works(connection)
    with pytest.raises(ns.NatsUnreachable, match="TLS"):
        await connect(
            server.url, nats={"tls": context, "tls_hostname": "else.example"}, client_id="other"
        )


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_tls_of_an_unknown_authority(
    natss_server: StartServer, connect: Connect, tmp_path: Path, authority: trustme.CA, scheme: str
) -> None:
    """Whether the URL asks for TLS or the server alone."""
    nats, streaming = _tls_config(authority, tmp_path)
    server = await natss_server(nats=nats, streaming=streaming, scheme=scheme)
    with pytest.raises(ns.NatsUnreachable, match="TLS"):
        await connect(server.url)


async def test_tls_of_another_name(
    natss_server: StartServer, connect: Connect, tmp_path: Path, authority: trustme.CA
) -> None:
    nats, streaming = _tls_config(authority, tmp_path)
    server = await natss_server(nats=nats, streaming=streaming, scheme="tls")
    with pytest.raises(ns.NatsUnreachable, match=r"TLS.*localhost"):
        await connect(f"tls://localhost:{server.port}", nats={"tls": _trusting(authority)})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls_with_a_common_name_alone(
    connect: Connect, authority: trustme.CA, host: str
) -> None:
    """NATS' own clients, in Go, refuse it as well: so would NATS Streaming as one of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_with_common_name(authority, host).configure_cert(context)

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"tls_required": true, "max_payload": 1048576}\r\n')
        try:
            await writer.start_tls(context)
        except OSError:  # refused by the client
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ns.NatsUnreachable, match=rf"not valid for '{host}'.*Common Name"):
            await connect(f"tls://{host}:{port}", nats={"tls": _trusting(authority)})


async def test_tls_that_has_expired(
    connect: Connect, tmp_path: Path, authority: trustme.CA
) -> None:
    """NATS Streaming would not start with it, so something else shows the certificate."""
    certificate = authority.issue_cert("127.0.0.1", not_after=datetime(2001, 1, 1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"tls_required": true, "max_payload": 1048576}\r\n')
        try:
            await writer.start_tls(context)
            seen.extend(await reader.read())
        except OSError:  # refused by the client
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ns.NatsUnreachable, match=r"TLS.*expired"):
            await connect(
                f"nats://127.0.0.1:{port}",
                nats={"tls": _trusting(authority), "user": "me", "password": "s3cret"},
            )
    assert seen == b""


@pytest.mark.parametrize("wanted_by", ["url", "context"])
async def test_tls_that_is_not_offered(
    memory_server: NatsStreamingServer, connect: Connect, wanted_by: str
) -> None:
    """nats-py would go on in plain text."""
    if wanted_by == "url":
        attempt = connect(f"tls://127.0.0.1:{memory_server.port}")
    else:
        attempt = connect(memory_server.url, nats={"tls": ssl.create_default_context()})
    with pytest.raises(ns.TlsNotOffered) as raised:
        await attempt
    assert not raised.value.retriable


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_no_credentials_go_out_in_plain_text(connect: Connect, scheme: str) -> None:
    """Somebody in between, who says that the server knows no TLS, gets nothing."""
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"auth_required": true, "max_payload": 1048576}\r\n')
        seen.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ns.TlsNotOffered):
            await connect(
                f"{scheme}://127.0.0.1:{port}",
                nats={"tls": ssl.create_default_context(), "user": "me", "password": "s3cret"},
            )
    assert seen == b""


async def test_nobody_there(connect: Connect) -> None:
    """Each server is tried once, and each reason is told."""
    with pytest.raises(ns.NatsUnreachable) as raised:
        await asyncio.wait_for(connect("nats://127.0.0.1:9", "nats://me:secret@127.0.0.1:1"), 5)
    assert len(raised.value.reasons) == 2
    assert "127.0.0.1:9" in raised.value.reasons[0]
    assert "127.0.0.1:1" in raised.value.reasons[1]
    assert "secret" not in str(raised.value)
    assert raised.value.retriable


async def test_something_else_there(connect: Connect) -> None:
    """A server that is none of NATS, and one that says nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for behaviour in (answer, silent):
        server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            with pytest.raises(ns.NatsUnreachable):
                await asyncio.wait_for(
                    connect(f"nats://127.0.0.1:{port}", nats={"connect_timeout": 0.2}), 5
                )
