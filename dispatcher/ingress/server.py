"""The HTTP server that receives events: listens, keeps time, and stops without losing a request.

``dispatcher.ingress.connection`` serves a connection; ``dispatcher.ingress.context`` has what all
share.
"""

import asyncio
import os
import socket

import structlog

from dispatcher.ingress.connection import IngressConnection
from dispatcher.ingress.context import IngressContext, Services
from dispatcher.ingress.limits import IngressLimits
from dispatcher.runtime.tasks import BackgroundTasks
from natss.process.kinds import ListenAddress
from natss.process.listening import bind

log = structlog.get_logger(__name__)

_BACKLOG = 4096
"""Connections that the kernel accepts ahead of this process; fewer if ``somaxconn`` is lower."""

_ACCEPTS = 16
"""Connections that are accepted in one turn of the loop. uvloop accepts one for each time that it
watches a listener, so with a single watch a busy loop would let a hundred publishers wait for a
hundred turns. The price: a lone connection costs the others a system call each.
"""


class Ingress:
    """Receives events over HTTP/1.1 and answers 202 once they are stored.

    Args:
        services: What the server works with.
        limits: What publishers may take.
    """

    def __init__(self, services: Services, limits: IngressLimits) -> None:
        self._context = IngressContext(services, limits)
        self._servers: list[asyncio.Server] = []
        self._tasks = BackgroundTasks()

    @property
    def connections(self) -> int:
        """Number of connections that are open now."""
        return len(self._context.connections)

    async def start(self, host: str, port: int) -> int:
        """Listen on an address; an empty host means all of them, IPv4 and IPv6.

        Returns:
            The port, never 0.

        Raises:
            OSError: the server cannot listen on the address.
        """
        loop = asyncio.get_running_loop()

        def connection() -> IngressConnection:
            return IngressConnection(self._context)

        sockets = await bind(ListenAddress(host, port))
        bound: int = sockets[0].getsockname()[1]
        for listener in tuple(sockets):
            duplicates = (os.dup(listener.fileno()) for _ in range(_ACCEPTS - 1))
            sockets += [socket.socket(fileno=duplicate) for duplicate in duplicates]
        try:
            for sock in sockets:
                server = await loop.create_server(connection, sock=sock, backlog=_BACKLOG)
                self._servers.append(server)
        except BaseException:
            for sock in sockets[len(self._servers) :]:
                sock.close()
            raise
        self._context.tick()
        self._tasks.start(self._tick(), "ingress-clock")
        return bound

    async def drain(self, timeout: float) -> None:
        """Take no more events, answer the requests that have begun, then let all connections end.

        Args:
            timeout: Seconds after which connections that are still open are left to ``close``.
        """
        for server in self._servers:
            server.close()
        self._context.start_draining(timeout)
        try:
            async with asyncio.timeout(timeout):
                await self._context.drained.wait()
        except TimeoutError:
            log.warning("stopping with open connections", connections=self.connections)

    async def close(self) -> None:
        """Close everything at once; unanswered requests get no answer."""
        for server in self._servers:
            server.close()
        for connection in tuple(self._context.connections):
            connection.abort()
        await self._tasks.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._context.tick_interval)
            self._context.tick()
