"""The work queue: reconciles keys, each at most once at a time, retries failures, forgets none.

A key that is added while a worker handles it is handled once more afterwards, because its object
may have changed meanwhile; a key that waits already is not added again. Keys that are not urgent
(all keys after a start, and failed ones) leave most turns to urgent ones. The function that is
called knows what a key means.

Tenants share the workers fairly: they take turns, and none gets so many workers that another tenant
would find none free.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import structlog

from natss.backoff import Backoff, jittered
from natss.contract.labels import object_labels
from natss.kube import ApiRefusal, KubeError, NotFound
from natss_provisioner.fair_queue import FairQueue

log = structlog.get_logger(__name__)

_PATIENT_TURN = 8
"""One turn in so many goes to a key that is not urgent, however many urgent ones wait."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryWaits:
    """How long a key waits after its failures, in seconds."""

    first: float = 0.2
    """After the first failure; doubles with each further one. Most failures are lost races."""

    longest: float = 10.0
    """After any number of failures: the longest time until it is noticed that the API is back."""

    hopeless: float = 30.0
    """After a failure that does not pass by itself, such as a missing permission."""


class WorkQueue(Generic[Key]):
    """Calls ``work`` for every added key, a few keys at once.

    Args:
        work: Handles a key. It may return the seconds after which to handle the key again; after
            an error the key is retried.
        workers: How many keys are handled at once. One tenant gets at most half of the workers, and
            several leave some free, so that a tenant without a worker finds one.
        tenant_of: Returns the tenant of a key; tenants do not wait for each other.
        waits: How long a key waits after failures.
    """

    def __init__(
        self,
        work: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int,
        tenant_of: Callable[[Key], Hashable],
        waits: RetryWaits | None = None,
    ) -> None:
        self._work = work
        self._workers = workers
        self._tenant_of = tenant_of
        self._waits = waits or RetryWaits()
        self._urgent = FairQueue(tenant_of)
        self._patient = FairQueue(tenant_of)
        self._taken = 0
        self._queued: dict[Key, bool] = {}  # and whether it is urgent
        self._active: set[Key] = set()
        self._active_of: Counter[Hashable] = Counter()  # by tenant
        self._backoffs: dict[Key, Backoff] = {}  # of those that failed the last time
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._something = asyncio.Event()

    def __len__(self) -> int:
        """Return how many keys have or await a worker, without those that wait for their time."""
        return len(self._queued.keys() | self._active)

    def add(self, key: Key, *, urgent: bool = True) -> None:
        """Queue a key, even if it is waiting after a failure.

        Args:
            key: A key that was passed to ``work`` before, or a new one.
            urgent: Whether it comes before keys that are not urgent.
        """
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        known = self._queued.get(key)
        if known is None or (urgent and not known):
            self._queued[key] = urgent
            if key not in self._active:
                self._wait_for_worker(key)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._run_worker(), name=f"reconciling {number}")
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _run_worker(self) -> None:
        while True:
            key = await self._next()
            tenant = self._tenant_of(key)
            self._active.add(key)
            self._active_of[tenant] += 1
            try:
                await self._attempt(key)
            finally:
                self._active.discard(key)
                self._active_of[tenant] -= 1
                if not self._active_of[tenant]:
                    del self._active_of[tenant]
                if key in self._queued:
                    self._wait_for_worker(key)
                self._something.set()  # its tenant may have another worker now
            await asyncio.sleep(0)  # gives other tasks a turn even if the work awaits nothing

    def _wait_for_worker(self, key: Key) -> None:
        (self._urgent if self._queued[key] else self._patient).add(key)
        self._something.set()

    async def _next(self) -> Key:
        while (key := self._take()) is None:
            self._something.clear()
            await self._something.wait()
        return key

    def _take(self) -> Key | None:
        """Return the next key that may have a worker, or None."""
        is_patient_turn = self._taken % _PATIENT_TURN == _PATIENT_TURN - 1
        lines = (self._urgent, self._patient)
        for line in reversed(lines) if is_patient_turn else lines:
            while (key := line.take(self._may_have_worker)) is not None:
                if key in self._queued and key not in self._active:  # else it was in both lines
                    del self._queued[key]
                    self._taken += 1
                    return key
        return None

    def _may_have_worker(self, tenant: Hashable) -> bool:
        """Return whether a tenant has fewer workers than it would leave to the others."""
        active = self._active_of[tenant]
        return active == 0 or active < self._workers - len(self._active)

    async def _attempt(self, key: Key) -> None:
        try:
            wait = await self._work(key)
        except KubeError as error:
            # An object that was seen and is not found was deleted meanwhile: also a lost race.
            retriable = error.retriable or isinstance(error, NotFound)
            wait = self._fail(key, retriable=retriable)
            if isinstance(error, ApiRefusal) and error.retry_after is not None:
                wait = max(wait, error.retry_after)
            tell = log.info if retriable else log.warning
            tell(
                "tried again later",
                **_labels(key),
                reason=str(error),
                wait_seconds=round(wait, 1),
            )
        except Exception:
            # A bug that one object triggers must not keep the others from being reconciled.
            wait = self._fail(key, retriable=True)
            log.exception("failed, tried again later", **_labels(key), wait_seconds=round(wait, 1))
        else:
            self._backoffs.pop(key, None)
        if wait is not None:
            self._try_again(key, wait)

    def _fail(self, key: Key, *, retriable: bool) -> float:
        waits = self._waits
        wait = self._backoffs.setdefault(key, Backoff(waits.first, waits.longest)).next()
        return jittered(wait if retriable else waits.hopeless)

    def _try_again(self, key: Key, wait: float) -> None:
        if key not in self._queued:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(wait, partial(self.add, key, urgent=False))


def _labels(key: object) -> dict[str, str]:
    """Return the log labels of a key, whose text is kind and ``namespace/name``."""
    kind, _, name = str(key).rpartition(" ")
    return object_labels(kind.rpartition(" ")[2], name)
