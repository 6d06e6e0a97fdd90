"""Opening connections: several addresses, IPv6, TLS, and how failing is told."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

import pytest
import trustme

from dispatcher.egress.client import Egress, EgressError, FailureReason, Response, Target
from dispatcher.egress.limits import EgressLimits
from natss.process.event_loops import Address
from tests.support.black_hole import black_hole
from tests.support.certificates import certificate_with_common_name
from tests.support.event_loops import BOTH
from tests.support.scripted_server import ALWAYS_202, STALL, ScriptedServer
from tests.support.servers import free_port

EVENT_LOOPS = BOTH

AUTHORITY = trustme.CA()


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def server_context(
    *names: str, authority: trustme.CA = AUTHORITY, until: datetime | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_after=until).configure_cert(context)
    return context


class Names:
    """Returns addresses as it is told, and remembers which namespace asked."""

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int, namespace: str) -> Sequence[Address]:
        self.asked.append((host, port))
        return [
            (
                socket.AF_INET6 if ":" in ip else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (ip, real_port, 0, 0) if ":" in ip else (ip, real_port),
            )
            for ip, real_port in self.addresses
        ]


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
async def egress(names: Names) -> AsyncIterator[Egress]:
    egress = Egress(EgressLimits(), client_context(), resolve=names)
    yield egress
    await egress.close()


async def post(egress: Egress, url: str, timeout: float = 5.0) -> Response:
    return await egress.post(Target.parse(url), b"", b"{}", timeout)


async def failure(egress: Egress, url: str, timeout: float = 5.0) -> EgressError:
    with pytest.raises(EgressError) as caught:
        await post(egress, url, timeout)
    return caught.value


# Names and addresses


async def test_addresses_need_no_lookup(egress: Egress, names: Names) -> None:
    async with ScriptedServer() as server:
        assert (await post(egress, server.url)).status == 202
    assert names.asked == []


async def test_ipv6(egress: Egress) -> None:
    async with ScriptedServer(host="::1") as server:
        assert (await post(egress, server.url)).status == 202
        assert server.requests[0].startswith(b"POST / HTTP/1.1\r\nHost: [::1]:%d\r\n" % server.port)


async def test_name_is_looked_up_for_each_connection(egress: Egress, names: Names) -> None:
    async with ScriptedServer() as old, ScriptedServer((b"",)) as new:
        names.addresses = [("127.0.0.1", old.port)]
        url = f"http://Orders.shop:{old.port}/"
        await post(egress, url)
        await post(egress, url)
        assert names.asked == [("orders.shop", old.port)]
        assert old.requests[0].startswith(b"POST / HTTP/1.1\r\nHost: Orders.shop:")
        assert new.accepted == 0


@pytest.mark.parametrize(("first", "second"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
async def test_address_that_refuses_is_passed_over(
    egress: Egress, names: Names, first: str, second: str
) -> None:
    async with ScriptedServer(host=second) as server:
        names.addresses = [(first, free_port()), (second, server.port)]
        assert (await post(egress, "http://orders/")).status == 202


async def test_address_that_does_not_answer_is_passed_over_soon(
    egress: Egress, names: Names
) -> None:
    with black_hole() as port:
        async with ScriptedServer() as server:
            names.addresses = [("127.0.0.1", port), ("127.0.0.1", server.port)]
            assert (await post(egress, "http://orders/", 1.0)).status == 202


async def test_several_addresses_with_tls(egress: Egress, names: Names) -> None:
    async with ScriptedServer(tls=server_context("orders.shop")) as server:
        names.addresses = [("::1", free_port()), ("127.0.0.1", server.port)]
        assert (await post(egress, "https://orders.shop/")).status == 202


@pytest.mark.parametrize("count", [1, 2])
async def test_refused(egress: Egress, names: Names, count: int) -> None:
    names.addresses = [("127.0.0.1", free_port())] * count
    error = await failure(egress, "http://user:secret@orders:81/in")
    assert error.reason is FailureReason.CONNECT
    assert str(error).startswith("no connection to http://orders:81: ")
    assert "secret" not in str(error)
    assert repr(egress) == "<Egress open: 0 origins, 0 connections, 0 idle, 0 waiting>"


async def test_name_without_address(egress: Egress) -> None:
    error = await failure(egress, "http://orders/")
    assert error.reason is FailureReason.CONNECT
    assert str(error) == "no connection to http://orders:80: the name has no address"


async def test_connect_timeout() -> None:
    egress = Egress(EgressLimits(connect_timeout=0.05))
    with black_hole() as port:
        error = await failure(egress, f"http://127.0.0.1:{port}/")
    assert error.reason is FailureReason.CONNECT
    assert str(error) == f"no connection to http://127.0.0.1:{port} within 0.05 s"
    assert repr(egress) == "<Egress open: 0 origins, 0 connections, 0 idle, 0 waiting>"
    await egress.close()


async def test_timeout_of_the_attempt_holds_while_connecting(egress: Egress) -> None:
    with black_hole() as port:
        error = await failure(egress, f"http://127.0.0.1:{port}/", 0.05)
    assert error.reason is FailureReason.TIMEOUT
    assert str(error) == f"timed out while connecting to http://127.0.0.1:{port}"


# TLS


async def test_tls(egress: Egress, names: Names) -> None:
    async with ScriptedServer(tls=server_context("orders.shop")) as server:
        names.addresses = [("127.0.0.1", server.port)]
        for url in ("https://Orders.shop:8443/", "https://orders.shop.:8443/"):
            for _ in range(2):
                assert (await post(egress, url)).status == 202
        assert server.accepted == 2


async def test_tls_by_address(egress: Egress) -> None:
    async with ScriptedServer(tls=server_context("127.0.0.1")) as server:
        assert (await post(egress, server.url)).status == 202


async def test_server_is_told_the_name(egress: Egress, names: Names) -> None:
    asked: list[str | None] = []
    context = server_context("orders.shop")
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with ScriptedServer(tls=context) as server:
        names.addresses = [("127.0.0.1", server.port)]
        await post(egress, "https://orders.shop./")
    assert asked == ["orders.shop"]


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (lambda: server_context("other.shop"), "Hostname mismatch"),
        (lambda: server_context("orders.shop", authority=trustme.CA()), "certificate"),
        (lambda: server_context("orders.shop", until=datetime(2001, 1, 1)), "has expired"),
    ],
    ids=["wrong name", "unknown authority", "expired"],
)
async def test_wrong_certificate(
    egress: Egress, names: Names, certificate: Callable[[], ssl.SSLContext], reason: str
) -> None:
    async with ScriptedServer(tls=certificate()) as server:
        names.addresses = [("127.0.0.1", server.port)]
        error = await failure(egress, "https://user:secret@orders.shop:8443/")
        assert error.reason is FailureReason.TLS
        assert str(error).startswith("no TLS with https://orders.shop:8443: ")
        assert reason in str(error)
        assert "secret" not in str(error)
        assert server.requests == []
        await server.until(lambda: server.open == 0)


def common_name_only(name: str) -> ssl.SSLContext:
    """Return a server's context whose certificate has no subjectAltName, as in old guides."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_with_common_name(AUTHORITY, name).configure_cert(context)
    return context


@pytest.mark.parametrize("host", ["orders.shop", "127.0.0.1"])
async def test_a_common_name_does_not_count(egress: Egress, names: Names, host: str) -> None:
    """As for Go's client, and browsers (RFC 9525, 2)."""
    async with ScriptedServer(tls=common_name_only(host)) as server:
        names.addresses = [("127.0.0.1", server.port)]
        error = await failure(egress, f"https://{host}:{server.port}/")
        assert error.reason is FailureReason.TLS
        assert f"certificate is not valid for '{host}'" in str(error)
        assert str(error).endswith("(a Common Name does not count, only subjectAltName does)")
        assert server.requests == []


async def test_another_fault_of_a_certificate_says_nothing_of_names(
    egress: Egress, names: Names
) -> None:
    async with ScriptedServer(tls=server_context("orders.shop", authority=trustme.CA())) as server:
        names.addresses = [("127.0.0.1", server.port)]
        assert "Common Name" not in str(await failure(egress, "https://orders.shop/"))


async def test_default_context_verifies(names: Names) -> None:
    egress = Egress(EgressLimits(), resolve=names)
    async with ScriptedServer(tls=server_context("orders.shop")) as server:
        names.addresses = [("127.0.0.1", server.port)]
        assert (await failure(egress, "https://orders.shop/")).reason is FailureReason.TLS
    await egress.close()


async def test_plain_http_where_tls_is_expected(egress: Egress) -> None:
    async with ScriptedServer((b"HTTP/1.1 400 Bad Request\r\n\r\n",)) as server:
        error = await failure(egress, f"https://127.0.0.1:{server.port}/")
        assert error.reason is FailureReason.TLS


async def test_tls_where_plain_http_is_expected(egress: Egress) -> None:
    async with ScriptedServer(ALWAYS_202, tls=server_context("127.0.0.1")) as server:
        error = await failure(egress, f"http://127.0.0.1:{server.port}/")
        assert error.reason in {FailureReason.MALFORMED, FailureReason.CLOSED}


async def test_tls_handshake_that_hangs() -> None:
    egress = Egress(EgressLimits(connect_timeout=0.1), client_context())
    async with ScriptedServer((STALL,)) as server:
        error = await failure(egress, f"https://127.0.0.1:{server.port}/")
        assert error.reason is FailureReason.CONNECT
    await egress.close()


async def test_large_body_and_reply_over_tls(egress: Egress) -> None:
    body = bytes(range(256)) * 8192
    async with ScriptedServer(tls=server_context("127.0.0.1")) as server:
        for _ in range(2):
            response = await egress.post(Target.parse(server.url), b"", body, 5.0)
            assert response.status == 202
        assert server.accepted == 1
        assert all(request.endswith(body) for request in server.requests)
