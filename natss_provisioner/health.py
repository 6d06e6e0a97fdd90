"""Answers probes: whether the process is alive, and whether it can do its work."""

from collections.abc import Callable, Mapping

from aiohttp import web

from natss.process.kinds import ListenAddress
from natss.process.listening import bind
from natss.process.side_ports import SidePort


class Health:
    """Serves ``/healthz`` and ``/readyz``.

    ``/healthz`` answers as long as the process does: a restart would help with nothing else.

    Args:
        status: Returns what this replica does, for people, as JSON values.
        reasons: Returns why it cannot do its work; empty if it can.
    """

    def __init__(
        self, status: Callable[[], Mapping[str, object]], reasons: Callable[[], list[str]]
    ) -> None:
        self._status = status
        self._reasons = reasons
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = SidePort(app)

    async def start(self, address: ListenAddress) -> None:
        """Listen on an address.

        Raises:
            OSError: The address cannot be listened on.
        """
        await self._runner.setup()
        for sock in await bind(address):
            await web.SockSite(self._runner, sock).start()

    async def close(self) -> None:
        """Stop listening; call it in any state."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = self._reasons()
        document = {"ready": not reasons, **self._status(), "reasons": reasons}
        return web.json_response(document, status=503 if reasons else 200)
