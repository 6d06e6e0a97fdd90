"""Resolves names to addresses with the system's resolver, and caches them.

``lookups`` shares the threads. It is the system's resolver, in threads, for a reason: an own one
would have to agree with every other resolver in the pod about search domains of which one is
broken, about servers that take seconds, and about whatever else ``nsswitch.conf`` names.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dispatcher.egress.lookups import Answer, LookUp, Lookups
from natss.process.event_loops import Address

Resolve = Callable[[str, int, str], Awaitable[Sequence[Address]]]
"""Returns the addresses of a host, with a port, for a namespace. Raises OSError."""

_LATE = 0.25
"""Seconds after which a lookup is late; then the previous addresses are used."""

_PROMPT = 1.0
"""Seconds within which a lookup ends if the servers of the name answer."""

_KEPT = 3600.0
"""Seconds that addresses are used without a new answer. Later, somebody else may have them."""

_NAMES = 16_384
"""Names that are cached."""

_UNKNOWN = (socket.EAI_NONAME, socket.EAI_NODATA)
"""Errors that are answers: no such name, or none of its addresses."""

_Name = tuple[str, str]
"""Namespace and host. Each namespace has its own, so that one namespace's lookups do not delay
another's.
"""


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: Sequence[Address]
    """Those of the last good answer; empty if there was none."""

    answered: float
    """When that was."""

    seconds: float
    """How long the last lookup took, successful or not."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    began: float
    answer: asyncio.Future[Answer]


class Resolver:
    """Looks up a name for each connection; made and used inside one running loop.

    A namespace has one lookup of a name under way at a time. While it is late or fails, the last
    addresses stay in use, for an hour at most, unless the answer is that the name is unknown. Names
    that were answered promptly use other threads than those that were not, or not yet.

    Args:
        look_up: Called in threads.
        clock: Returns seconds.
    """

    def __init__(
        self, look_up: LookUp | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        look_up = look_up or system_lookup
        self._proven = Lookups(look_up)
        self._others = Lookups(look_up)
        self._clock = clock
        self._under_way: dict[_Name, _UnderWay] = {}
        self._memory = _Memory()

    async def __call__(self, host: str, port: int, namespace: str = "") -> Sequence[Address]:
        """Return the addresses in the order of preference.

        Args:
            host: The name.
            port: The port that the addresses get.
            namespace: That of the caller; "" is a namespace of its own.

        Raises:
            OSError: the name is unknown, or no name server answers.
        """
        name = namespace, host
        now = self._clock()
        lookup = self._under_way.get(name) or self._begin(name, now)
        last = self._last(name, now)
        wait = max(0.0, lookup.began + _LATE - now) if last else None
        await asyncio.wait((lookup.answer,), timeout=wait)
        found: Sequence[Address] | OSError = last
        if lookup.answer.done():
            found = lookup.answer.result().found
            if isinstance(found, OSError):
                found = self._last(name, now) or found
        if isinstance(found, OSError):
            raise type(found)(*found.args)  # one each: a shared one collects their tracebacks
        return [(*address[:4], (address[4][0], port, *address[4][2:])) for address in found]

    def close(self) -> None:
        """Start no more lookups; those under way fail, and are not waited for."""
        for threads in (self._proven, self._others):
            threads.close()

    def _begin(self, name: _Name, now: float) -> _UnderWay:
        namespace, host = name
        known = self._memory.get(name)
        is_proven = known is not None and bool(known.addresses) and known.seconds <= _PROMPT
        threads = self._proven if is_proven else self._others
        answer = threads.start(host, namespace, known.seconds if known else 0.0)
        lookup = self._under_way[name] = _UnderWay(now, answer)
        answer.add_done_callback(lambda answer: self._ended(name, answer.result()))
        return lookup

    def _ended(self, name: _Name, answer: Answer) -> None:
        del self._under_way[name]
        found, now = answer.found, self._clock()
        if not isinstance(found, OSError):
            self._memory.put(name, _Known(found, now, answer.seconds))
            return
        last = () if is_unknown(found) else self._last(name, now)
        if last or answer.seconds > _PROMPT:
            known = self._memory.get(name)
            answered = known.answered if known else now
            self._memory.put(name, _Known(last, answered, answer.seconds))
        else:
            self._memory.forget(name)

    def _last(self, name: _Name, now: float) -> Sequence[Address]:
        known = self._memory.get(name)
        if known is None or now - known.answered > _KEPT:
            return ()
        return known.addresses


class _Memory:
    """A bounded cache of names; what is too much is taken from the namespace that has the most."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, _Known]] = {}
        self._count = 0

    def get(self, name: _Name) -> _Known | None:
        namespace, host = name
        return self._known.get(namespace, {}).get(host)

    def put(self, name: _Name, known: _Known) -> None:
        self.forget(name)  # it is the most recent now
        namespace, host = name
        self._known.setdefault(namespace, {})[host] = known
        self._count += 1
        if self._count > _NAMES:
            largest = max(self._known, key=lambda each: len(self._known[each]))
            self.forget((largest, next(iter(self._known[largest]))))

    def forget(self, name: _Name) -> None:
        namespace, host = name
        hosts = self._known.get(namespace, {})
        if hosts.pop(host, None) is None:
            return
        self._count -= 1
        if not hosts:
            del self._known[namespace]


def is_unknown(error: OSError) -> bool:
    """Return whether the error is an answer, not the lack of one."""
    return isinstance(error, socket.gaierror) and error.errno in _UNKNOWN


def system_lookup(host: str) -> Sequence[Address]:
    """Look up a name and block; each address has the port 0."""
    return socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
