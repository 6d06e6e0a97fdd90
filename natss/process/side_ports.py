"""HTTP servers beside the path of events: for probes, Prometheus, people and the API server.

Few clients use them, but anyone who can reach one may try how many connections it accepts. Each is
an open file of the process, and publishers and subscribers need those as well.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, cast

from aiohttp import web

_MOST: Final = 128
"""Connections of one port. A kubelet, a Prometheus or two and a few browsers need a dozen, and so
do three API servers that ask at once.
"""

_KEEPALIVE_SECONDS: Final = 120.0
"""How long a connection may idle, also before its first request. Prometheus asks more often, and
clients in Go, such as the API server, close idle connections after 90 s: neither meets a connection
that is closing.
"""

_CLOSE_SECONDS: Final = 1.0
"""How long closing waits for answers under way."""


class SidePort(web.AppRunner):
    """Runs an application; beyond the bound, a new connection replaces the oldest one.

    A connection with an answer under way may finish it, until there are twice as many.

    Args:
        app: Answers the requests.
        most: Connections at once.
    """

    def __init__(self, app: web.Application, *, most: int = _MOST) -> None:
        super().__init__(
            app,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            shutdown_timeout=_CLOSE_SECONDS,
        )
        self._most = most
        self._answering: set[asyncio.BaseProtocol] = set()
        app.middlewares.append(self._note_answer)

    @property
    def server(self) -> web.Server | None:
        """The server for sites of aiohttp, which only call it; see ``protocol``."""
        return None if super().server is None else cast("web.Server", self.protocol)

    def protocol(self) -> web.RequestHandler:
        """Return the protocol for an accepted connection. Call ``setup`` first."""
        server = super().server
        if server is None:
            raise RuntimeError("it is not set up")
        self._make_room(server)
        return server()

    def _make_room(self, server: web.Server) -> None:
        connections = server.connections  # in the order in which they were opened
        excess = len(connections) + 1 - self._most
        for connection in connections[: max(0, excess)]:
            if connection in self._answering:
                connection.close()  # once its answer is out
            else:
                connection.force_close()
        for connection in connections[: max(0, excess - self._most)]:
            if connection.transport is not None:
                connection.transport.abort()

    @web.middleware
    async def _note_answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        connection = request.protocol
        self._answering.add(connection)
        try:
            return await handler(request)
        finally:
            self._answering.discard(connection)
