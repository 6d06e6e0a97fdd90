"""HTTP servers beside the way of events: for probes, Prometheus, people and the API server.

Few clients use them, and whoever reaches one may try how many connections it takes. Each is an open
file of the process, which publishers and subscribers need as well.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, cast

from aiohttp import web

_MOST: Final = 128
"""Connections of one port. A kubelet, a Prometheus or two and some browsers need a dozen, and so do
three API servers that ask at once."""

_KEEPALIVE_SECONDS: Final = 120.0
"""That a connection may idle, also before its first request. Prometheus asks more often, and
clients in Go, as the API server, close idle ones after 90 s: none meets a closing one."""

_CLOSE_SECONDS: Final = 1.0
"""That closing waits for answers under way."""


class SidePort(web.AppRunner):
    """Runs an application; beyond so many connections, the one opened first goes for a new one.

    One that has an answer under way gets the time for it, until there are twice as many.

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
        """For sites of aiohttp, which only call it; see ``protocol``."""
        return None if super().server is None else cast("web.Server", self.protocol)

    def protocol(self) -> web.RequestHandler:
        """Make that of a connection that was accepted. ``setup`` has to be done."""
        server = super().server
        if server is None:
            raise RuntimeError("it is not set up")
        self._make_room(server)
        return server()

    def _make_room(self, server: web.Server) -> None:
        connections = server.connections  # in the order of their opening
        excess = len(connections) + 1 - self._most
        for connection in connections[: max(0, excess)]:
            if connection in self._answering:
                connection.close()  # when its answer is out
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
