"""Opening a connection to a subscriber: name resolution, TCP, TLS.

It knows no limits and no timeouts; whoever cancels it leaves nothing open.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohappyeyeballs import start_connection

from dispatcher.egress.connection import Connection, EgressError, FailureReason
from dispatcher.egress.denied import DeniedNetworks
from dispatcher.egress.target import Target

Address = tuple[int, int, int, str, Any]
"""What ``socket.getaddrinfo`` gives for one address."""

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

_NEXT_ADDRESS_AFTER = 0.25
"""Seconds until the next address is tried besides (RFC 8305, 5)."""

_LOOKUPS_AT_ONCE = 16
"""Threads for name resolution. uvloop has four for everything, and a few names whose servers do not
answer would hold all of them."""


class Resolver:
    """Names to addresses by the system's resolver, each name looked up once at a time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="egress-names")
        self._lookups: dict[tuple[str, int], asyncio.Future[Sequence[Address]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """The addresses in the order of preference.

        Raises:
            OSError: the name is unknown, or no server of names answers.
        """
        key = host, port
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = asyncio.get_running_loop().run_in_executor(
                self._threads, _getaddrinfo, host, port
            )
            self._lookups[key] = lookup
            lookup.add_done_callback(lambda _: self._lookups.pop(key))
        return await asyncio.shield(lookup)

    def close(self) -> None:
        """Start no more lookups; those under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


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
