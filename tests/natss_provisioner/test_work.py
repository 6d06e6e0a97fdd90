import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from structlog.typing import EventDict

from natss.kube import Forbidden, NotFound, TooManyRequests, Unreachable
from natss_provisioner.work import RetryWaits, WorkQueue

Start = Callable[..., WorkQueue[str]]
FAST = RetryWaits(first=0.001, longest=0.004, hopeless=0.004)


def tenant_of(key: str) -> str:
    """Return the tenant of a key; a key without one is a tenant of its own."""
    return key.partition("/")[0]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start queues that run until the end of the test."""
    tasks: list[asyncio.Task[None]] = []

    def begin(
        work: Callable[[str], Awaitable[float | None]], workers: int = 2, waits: RetryWaits = FAST
    ) -> WorkQueue[str]:
        queue: WorkQueue[str] = WorkQueue(work, workers=workers, tenant_of=tenant_of, waits=waits)
        tasks.append(asyncio.create_task(queue.run()))
        return queue

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("failures", "retriable", "expected"),
    [(1, True, 0.2), (2, True, 0.4), (5, True, 3.2), (99, True, 10.0), (1, False, 30.0)],
)
def test_waits_double_up_to_the_longest(
    failures: int, retriable: bool, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(_: str) -> None:
        """Do nothing."""

    monkeypatch.setattr("natss_provisioner.work.jittered", lambda seconds: seconds)
    queue: WorkQueue[str] = WorkQueue(work, workers=1, tenant_of=tenant_of)
    waits = [queue._fail("a", retriable=retriable) for _ in range(failures)]
    assert waits[-1] == pytest.approx(expected)


async def test_every_key_is_worked_on(start: Start) -> None:
    done: list[str] = []
    enough = asyncio.Event()

    async def work(key: str) -> None:
        done.append(key)
        if len(done) == 5:
            enough.set()

    queue = start(work)
    for key in "abcde":
        queue.add(key)
    await enough.wait()
    assert sorted(done) == list("abcde")


async def test_a_key_is_never_worked_on_twice_at_once_and_waits_once(start: Start) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    calls: Counter[str] = Counter()
    active = 0

    async def work(key: str) -> None:
        nonlocal active
        calls[key] += 1
        active += 1
        assert active == 1
        began.set()
        await go_on.wait()
        active -= 1

    queue = start(work)
    queue.add("a")
    await began.wait()
    began.clear()
    for _ in range(5):
        queue.add("a")
    for _ in range(5):
        await asyncio.sleep(0)
    assert calls["a"] == 1
    go_on.set()
    await began.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    assert calls["a"] == 2


async def test_a_slow_key_does_not_hold_up_another(start: Start) -> None:
    done = asyncio.Event()

    async def work(key: str) -> None:
        if key == "slow":
            await asyncio.Event().wait()
        done.set()

    queue = start(work)
    queue.add("slow")
    queue.add("quick")
    await done.wait()


@pytest.mark.parametrize("error", [Unreachable("gone"), ValueError("a mistake of ours")])
async def test_what_fails_is_tried_until_it_succeeds(
    start: Start, error: Exception, logged: list[EventDict]
) -> None:
    attempts = 0
    done = asyncio.Event()

    async def work(key: str) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 5:
            raise error
        done.set()

    start(work).add("a")
    await done.wait()
    assert attempts == 5
    assert len(logged) == 4
    assert {each["object"] for each in logged} == {"a"}


async def test_what_the_server_asks_to_wait_is_waited(start: Start) -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    done = asyncio.Event()

    async def work(key: str) -> None:
        times.append(loop.time())
        if len(times) == 1:
            raise TooManyRequests(429, "TooManyRequests", "busy", retry_after=0.1)
        done.set()

    start(work).add("a")
    await done.wait()
    assert times[1] - times[0] >= 0.1


async def test_what_was_deleted_meanwhile_is_looked_at_again_soon(start: Start) -> None:
    """It was seen and is gone: creating it anew must not wait for half a minute."""
    attempts = 0
    done = asyncio.Event()

    async def work(key: str) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise NotFound(404, "NotFound", 'services "natss-dispatcher" not found')
        done.set()

    start(work, waits=RetryWaits(first=0.001, hopeless=3600.0)).add("a")
    async with asyncio.timeout(10):
        await done.wait()


async def test_a_new_reason_ends_the_wait(start: Start) -> None:
    attempts = 0
    failed, done = asyncio.Event(), asyncio.Event()

    async def work(key: str) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            failed.set()
            raise Forbidden(403, "Forbidden", "not allowed")
        done.set()

    queue = start(work, waits=RetryWaits(hopeless=3600.0))
    queue.add("a")
    await failed.wait()
    await asyncio.sleep(0.01)
    queue.add("a")
    await done.wait()
    assert attempts == 2


async def test_a_key_is_looked_at_again_when_the_work_says_so(start: Start) -> None:
    attempts = 0
    done = asyncio.Event()

    async def work(key: str) -> float | None:
        nonlocal attempts
        attempts += 1
        if attempts == 3:
            done.set()
            return None
        return 0.001

    start(work).add("a")
    await done.wait()
    await asyncio.sleep(0.02)
    assert attempts == 3


async def test_nothing_is_left_running_when_it_is_cancelled() -> None:
    async def work(key: str) -> None:
        raise Unreachable("gone")

    queue: WorkQueue[str] = WorkQueue(
        work, workers=2, tenant_of=tenant_of, waits=RetryWaits(first=10.0)
    )
    task = asyncio.create_task(queue.run())
    queue.add("a")
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Gated:
    """Work that waits for permission, key by key, in the order of the calls."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self._leave = asyncio.Semaphore(0)

    async def __call__(self, key: str) -> None:
        self.called.append(key)
        await self._leave.acquire()

    async def let(self, number: int) -> None:
        for _ in range(number):
            self._leave.release()
        for _ in range(4 * number + 4):
            await asyncio.sleep(0)


async def test_what_is_urgent_goes_first_even_if_it_waits_already(start: Start) -> None:
    work = Gated()
    queue = start(work, workers=1)
    for key in "abcdef":
        queue.add(key, urgent=False)
    queue.add("new")
    queue.add("e")
    queue.add("e")
    queue.add("c", urgent=True)
    queue.add("c", urgent=False)
    await work.let(10)
    assert work.called == ["new", "e", "c", "a", "b", "d", "f"]


async def test_a_key_in_both_lines_is_neither_done_twice_at_once_nor_forgotten(
    start: Start,
) -> None:
    work = Gated()
    queue = start(work, workers=2)
    queue.add("a", urgent=False)
    for key in ("other", "a"):  # so that "a" is in both lines
        queue.add(key)
    await work.let(0)
    queue.add("a")
    assert work.called == ["other", "a"]
    await work.let(1)  # "other" ends, and its worker finds "a", which another worker handles
    assert work.called == ["other", "a"]
    await work.let(1)
    assert work.called == ["other", "a", "a"]
    await work.let(1)
    assert work.called == ["other", "a", "a"]


@pytest.mark.parametrize("tenants", [1, 2, 3, 20])
async def test_work_without_an_end_holds_up_nobody_elses(start: Start, tenants: int) -> None:
    """With any number of keys: a tenant's workers are limited, and some are left for others."""
    began: list[str] = []
    done = asyncio.Event()

    async def work(key: str) -> None:
        began.append(key)
        if key == "good/new":
            done.set()
        else:
            await asyncio.Event().wait()

    queue = start(work, workers=8 if tenants < 4 else 32)
    for number in range(60):
        for tenant in range(tenants):
            queue.add(f"bad{tenant}/{number}")
    for _ in range(200):
        await asyncio.sleep(0)
    assert {each.partition("/")[0] for each in began} == {f"bad{n}" for n in range(tenants)}
    queue.add("good/new")
    await done.wait()
    if tenants == 1:
        assert began == ["bad0/0", "bad0/1", "bad0/2", "bad0/3", "good/new"]


async def test_tenants_take_turns(start: Start) -> None:
    work = Gated()
    queue = start(work, workers=1)
    for key in ("a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "c/1"):
        queue.add(key)
    await work.let(7)
    assert work.called == ["a/1", "b/1", "c/1", "a/2", "b/2", "a/3", "a/4"]


async def test_one_worker_serves_everybody(start: Start) -> None:
    work = Gated()
    queue = start(work, workers=1)
    queue.add("a/1")
    queue.add("b/1")
    await work.let(2)
    assert work.called == ["a/1", "b/1"]


async def test_a_tenant_that_is_done_gets_its_workers_back(start: Start) -> None:
    work = Gated()
    queue = start(work, workers=4)
    for number in range(6):
        queue.add(f"a/{number}")
    await work.let(0)
    assert len(work.called) == 2
    await work.let(2)
    assert len(work.called) == 4
    await work.let(4)
    assert len(work.called) == 6


async def test_what_fails_does_not_come_back_as_urgent(start: Start) -> None:
    gate = Gated()
    failed, back = asyncio.Event(), asyncio.Event()
    order: list[str] = []

    async def work(key: str) -> None:
        order.append(key)
        if key == "a/bad":
            failed.set()
            raise Unreachable("gone")
        await gate(key)

    queue = start(work, workers=1, waits=RetryWaits(first=0.001))
    queue.add("a/bad")
    await failed.wait()
    queue.add("b/holds the worker")
    loop = asyncio.get_running_loop()
    loop.call_later(0.1, back.set)
    await back.wait()  # by now the failure waits for the worker
    assert len(queue) == 2
    failed.clear()
    for number in range(3):
        queue.add(f"a/new{number}")
    await gate.let(4)
    assert order == ["a/bad", "b/holds the worker", "a/new0", "a/new1", "a/new2", "a/bad"]


async def test_what_is_not_urgent_has_a_turn_however_much_is(start: Start) -> None:
    work = Gated()
    queue = start(work, workers=1)
    queue.add("b/waits", urgent=False)
    for number in range(100):
        queue.add(f"a/{number}")
    await work.let(10)
    assert "b/waits" in work.called
    assert work.called.index("b/waits") == 7
