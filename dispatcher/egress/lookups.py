"""Threads in which names are looked up, shared fairly by namespace.

A lookup cannot be interrupted and takes half a minute if the servers of a name do not answer.
Whoever may write a Subscription chooses which names are looked up, so one namespace must not become
a noisy neighbour of the others.
"""

import asyncio
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from natss.process.daemon_thread import in_daemon_thread
from natss.process.event_loops import Address

LookUp = Callable[[str], Sequence[Address]]
"""Blocks, and raises OSError."""

_AT_ONCE = 64
"""Threads that namespaces share. Each lookup has its own, for 100 us: the next one is chosen here,
in the loop, and not by a queue that threads read.
"""

_BEYOND = 4
"""Times as many there may be if that many namespaces have one each."""

_WAITING = 1024
"""Lookups of one namespace that may wait; further ones fail."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a lookup."""

    found: Sequence[Address] | OSError
    seconds: float
    """How long it took, without waiting."""


_CLOSED = Answer(OSError("the resolver is closed"), 0.0)


@dataclass(order=True, slots=True)
class _Waiting:
    seconds: float
    """How long it took last time; the fastest go first, since names whose servers never answer are
    retried again and again.
    """

    number: int
    host: str = field(compare=False)
    answer: "asyncio.Future[Answer]" = field(compare=False)


class Lookups:
    """Looks up names, a limited number at once.

    - A namespace has no more threads than are left for others (fair share).
    - It gets its first thread even beyond that, so that none waits for another to finish.
    - A free thread goes to the namespace that has the fewest.

    Args:
        look_up: Called in a thread.
        at_once: Threads that namespaces share.
    """

    def __init__(self, look_up: LookUp, at_once: int = _AT_ONCE) -> None:
        self._look_up = look_up
        self._at_once = at_once
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, list[_Waiting]] = {}
        self._numbers = itertools.count()
        self._answers: set[asyncio.Future[Answer]] = set()
        """Those of all lookups that wait or are under way."""

        self._is_closed = False

    def __repr__(self) -> str:
        waiting = sum(map(len, self._waiting.values()))
        return f"<Lookups: {self._running.total()} under way, {waiting} waiting>"

    def start(self, host: str, namespace: str, seconds: float = 0.0) -> asyncio.Future[Answer]:
        """Look up a name as soon as it is its turn.

        Args:
            host: The name.
            namespace: The namespace whose share it uses.
            seconds: How long it took last time.

        Returns:
            A future that has no exception.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._is_closed:
            answer.set_result(_CLOSED)
            return answer
        waiting = self._waiting.setdefault(namespace, [])
        if len(waiting) >= _WAITING:
            error = OSError(f"{len(waiting)} other names of the namespace wait to be looked up")
            answer.set_result(Answer(error, 0.0))
            return answer
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)
        heapq.heappush(waiting, _Waiting(seconds, next(self._numbers), host, answer))
        self._start_waiting()
        return answer

    def close(self) -> None:
        """Start no more, and fail all at once; threads go on, and nobody waits for them."""
        self._is_closed = True
        self._waiting.clear()
        for answer in tuple(self._answers):
            if not answer.done():
                answer.set_result(_CLOSED)

    def _start_waiting(self) -> None:
        while (namespace := self._next()) is not None:
            waiting = self._waiting[namespace]
            lookup = heapq.heappop(waiting)
            if not waiting:
                del self._waiting[namespace]
            self._start(lookup, namespace)

    def _next(self) -> str | None:
        """Return the namespace with the fewest threads among those that may have one more."""
        waiting = ((self._running[n], queue[0].number, n) for n, queue in self._waiting.items())
        mine, _, namespace = min(waiting, default=(0, 0, None))
        total = self._running.total()
        most = self._at_once - total if mine else _BEYOND * self._at_once - total
        return namespace if mine < most else None

    def _start(self, lookup: _Waiting, namespace: str) -> None:
        began = time.monotonic()
        try:
            thread = in_daemon_thread("egress-names", lambda: self._look_up(lookup.host))
        except OSError as error:
            lookup.answer.set_result(Answer(error, 0.0))
            return
        self._running[namespace] += 1

        def ended(thread: asyncio.Future[Sequence[Address]]) -> None:
            self._running[namespace] -= 1
            if not self._running[namespace]:
                del self._running[namespace]
            if not lookup.answer.done():
                seconds = time.monotonic() - began
                lookup.answer.set_result(Answer(_outcome(thread), seconds))
            self._start_waiting()

        thread.add_done_callback(ended)


def _outcome(thread: asyncio.Future[Sequence[Address]]) -> Sequence[Address] | OSError:
    try:
        return thread.result()
    except OSError as error:
        return error
    except Exception as error:  # such as UnicodeError, for a name that is invalid
        return OSError(str(error))
