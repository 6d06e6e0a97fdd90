"""Sockets to listen on, one for each address that a setting means, and why one is missing."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

from natss.process.event_loops import Address as Found
from natss.process.kinds import ListenAddress

_TRIES = 20
"""Attempts to find a port that is free on every address, if any port will do."""


_NO_ADDRESS = "the host has no address; set an IP address of this machine"
_REASONS = {
    errno.EADDRINUSE: "another process listens there; end it, or set another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; set one that it has",
    errno.EACCES: "this user may not use the port; set one from 1024 on",
    **dict.fromkeys((socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_AGAIN), _NO_ADDRESS),
}


class CannotListen(OSError):
    """The process cannot listen on an address of the settings; the text names the flag."""

    def __init__(self, flag: str, address: ListenAddress, reason: str) -> None:
        super().__init__(f"{flag}: cannot listen on {address}: {reason}")
        self.flag = flag
        self.address = address


@contextlib.contextmanager
def listening(flag: str, address: ListenAddress) -> Iterator[None]:
    """Listen in the body of ``with``, and name the setting in failures.

    Args:
        flag: The flag of the setting.
        address: The address as it was set.

    Raises:
        CannotListen: for every OSError that comes from the address.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0)
        if reason is None:
            raise
        raise CannotListen(flag, address, reason) from error


async def bind(address: ListenAddress) -> list[socket.socket]:
    """Bind TCP sockets that do not listen yet and that all have the same port.

    No host means every address of the machine, IPv4 and IPv6, as far as the machine has them; an
    IPv4 peer is shown with its IPv4 address. A name means all of its addresses that the machine
    has.

    Raises:
        OSError: an address is taken, or none of them is one of this machine.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for _ in range(_TRIES):
            try:
                return _bind_all(list(dict.fromkeys(found)))
            except OSError as error:
                if address.port or error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, "no port is free on every address")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(error.errno, f"cannot listen on {address}: {reason}") from error


def _bind_all(found: list[Found]) -> list[socket.socket]:
    bound: list[socket.socket] = []
    missing = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    try:
        for family, kind, protocol, _, place in found:
            port = bound[0].getsockname()[1] if bound else place[1]
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:  # a kernel without IPv6, or without IPv4
                missing = error
                continue
            try:
                _bind(sock, (place[0], port, *place[2:]))
            except OSError as error:
                sock.close()
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                missing = error  # not of this machine, such as ::1 where IPv6 is off
                continue
            bound.append(sock)
        if not bound:
            raise missing
    except BaseException:
        for sock in bound:
            sock.close()
        raise
    return bound


def _bind(sock: socket.socket, place: tuple[object, ...]) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
    sock.bind(place)
