"""Opening a connection to a subscriber: name resolution, TCP, TLS.

It knows no limits and no timeouts; whoever cancels it leaves nothing open.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import queue
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from aiohappyeyeballs import start_connection

from dispatcher.egress.connection import Connection, EgressError, FailureReason
from dispatcher.egress.denied import DeniedNetworks
from dispatcher.egress.target import Target

Address = tuple[int, int, int, str, Any]
"""What ``socket.getaddrinfo`` gives for one address."""

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

Name = tuple[str, int]
"""A host and a port."""

Lookup = tuple[Sequence[Address] | OSError, float]
"""What came of it, and after how many seconds in its thread."""

_Waiting = queue.PriorityQueue[tuple[float, int, Name, Future[Lookup]]]
"""Lookups by the seconds they took last, then in their order."""

_NEXT_ADDRESS_AFTER = 0.25
"""Seconds until the next address is tried besides (RFC 8305, 5)."""

_LOOKUPS_AT_ONCE = 64
"""Threads for name resolution. uvloop has four for everything, and a few names whose servers do not
answer would hold all of them, for some 40 s each."""

_PROMPT = 1.0
"""Seconds in which a name is looked up if its servers answer."""

_SLOW_LOOKUPS_AT_ONCE = 8
_SLOW_REMEMBERED = 1024
"""Names that took longer have threads of their own, so that they wait for each other alone; the
quickest of them go first, for those whose servers never answer are tried again and again."""


class Resolver:
    """Names to addresses by the system's resolver, each name looked up once at a time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, "egress-names")
        self._slow_threads = ThreadPoolExecutor(_SLOW_LOOKUPS_AT_ONCE, "egress-slow-names")
        self._lookups: dict[Name, asyncio.Future[Lookup]] = {}
        self._slow: dict[Name, float] = {}
        """How long a name took, if it was slow."""
        self._waiting: _Waiting = queue.PriorityQueue()
        self._numbers = itertools.count()

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """The addresses in the order of preference.

        Raises:
            OSError: the name is unknown, or no server of names answers.
        """
        name = host, port
        lookup = self._lookups.get(name)
        if lookup is None:
            lookup = asyncio.wrap_future(self._start(name))
            self._lookups[name] = lookup
            lookup.add_done_callback(partial(self._ended, name))
        found, _ = await asyncio.shield(lookup)
        if isinstance(found, OSError):
            raise found
        return found

    def close(self) -> None:
        """Start no more lookups; those under way are not waited for."""
        for threads in (self._threads, self._slow_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(queue.Empty):
            while True:
                *_, lookup = self._waiting.get_nowait()
                lookup.cancel()

    def _start(self, name: Name) -> Future[Lookup]:
        seconds = self._slow.get(name)
        if seconds is None:
            return self._threads.submit(_look_up, *name)
        lookup: Future[Lookup] = Future()
        self._waiting.put((seconds, next(self._numbers), name, lookup))
        self._slow_threads.submit(_look_up_next, self._waiting)
        return lookup

    def _ended(self, name: Name, lookup: asyncio.Future[Lookup]) -> None:
        del self._lookups[name]
        if lookup.cancelled() or lookup.exception() is not None:
            return
        _, seconds = lookup.result()
        self._slow.pop(name, None)
        if seconds > _PROMPT:
            self._slow[name] = seconds
            if len(self._slow) > _SLOW_REMEMBERED:
                del self._slow[next(iter(self._slow))]


async def connect(
    target: Target,
    connection: Connection,
    tls: ssl.SSLContext,
    resolve: Resolve,
    denied: DeniedNetworks,
) -> None:
    """Open a NEW connection to the target, which is ACTIVE then.

    Of several addresses one is used that answers soon, IPv6 or IPv4 (RFC 8305), and never one that
    is denied.

    Raises:
        EgressError: with CONNECT, TLS or DENIED. The text names the target without its userinfo.
    """
    try:
        addresses = await _addresses(target, resolve)
        allowed = [each for each in addresses if not denied.covers(each[4][0])]
        if addresses and not allowed:
            raise EgressError(
                FailureReason.DENIED,
                f"the address {addresses[0][4][0]} of {target.origin} is forbidden (--egress-deny)",
            )
        await _open(target, connection, tls, allowed)
    except ssl.SSLError as error:
        raise EgressError(
            FailureReason.TLS, f"no TLS with {target.origin}: {_tls_text(error)}"
        ) from error
    except OSError as error:
        raise EgressError(
            FailureReason.CONNECT, f"no connection to {target.origin}: {error.strerror or error}"
        ) from error


async def _addresses(target: Target, resolve: Resolve) -> Sequence[Address]:
    if not _is_address(target.host):
        return await resolve(target.host, target.port)
    return [(0, 0, 0, "", (target.host, target.port))]


async def _open(
    target: Target, connection: Connection, tls: ssl.SSLContext, addresses: Sequence[Address]
) -> None:
    loop = asyncio.get_running_loop()
    context = tls if target.tls else None
    server_hostname = target.host.removesuffix(".") if target.tls else None
    if len(addresses) != 1:
        sock = await _race(addresses)
        await loop.create_connection(
            lambda: connection, sock=sock, ssl=context, server_hostname=server_hostname
        )
        return
    host, port = addresses[0][4][:2]
    await loop.create_connection(
        lambda: connection, host, port, ssl=context, server_hostname=server_hostname
    )


async def _race(addresses: Sequence[Address]) -> socket.socket:
    """The socket that is connected first; uvloop itself tries one address after the other."""
    if not addresses:
        raise OSError("the name has no address")
    try:
        return await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_AFTER)
    except RuntimeError as error:  # uvloop's for a socket that cannot be used
        raise OSError(str(error)) from error


def _look_up_next(waiting: _Waiting) -> None:
    """Called once for each that waits."""
    with contextlib.suppress(queue.Empty):
        _, _, name, lookup = waiting.get_nowait()
        try:
            lookup.set_result(_look_up(*name))
        except BaseException as error:
            lookup.set_exception(error)


def _look_up(host: str, port: int) -> Lookup:
    began = time.monotonic()
    try:
        found: Sequence[Address] | OSError = _getaddrinfo(host, port)
    except OSError as error:
        found = error
    return found, time.monotonic() - began


def _getaddrinfo(host: str, port: int) -> Sequence[Address]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _tls_text(error: ssl.SSLError) -> str:
    verdict = getattr(error, "verify_message", "")
    return verdict or error.reason or str(error)
