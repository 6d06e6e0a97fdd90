"""Event loops on which no lookup of a name delays the end of the process.

asyncio looks up names in threads that the end of the loop waits for, and uvloop in those of libuv,
which the end of the process waits for: if the servers of a name do not answer, that may take half a
minute after everything else has ended. These loops use threads that nothing waits for, whichever
library asks.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any

import uvloop
from aiohappyeyeballs import start_connection

from natss.process.daemon_thread import in_daemon_thread

NEXT_ADDRESS_AFTER = 0.25
"""Seconds until the next address is tried as well (RFC 8305, 5)."""

Address = tuple[int, int, int, str, Any]
"""What ``socket.getaddrinfo`` returns for one address."""


def is_ip_address(host: str) -> bool:
    """Return whether no lookup is needed. A scope (``fe80::1%eth0``) may follow."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class AsyncioLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, which uses its own ``getaddrinfo`` for all names."""

    async def getaddrinfo(
        self, host: Any, port: Any, **hints: int
    ) -> list[Any]:  # as ``socket.getaddrinfo``
        return await _look_up(host, port, hints)


class UvloopLoop(uvloop.Loop):
    """uvloop's loop, with a ``getaddrinfo`` for the names that it would leave to libuv."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: int) -> list[Any]:
        return await _look_up(host, port, hints)

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> tuple[Any, Any]:
        if host is None or is_ip_address(host) or options.get("local_addr"):
            return await super().create_connection(protocol_factory, host, port, **options)
        hints = {key: options.pop(key, 0) for key in ("family", "proto", "flags")}
        addresses = await self.getaddrinfo(host, port, type=socket.SOCK_STREAM, **hints)
        if options.get("ssl") and options.get("server_hostname") is None:
            options["server_hostname"] = host
        sock = await connect_first(addresses)
        return await super().create_connection(protocol_factory, sock=sock, **options)


async def _look_up(host: Any, port: Any, hints: dict[str, int]) -> list[Any]:
    # Libraries look up the few names of NATS and of Kubernetes, each as often as it reconnects:
    # their threads need no bound.
    return await in_daemon_thread("names", lambda: socket.getaddrinfo(host, port, **hints))


async def connect_first(addresses: Sequence[Address]) -> socket.socket:
    """Return the socket of the first address that answers; uvloop alone tries them in sequence.

    Raises:
        OSError: None does.
    """
    try:
        return await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_AFTER)
    except RuntimeError as error:  # what uvloop raises for an unusable socket
        raise OSError(str(error)) from error
