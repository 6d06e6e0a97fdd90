"""Opening connections: names, several addresses, IPv6, TLS, and how failing is told."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

import pytest
import trustme

from dispatcher.egress import connect
from dispatcher.egress.client import Egress, EgressError, FailureReason, Response, Target
from dispatcher.egress.connect import Address, Resolver
from dispatcher.limits import EgressLimits
from tests.black_hole import black_hole
from tests.event_loops import BOTH
from tests.scripted_server import ALWAYS_202, STALL, ScriptedServer
from tests.servers import free_port

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
    """Gives addresses as it is told, and remembers who asked."""

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
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


# The resolver


async def test_system_resolver() -> None:
    resolver = Resolver()
    addresses = await resolver("localhost", 81)
    assert {address[4][:2] for address in addresses} <= {("127.0.0.1", 81), ("::1", 81)}
    assert len(addresses) == len(set(addresses)) > 0
    resolver.close()


class SlowLookup:
    """In place of ``socket.getaddrinfo``: counts, and answers when it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.loop = asyncio.get_running_loop()
        self.go = asyncio.Event()
        self._asked = asyncio.Event()

    async def until(self, count: int) -> None:
        """Wait until so many lookups have begun."""
        async with asyncio.timeout(20):
            while len(self.asked) < count:
                self._asked.clear()
                await self._asked.wait()

    def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        self.loop.call_soon_threadsafe(self._asked.set)
        asyncio.run_coroutine_threadsafe(self.go.wait(), self.loop).result(5)
        if host == "unknown":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
async def lookup(monkeypatch: pytest.MonkeyPatch) -> SlowLookup:
    lookup = SlowLookup()
    monkeypatch.setattr(connect, "_getaddrinfo", lookup)
    return lookup


async def test_one_lookup_serves_all_who_ask_meanwhile(lookup: SlowLookup) -> None:
    """A burst of connections to a slow name takes one thread, not all."""
    resolver = Resolver()
    asking = [asyncio.create_task(resolver("orders", 80)) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()  # does not take the lookup from the others
    other = asyncio.create_task(resolver("other", 80))
    lookup.go.set()
    results = await asyncio.gather(*asking[1:], other)
    assert {str(result) for result in results} == {str(results[0])}
    assert sorted(lookup.asked) == ["orders", "other"]
    await resolver("orders", 80)
    assert len(lookup.asked) == 3
    resolver.close()


async def test_names_whose_servers_do_not_answer_hold_up_no_other(
    lookup: SlowLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write a Subscription may name as many of them as he likes."""
    monkeypatch.setattr(connect, "_PROMPT", 0.01)
    resolver = Resolver()
    slow = [f"slow-{number}" for number in range(connect._LOOKUPS_AT_ONCE)]
    first = [asyncio.create_task(resolver(name, 80)) for name in slow]
    await lookup.until(len(slow))
    await asyncio.sleep(0.02)  # longer than a prompt one takes
    lookup.go.set()
    await asyncio.gather(*first)

    lookup.go.clear()
    again = [asyncio.create_task(resolver(name, 80)) for name in slow]
    await asyncio.sleep(0)
    prompt = asyncio.create_task(resolver("orders", 80))
    await lookup.until(len(slow) + connect._SLOW_LOOKUPS_AT_ONCE + 1)
    assert "orders" in lookup.asked
    lookup.go.set()
    await asyncio.gather(*again, prompt)
    resolver.close()


async def test_names_that_were_slow_for_a_moment_do_not_wait_for_all_that_always_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As all names are while a server of names starts again."""
    asked: list[str] = []

    def look_up(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        time.sleep(0.1 if host.startswith("hanging") else 0.02)
        return []

    monkeypatch.setattr(connect, "_getaddrinfo", look_up)
    monkeypatch.setattr(connect, "_PROMPT", 0.01)
    monkeypatch.setattr(connect, "_SLOW_LOOKUPS_AT_ONCE", 1)
    resolver = Resolver()
    names = [*(f"hanging-{number}" for number in range(5)), "orders"]
    await asyncio.gather(*(resolver(name, 80) for name in names))
    asked.clear()
    again = [asyncio.create_task(resolver(name, 80)) for name in names]
    await asyncio.gather(*again)
    assert asked.index("orders") == 1, "after the one that was under way"
    resolver.close()


async def test_lookups_that_wait_are_given_up_with_the_resolver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look_up(host: str, port: int) -> Sequence[Address]:
        time.sleep(0.05)
        return []

    monkeypatch.setattr(connect, "_getaddrinfo", look_up)
    monkeypatch.setattr(connect, "_PROMPT", 0.01)
    monkeypatch.setattr(connect, "_SLOW_LOOKUPS_AT_ONCE", 1)
    resolver = Resolver()
    names = [f"slow-{number}" for number in range(5)]
    await asyncio.gather(*(resolver(name, 80) for name in names))
    again = [asyncio.create_task(resolver(name, 80)) for name in names]
    await asyncio.sleep(0.01)
    resolver.close()
    ended = await asyncio.gather(*again, return_exceptions=True)
    assert sum(isinstance(each, asyncio.CancelledError) for each in ended) == len(names) - 1


async def test_failed_lookup_is_told_to_all_and_not_kept(lookup: SlowLookup) -> None:
    lookup.go.set()
    egress = Egress(EgressLimits())
    for _ in range(2):
        error = await failure(egress, "http://unknown/")
        assert error.reason is FailureReason.CONNECT
        assert str(error) == "no connection to http://unknown:80: Name or service not known"
    assert lookup.asked == ["unknown", "unknown"]
    await egress.close()


async def test_connect_timeout_includes_the_lookup(lookup: SlowLookup) -> None:
    egress = Egress(EgressLimits(connect_timeout=0.05))
    error = await failure(egress, "http://orders/")
    assert str(error) == "no connection to http://orders:80 within 0.05 s"
    lookup.go.set()
    await egress.close()


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
