"""Names to addresses: fair by namespace, with the last addresses while an answer is late or fails.

Lookups are held by the tests, in real threads, and none waits for time to pass.
"""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from dispatcher.egress import lookups, resolver
from dispatcher.egress.client import Egress, EgressError, FailureReason, Target
from dispatcher.egress.limits import EgressLimits
from dispatcher.egress.lookups import Lookups
from dispatcher.egress.resolver import Resolver
from natss.process.event_loops import Address
from tests.support.event_loops import BOTH
from tests.support.waiting import Changes, eventually

EVENT_LOOPS = BOTH

UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_ANSWER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

Outcome = str | OSError
"""An address, or what is raised."""


class Names:
    """In place of ``getaddrinfo``: every lookup waits until the test answers it.

    Names for which there is an outcome already are answered at once.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.asked: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._changes = Changes()
        self._ended = False
        self._condition = threading.Condition()

    def __call__(self, host: str) -> Sequence[Address]:
        self._loop.call_soon_threadsafe(self._note, host)
        with self._condition:
            self._condition.wait_for(lambda: host in self.outcomes or self._ended)
            outcome = self.outcomes.get(host, NO_ANSWER)
        if isinstance(outcome, OSError):
            raise type(outcome)(*outcome.args)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (outcome, 0))]

    def answer(self, host: str, outcome: Outcome) -> None:
        with self._condition:
            self.outcomes[host] = outcome
            self._condition.notify_all()

    def hold(self, host: str) -> None:
        """Leave it unanswered from now on."""
        del self.outcomes[host]

    async def until(self, count: int) -> None:
        """Wait until so many lookups have begun."""
        await self._changes.until(lambda: len(self.asked) >= count, 20)

    def end(self) -> None:
        """Let every lookup fail."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def _note(self, host: str) -> None:
        self.asked.append(host)
        self._changes.note()


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    names = Names()
    yield names
    names.end()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def resolve(names: Names, clock: Clock) -> AsyncIterator[Resolver]:
    resolver = Resolver(names, clock=clock)
    yield resolver
    resolver.close()


def ask(resolve: Resolver, host: str, namespace: str = "shop") -> asyncio.Task[str]:
    """Look up the first address."""

    async def first() -> str:
        return str((await resolve(host, 80, namespace))[0][4][0])

    asking = asyncio.create_task(first())
    asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # looked at
    return asking


async def test_the_systems_resolver() -> None:
    resolve = Resolver()
    addresses = await resolve("localhost", 81)
    assert {address[4][:2] for address in addresses} <= {("127.0.0.1", 81), ("::1", 81)}
    assert len(addresses) == len(set(addresses)) > 0
    resolve.close()


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "x" * 300])
async def test_what_cannot_be_a_name_fails_like_an_unknown_one(host: str) -> None:
    resolve = Resolver()
    with pytest.raises(OSError, match=r"."):
        await resolve(host, 80)
    resolve.close()


# Fair by namespace


async def test_silent_names_of_one_namespace_hold_up_no_other(
    names: Names, resolve: Resolver
) -> None:
    """Whoever may write a Subscription may name as many of them as they like."""
    silent = [ask(resolve, f"silent-{number}", "mallory") for number in range(200)]
    await names.until(lookups._AT_ONCE // 2)
    names.answer("orders", "10.0.0.1")
    for namespace in ("shop", "bank", "mail"):
        assert await ask(resolve, "orders", namespace) == "10.0.0.1"
    assert not any(task.done() for task in silent)


async def test_a_name_that_another_namespace_waits_for_is_not_behind_it(
    names: Names, resolve: Resolver
) -> None:
    """Else one could name the subscribers of others behind a thousand silent ones."""
    for number in range(200):
        ask(resolve, f"silent-{number}", "mallory")
    theirs = ask(resolve, "orders", "mallory")
    await names.until(lookups._AT_ONCE // 2)
    names.answer("orders", "10.0.0.1")
    assert await ask(resolve, "orders", "shop") == "10.0.0.1"
    assert not theirs.done()


async def test_each_namespace_has_a_thread_however_many_are_silent(names: Names) -> None:
    waiting = Lookups(names, 8)
    for number in range(20):
        for silent in range(20):
            waiting.start(f"silent-{silent}", f"mallory-{number}")
    names.answer("orders", "10.0.0.1")
    assert not isinstance((await waiting.start("orders", "shop")).found, OSError)
    waiting.close()


async def test_a_thread_that_becomes_free_goes_to_who_has_the_fewest(names: Names) -> None:
    waiting = Lookups(names, 4)
    for number in range(10):
        waiting.start(f"a-{number}", "a")
    for number in range(10):
        waiting.start(f"b-{number}", "b")
    await names.until(3)
    assert sorted(names.asked) == ["a-0", "a-1", "b-0"], "b leaves one for the next"
    names.answer("a-0", "10.0.0.1")
    await names.until(4)
    assert names.asked[3] == "a-2", "b has as many as there are left for it"
    waiting.close()


async def test_lookups_of_a_namespace_that_wait_are_bounded(
    names: Names, resolve: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "_WAITING", 10)
    running = lookups._AT_ONCE // 2
    for number in range(running + 10):
        ask(resolve, f"silent-{number}", "mallory")
    await names.until(running)
    with pytest.raises(OSError, match="10 other names of the namespace wait"):
        await ask(resolve, "one-more", "mallory")
    names.answer("orders", "10.0.0.1")
    assert await ask(resolve, "orders", "shop") == "10.0.0.1"


async def test_of_one_namespace_the_quickest_go_first(names: Names) -> None:
    """So that names which are slow for a moment do not wait for all that always are."""
    waiting = Lookups(names, 1)
    waiting.start("first", "shop")
    await names.until(1)
    for host, seconds in (("never-answered", 20.0), ("slow", 3.0), ("new", 0.0), ("new-2", 0.0)):
        names.answer(host, "10.0.0.1")
        waiting.start(host, "shop", seconds)
    names.answer("first", "10.0.0.1")
    await names.until(5)
    assert names.asked == ["first", "new", "new-2", "slow", "never-answered"]
    waiting.close()


# One lookup at a time


async def test_one_lookup_serves_all_of_a_namespace_who_ask_meanwhile(
    names: Names, resolve: Resolver
) -> None:
    asking = [ask(resolve, "orders") for _ in range(50)]
    await names.until(1)
    asking[0].cancel()  # does not take the lookup from the others
    names.answer("orders", "10.0.0.1")
    assert await asyncio.gather(*asking[1:]) == ["10.0.0.1"] * 49
    assert names.asked == ["orders"]
    await ask(resolve, "orders")
    assert names.asked == ["orders", "orders"], "it is looked up for each connection"


async def test_ports_of_a_host_share_its_lookup(names: Names, resolve: Resolver) -> None:
    names.answer("orders", "10.0.0.1")
    both = await asyncio.gather(resolve("orders", 80, "shop"), resolve("orders", 8080, "shop"))
    assert [found[0][4] for found in both] == [("10.0.0.1", 80), ("10.0.0.1", 8080)]
    assert names.asked == ["orders"]


# The last addresses


async def test_last_addresses_serve_while_the_lookup_is_late(
    names: Names, resolve: Resolver
) -> None:
    names.answer("orders", "10.0.0.1")
    await ask(resolve, "orders")
    names.hold("orders")
    assert await ask(resolve, "orders") == "10.0.0.1"
    assert await ask(resolve, "orders") == "10.0.0.1"
    assert names.asked == ["orders", "orders"], "the late lookup goes on"
    names.answer("orders", "10.0.0.2")

    async def is_seen() -> bool:
        return await ask(resolve, "orders") == "10.0.0.2"

    await eventually(is_seen)


async def test_last_addresses_serve_while_lookups_fail(
    names: Names, resolve: Resolver, clock: Clock
) -> None:
    names.answer("orders", "10.0.0.1")
    await ask(resolve, "orders")
    names.answer("orders", NO_ANSWER)
    clock.now += 3599.0
    for _ in range(3):
        assert await ask(resolve, "orders") == "10.0.0.1"
    clock.now += 2.0
    with pytest.raises(socket.gaierror, match="Temporary failure"):
        await ask(resolve, "orders")


async def test_a_name_that_is_gone_is_gone(names: Names, resolve: Resolver) -> None:
    """Its address may be somebody else's; and that it is unknown is an answer."""
    names.answer("orders", "10.0.0.1")
    await ask(resolve, "orders")
    for outcome in (UNKNOWN, NO_ANSWER):
        names.answer("orders", outcome)
        with pytest.raises(socket.gaierror):
            await ask(resolve, "orders")


async def test_an_answer_that_came_too_late_for_who_asked_serves_the_next(
    names: Names, resolve: Resolver
) -> None:
    given_up = ask(resolve, "orders")
    await names.until(1)
    given_up.cancel()
    names.answer("orders", "10.0.0.1")

    async def is_answered() -> bool:
        return not resolve._under_way

    await eventually(is_answered)
    names.hold("orders")
    assert await ask(resolve, "orders") == "10.0.0.1"


async def test_names_that_answered_before_have_threads_of_their_own(
    names: Names, resolve: Resolver
) -> None:
    """Also within a namespace, and renewed: a changed address is found."""
    names.answer("orders", "10.0.0.1")
    await ask(resolve, "orders")
    silent = 200
    for number in range(silent):
        ask(resolve, f"silent-{number}")
    await names.until(1 + lookups._AT_ONCE // 2)
    names.answer("orders", "10.0.0.2")
    assert await ask(resolve, "orders") == "10.0.0.2"


async def test_names_that_became_slow_lose_those_threads(
    names: Names, resolve: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else names that answered once and never again would hold up those that do."""
    monkeypatch.setattr(resolver, "_PROMPT", 0.0)  # every answer took longer
    for number in range(200):
        names.answer(f"once-{number}", "10.0.0.9")
        await ask(resolve, f"once-{number}")
        names.hold(f"once-{number}")
    asked = len(names.asked)
    for number in range(200):
        ask(resolve, f"once-{number}")
    await names.until(asked + lookups._AT_ONCE // 2)
    monkeypatch.setattr(resolver, "_PROMPT", 60.0)
    names.answer("orders", "10.0.0.1")
    await ask(resolve, "orders", "shop-2")
    names.answer("orders", "10.0.0.2")
    assert await ask(resolve, "orders", "shop-2") == "10.0.0.2"
    assert repr(resolve._proven) == "<Lookups: 0 under way, 0 waiting>"


async def test_names_of_one_namespace_do_not_push_out_those_of_others(
    names: Names, resolve: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "_NAMES", 10)
    names.answer("orders", "10.0.0.1")
    await ask(resolve, "orders")
    for number in range(30):
        names.answer(f"many-{number}", "10.0.0.9")
        await ask(resolve, f"many-{number}", "mallory")
    names.answer("orders", NO_ANSWER)
    assert await ask(resolve, "orders") == "10.0.0.1"
    names.answer("many-0", NO_ANSWER)
    with pytest.raises(socket.gaierror):
        await ask(resolve, "many-0", "mallory")


# As part of the client


async def test_failed_lookup_is_told_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unknown(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise UNKNOWN

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    egress = Egress(EgressLimits())
    for _ in range(2):
        with pytest.raises(EgressError) as caught:
            await egress.post(Target.parse("http://unknown/"), b"", b"", 5.0)
        assert caught.value.reason is FailureReason.CONNECT
        text = "no connection to http://unknown:80: Name or service not known"
        assert str(caught.value) == text
    assert asked == ["unknown", "unknown"]
    await egress.close()


async def test_connect_timeout_includes_the_lookup(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: names(host))
    egress = Egress(EgressLimits(connect_timeout=0.05))
    with pytest.raises(EgressError) as caught:
        await egress.post(Target.parse("http://orders/"), b"", b"", 5.0)
    assert str(caught.value) == "no connection to http://orders:80 within 0.05 s"
    await egress.close()


async def test_who_waits_is_told_of_the_end(names: Names, resolve: Resolver) -> None:
    asking = [ask(resolve, f"silent-{number}") for number in range(100)]
    await names.until(lookups._AT_ONCE // 2)
    resolve.close()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert {str(each) for each in ended} == {"the resolver is closed"}
    with pytest.raises(OSError, match="closed"):
        await ask(resolve, "orders")
    assert len(names.asked) == lookups._AT_ONCE // 2


_ENDS = """
import asyncio, socket, threading, time
from dispatcher.egress.client import Egress, EgressError, Target
from dispatcher.egress.limits import EgressLimits
asked = threading.Event()
def hang(*_, **__):
    asked.set()
    time.sleep(300)
socket.getaddrinfo = hang
async def main():
    egress = Egress(EgressLimits())
    posts = [egress.post(Target.parse(f"http://silent-{n}/"), b"", b"", 60.0) for n in range(200)]
    tasks = [asyncio.create_task(post) for post in posts]
    while not asked.is_set():
        await asyncio.sleep(0.01)
    await egress.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    print("closed", flush=True)
asyncio.run(main())
"""


def test_no_lookup_holds_up_the_end_of_the_process() -> None:
    """Each of them would take five minutes."""
    ended = subprocess.run(
        [sys.executable, "-c", _ENDS], capture_output=True, text=True, check=False, timeout=50
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "closed\n", "")
