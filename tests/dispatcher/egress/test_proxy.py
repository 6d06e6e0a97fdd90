"""Subscribers behind a proxy, over real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trustme

from dispatcher.egress.client import Egress, EgressError, FailureReason, Response, Target
from dispatcher.egress.denied import DeniedNetworks
from dispatcher.egress.limits import EgressLimits
from dispatcher.egress.proxies import Proxies
from natss.process.event_loops import Address
from tests.support.event_loops import BOTH
from tests.support.http_proxy import HttpProxy
from tests.support.scripted_server import ScriptedServer
from tests.support.servers import free_port

EVENT_LOOPS = BOTH

AUTHORITY = trustme.CA()


def tls_of(*names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(*names).configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


class Names:
    """Names that this machine knows; only the proxy knows any others."""

    def __init__(self, **known: str) -> None:
        self.known = known
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int, namespace: str) -> Sequence[Address]:
        self.asked.append(host)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.known[host], port))]


@asynccontextmanager
async def egress_by(
    url: str, names: Names | None = None, denied: str = "none", no_proxy: str = ""
) -> AsyncIterator[Egress]:
    variables = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": no_proxy}
    egress = Egress(
        EgressLimits(denied_networks=DeniedNetworks.parse(denied)),
        trusting(),
        resolve=names or Names(),
        proxies=Proxies.of_environment(variables),
    )
    try:
        yield egress
    finally:
        await egress.close()


async def post(egress: Egress, url: str) -> Response:
    return await egress.post(Target.parse(url), b"Ce-Id: 1\r\n", b"{}", 5.0)


async def failure(egress: Egress, url: str) -> EgressError:
    with pytest.raises(EgressError) as caught:
        await post(egress, url)
    return caught.value


async def test_plain_http() -> None:
    async with ScriptedServer() as server, HttpProxy({"orders.shop:80": server.port}) as proxy:
        async with egress_by(proxy.url.replace("://", "://me:secret@")) as egress:
            for _ in range(2):
                assert (await post(egress, "http://orders.shop/in")).status == 202
        assert len(proxy.heads) == 1, "the connection is kept"
        assert proxy.heads[0].startswith(
            b"POST http://orders.shop:80/in HTTP/1.1\r\nHost: orders.shop\r\n"
            b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"
        )
        assert server.requests[0].startswith(b"POST /in HTTP/1.1\r\nHost: orders.shop\r\n")


async def test_tls_through_a_tunnel() -> None:
    async with (
        ScriptedServer(tls=tls_of("orders.shop")) as server,
        HttpProxy({"orders.shop:443": server.port}) as proxy,
        egress_by(proxy.url.replace("://", "://me:secret@")) as egress,
    ):
        for _ in range(2):
            assert (await post(egress, "https://orders.shop/in")).status == 202
        (head,) = proxy.heads
        assert head == (
            b"CONNECT orders.shop:443 HTTP/1.1\r\nHost: orders.shop:443\r\n"
            b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n"
        )
        assert b"Proxy-Authorization" not in server.requests[0]


async def test_the_subscriber_is_verified_behind_the_tunnel() -> None:
    async with (
        ScriptedServer(tls=tls_of("other.shop")) as server,
        HttpProxy({"orders.shop:443": server.port}) as proxy,
        egress_by(proxy.url) as egress,
    ):
        error = await failure(egress, "https://orders.shop/in")
        assert error.reason is FailureReason.TLS
        assert "not valid for 'orders.shop'" in str(error)
        assert server.requests == []


async def test_exceptions_are_called_directly() -> None:
    async with ScriptedServer() as server, HttpProxy({}) as proxy:
        names = Names(orders="127.0.0.1")
        async with egress_by(proxy.url, names, no_proxy="orders") as egress:
            assert (await post(egress, f"http://orders:{server.port}/in")).status == 202
            assert (await post(egress, server.url)).status == 202, "a loopback address"
        assert proxy.heads == []
        assert server.requests[0].startswith(b"POST /in HTTP/1.1\r\n")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_down(scheme: str) -> None:
    port = free_port()
    async with egress_by(f"http://me:secret@127.0.0.1:{port}") as egress:
        error = await failure(egress, f"{scheme}://orders.shop:81/in")
    assert error.reason is FailureReason.CONNECT
    way = f"{scheme}://orders.shop:81 by proxy http://127.0.0.1:{port}"
    assert str(error).startswith(f"no connection to {way}: ")
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "it answered CONNECT with status 403"),
        (b"HTTP/1.1 407 No\r\n\r\n", "status 407 (its user or password is wrong)"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", "status 302"),
        (b"SSH-2.0-x\r\n\r\n", "its answer to CONNECT is no HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "it closed the connection after CONNECT"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "its answer to CONNECT has no end"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "it sent something of its own into the tunnel"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel(answer: bytes, text: str) -> None:
    async with HttpProxy({}, answer) as proxy, egress_by(proxy.url) as egress:
        error = await failure(egress, "https://orders.shop/in")
        assert error.reason is FailureReason.CONNECT
        assert text in str(error)
        assert repr(egress) == "<Egress open: 0 origins, 0 connections, 0 idle, 0 waiting>"


async def test_an_answer_of_the_proxy_itself_is_an_answer() -> None:
    """A plain request's proxy answers as the subscriber would: 502 is tried again."""
    refusal = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
    async with HttpProxy({}, refusal) as proxy, egress_by(proxy.url) as egress:
        assert (await post(egress, "http://orders.shop/in")).status == 502


# What is denied


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("169.254.169.254", {}),
        ("[::ffff:169.254.169.254]", {}),
        ("metadata", {"metadata": "169.254.169.254"}),
    ],
)
async def test_denied_addresses_are_not_asked_of_the_proxy(
    scheme: str, host: str, known: dict[str, str]
) -> None:
    async with HttpProxy({}) as proxy:
        async with egress_by(proxy.url, Names(**known), "169.254.0.0/16") as egress:
            error = await failure(egress, f"{scheme}://{host}/")
        assert error.reason is FailureReason.DENIED
        assert "--egress-deny" in str(error)
        assert proxy.heads == []


async def test_one_denied_address_of_several_is_enough() -> None:
    """Which of them the proxy takes is not known."""

    async def two(host: str, port: int, namespace: str) -> Sequence[Address]:
        found = ("10.0.0.1", "169.254.169.254")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    async with HttpProxy({}) as proxy:
        egress = Egress(
            EgressLimits(denied_networks=DeniedNetworks.parse("169.254.0.0/16")),
            resolve=two,
            proxies=Proxies.of_environment({"HTTP_PROXY": proxy.url}),
        )
        assert (await failure(egress, "http://metadata/")).reason is FailureReason.DENIED
        await egress.close()


@pytest.mark.parametrize("behaviour", ["unknown", "silent"])
async def test_a_name_that_only_the_proxy_knows_is_left_to_it(
    behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(host: str, port: int, namespace: str) -> Sequence[Address]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr("dispatcher.egress.connect._JUDGED_WITHIN", 0.01)
    resolve: Callable[..., object] = silent if behaviour == "silent" else Names()
    async with ScriptedServer() as server, HttpProxy({"orders.shop:80": server.port}) as proxy:
        egress = Egress(
            EgressLimits(denied_networks=DeniedNetworks.parse("169.254.0.0/16")),
            resolve=resolve,  # type: ignore[arg-type]  # one of two
            proxies=Proxies.of_environment({"HTTP_PROXY": proxy.url}),
        )
        assert (await post(egress, "http://orders.shop/")).status == 202
        await egress.close()


async def test_the_proxys_own_address_is_the_operators_choice() -> None:
    async with ScriptedServer() as server, HttpProxy({"orders.shop:80": server.port}) as proxy:
        names = Names(proxy="127.0.0.1")
        url = f"http://proxy:{proxy.port}"
        async with egress_by(url, names, "127.0.0.0/8") as egress:
            assert (await post(egress, "http://orders.shop/")).status == 202
        assert names.asked == ["orders.shop", "proxy"]
