"""A tunnel through an HTTP proxy to a host and port (CONNECT: RFC 9110, 9.3.6)."""

import asyncio
import re
import socket

from dispatcher.egress.target import Proxy

_MAX_HEAD = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: [^\r\n]*)?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")


class TunnelRefused(OSError):
    """The proxy does not open the tunnel. The text says what it answered."""


async def open_tunnel(sock: socket.socket, proxy: Proxy, authority: str) -> None:
    """Have the proxy at the other end of a socket open a tunnel to ``host:port``.

    Raises:
        TunnelRefused: the proxy refuses, or its answer is unreadable.
        OSError: the connection to it broke.
    """
    loop = asyncio.get_running_loop()
    host = authority.encode("ascii")
    request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (host, host, proxy.authorization)
    await loop.sock_sendall(sock, request)
    head = b""
    while (end := _END.search(head)) is None:
        if len(head) > _MAX_HEAD:
            raise TunnelRefused("its answer to CONNECT has no end")
        piece = await loop.sock_recv(sock, 4096)
        if not piece:
            raise TunnelRefused("it closed the connection after CONNECT")
        head += piece
    status = _STATUS.match(head)
    if status is None:
        raise TunnelRefused("its answer to CONNECT is no HTTP")
    if not status[1].startswith(b"2"):
        wrong = " (its user or password is wrong)" if status[1] == b"407" else ""
        raise TunnelRefused(f"it answered CONNECT with status {status[1].decode()}{wrong}")
    if end.end() != len(head):
        raise TunnelRefused("it sent something of its own into the tunnel")
