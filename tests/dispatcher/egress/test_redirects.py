"""Redirects that keep method and body, 307 and 308: followed, a few, and never with credentials."""

import ssl
from collections.abc import AsyncIterator

import pytest

from dispatcher.egress.client import Egress, EgressError, FailureReason, Target
from dispatcher.egress.denied import DeniedNetworks
from dispatcher.egress.limits import EgressLimits
from dispatcher.egress.target import InvalidTarget
from tests.support.event_loops import BOTH
from tests.support.scripted_server import READ, REPEAT, Script, ScriptedServer, answer

EVENT_LOOPS = BOTH

DENIED = "127.0.0.3"
LIMITS = EgressLimits(denied_networks=DeniedNetworks.parse(DENIED))
HEAD = b"Ce-Id: 1\r\n"
TLS = ssl.create_default_context()
AUTHORIZATION = b"Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    egress = Egress(LIMITS, TLS)
    yield egress
    await egress.close()


def to(location: str, status: int = 307) -> bytes:
    return answer(status, b"moved", b"Location: " + location.encode())


def target(server: ScriptedServer, path: str = "in") -> Target:
    return Target.parse(f"http://user:secret@127.0.0.1:{server.port}/{path}")


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/in/", "/in/"),
        ("in/?a=b#top", "/in/?a=b"),
        ("?a=b", "/in?a=b"),
        ("../x", "/x"),
        ("", "/in"),
        ("/a b/\u00fc", "/a%20b/%C3%BC"),
        ("http://127.0.0.1:{port}/in/", "/in/"),
        ("//127.0.0.1:{port}", "/"),
        ("HTTP://127.0.0.1:{port}/x", "/x"),
    ],
)
@pytest.mark.parametrize("size", [2, 200_000])
async def test_the_same_request_goes_where_the_answer_says(
    egress: Egress, status: int, location: str, path: str, size: int
) -> None:
    server = ScriptedServer()
    async with server:
        place = to(location.format(port=server.port), status)
        server._scripts = ((READ, place, READ, answer(200, b"hi")),)
        response = await egress.post(target(server), HEAD, b"b" * size, 5.0)
        assert (response.status, response.body) == (200, b"hi")
        first, second = server.requests
        assert second == first.replace(b"POST /in ", b"POST %b " % path.encode())
        assert AUTHORIZATION in second, "within the same origin"
        assert server.accepted == 1, "on the same connection"
        assert repr(egress) == "<Egress open: 1 origins, 1 connections, 1 idle, 0 waiting>"


async def test_credentials_stay_with_their_origin(egress: Egress) -> None:
    """Not even back there do they go, once another has said so."""
    async with ScriptedServer() as home, ScriptedServer() as other:
        home._scripts = ((READ, to(f"http://127.0.0.1:{other.port}/"), READ, answer(202)),)
        back = to(f"http://u:p@127.0.0.1:{home.port}/back")
        other._scripts = ((READ, back, REPEAT),)
        assert (await egress.post(target(home), HEAD, b"{}", 5.0)).status == 202
        assert [AUTHORIZATION in request for request in home.requests] == [True, False]
        assert not any(b"Authorization" in request for request in other.requests)
        assert b"Host: 127.0.0.1:%d\r\n" % other.port in other.requests[0]
        assert home.requests[1].startswith(b"POST /back ")


async def test_three_are_followed(egress: Egress) -> None:
    async with ScriptedServer(
        (READ, to("/1"), READ, to("/2", 308), READ, to("/3"), READ, answer(202))
    ) as server:
        assert (await egress.post(target(server), HEAD, b"{}", 5.0)).status == 202
        assert [request.split()[1] for request in server.requests] == [b"/in", b"/1", b"/2", b"/3"]


async def test_a_loop_is_a_failure(egress: Egress) -> None:
    async with ScriptedServer((READ, to("/in"), REPEAT)) as server:
        with pytest.raises(EgressError, match=r"\(307\) more than 3 times in a row") as caught:
            await egress.post(target(server), HEAD, b"{}", 5.0)
        assert caught.value.reason is FailureReason.REDIRECT
        assert caught.value.status == 307
        assert len(server.requests) == 4


async def test_what_follows_may_fail_as_any_attempt(egress: Egress) -> None:
    async with ScriptedServer((READ, to("/x"), READ, answer(503), REPEAT)) as server:
        assert (await egress.post(target(server), HEAD, b"{}", 5.0)).status == 503


async def test_time_runs_out_for_all_of_it(egress: Egress) -> None:
    async with ScriptedServer((READ, to("/x"), READ)) as server:
        with pytest.raises(EgressError) as caught:
            await egress.post(target(server), HEAD, b"{}", 0.3)
        assert caught.value.reason is FailureReason.TIMEOUT


async def test_without_a_place_it_is_an_answer(egress: Egress) -> None:
    async with ScriptedServer((READ, answer(308), REPEAT)) as server:
        assert (await egress.post(target(server), HEAD, b"{}", 5.0)).status == 308


async def test_a_denied_address_is_not_called(egress: Egress) -> None:
    async with ScriptedServer(host=DENIED) as forbidden:
        script: Script = (READ, to(f"http://{DENIED}:{forbidden.port}/"), REPEAT)
        async with ScriptedServer(script) as server:
            with pytest.raises(EgressError, match="egress-deny") as caught:
                await egress.post(target(server), HEAD, b"{}", 5.0)
        assert caught.value.reason is FailureReason.DENIED
        assert forbidden.accepted == 0


@pytest.mark.parametrize("location", ["ftp://h/", "http://h:99999/", "http://[h/", "http://-/"])
async def test_a_place_that_is_none_is_told(egress: Egress, location: str) -> None:
    async with ScriptedServer((READ, to(location), REPEAT)) as server:
        with pytest.raises(
            EgressError, match=r"redirected \(307\), which is not followed"
        ) as caught:
            await egress.post(target(server), HEAD, b"{}", 5.0)
        assert caught.value.reason is FailureReason.REDIRECT


@pytest.mark.parametrize("location", [b"http://orders/in", b"http://orders:443/in"])
def test_tls_is_not_given_up(location: bytes) -> None:
    with pytest.raises(InvalidTarget, match="TLS"):
        Target.parse("https://orders/in").redirected(location)


def test_tls_may_be_taken_up() -> None:
    found = Target.parse("http://u:p@orders/in").redirected(b"https://orders/in")
    assert found == Target.parse("https://orders/in")


def test_what_is_told_of_a_place_has_no_secrets() -> None:
    with pytest.raises(InvalidTarget) as caught:
        Target.parse("https://orders/in").redirected(b"http://user:hush@orders/in?token=hush")
    assert "hush" not in str(caught.value)


def test_a_redirect_stays_at_the_expense_of_its_namespace() -> None:
    """Names are looked up for it, wherever it leads."""
    target = Target.parse("http://orders/in", "shop")
    assert target.redirected(b"http://elsewhere/").namespace == "shop"
