"""Names to addresses, by the system's resolver, and what is remembered of them.

``lookups`` shares the threads. That it is the system's resolver, in threads, has reasons: one of
our own would have to agree with everybody else's in the pod about search domains of which one is
broken, about servers that take seconds, and about what else ``nsswitch.conf`` names.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dispatcher.egress.lookups import Answer, LookUp, Lookups
from natss.process.event_loops import Address

Resolve = Callable[[str, int, str], Awaitable[Sequence[Address]]]
"""Gives the addresses of a host, with a port, as asked by a namespace. Raises OSError."""

_LATE = 0.25
"""Seconds after which a lookup is late; the addresses from before are used then."""

_PROMPT = 1.0
"""Seconds in which a name is looked up if its servers answer."""

_KEPT = 3600.0
"""Seconds that addresses are used without a new answer. Longer, and somebody else may have them."""

_NAMES = 16_384
"""Names that are remembered."""

_UNKNOWN = (socket.EAI_NONAME, socket.EAI_NODATA)
"""Errors that are answers: no such name, or none of its addresses."""

_Name = tuple[str, str]
"""Namespace and host. Each namespace has its own, so that what one asks is not in another's way."""


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: Sequence[Address]
    """Of the last good answer; empty if there was none."""

    answered: float
    """When that was."""

    seconds: float
    """That the last lookup took, good or not."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    began: float
    answer: asyncio.Future[Answer]


class Resolver:
    """Looks a name up for each connection; made and used inside one running loop.

    A namespace has one lookup of a name under way at a time. While it is late or fails, the last
    addresses go on being used, for an hour at most: unless the answer is that the name is unknown.
    Names that were answered promptly have threads apart from those that were not, or not yet.

    Args:
        look_up: Called in threads.
        clock: Gives seconds.
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
        """The addresses in the order of preference.

        Args:
            host: The name.
            port: For the addresses.
            namespace: Of who asks; "" is one of its own.

        Raises:
            OSError: the name is unknown, or no server of names answers.
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
            raise type(found)(*found.args)  # one for each: a shared one collects their tracebacks
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
    """So many names; what is too much is taken from the namespace that has the most."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, _Known]] = {}
        self._count = 0

    def get(self, name: _Name) -> _Known | None:
        namespace, host = name
        return self._known.get(namespace, {}).get(host)

    def put(self, name: _Name, known: _Known) -> None:
        self.forget(name)  # it is the youngest now
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
    """Whether it is an answer, not the lack of one."""
    return isinstance(error, socket.gaierror) and error.errno in _UNKNOWN


def system_lookup(host: str) -> Sequence[Address]:
    """Blocks; each address has the port 0."""
    return socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
