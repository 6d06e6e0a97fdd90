"""The admin server: health, readiness, metrics and status over HTTP, on a port of its own.

It is for operators, probes and Prometheus; events arrive through ``dispatcher.ingress``. The
functions that ``Admin`` is given decide what the answers say. Large answers are made and written in
pieces, so that a scrape or a curious person does not hold up the events.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

import orjson
from aiohttp import web

from dispatcher.admin import exposition, page
from dispatcher.admin.readiness import Readiness
from dispatcher.runtime.metrics import Metrics
from natss.process.kinds import ListenAddress
from natss.process.listening import bind
from natss.process.side_ports import SidePort

_PIECE_SECONDS = 0.005
"""How long making one piece may take. Events still get through a busy loop in time: a scrape of
3,000 subscriptions is a dozen pieces.
"""

_PIECE_BYTES = 1024 * 1024


class Admin:
    """Serves ``/healthz``, ``/readyz``, ``/metrics``, ``/status`` and a page of links on ``/``.

    Args:
        ready: Whether the dispatcher is ready.
        status: The document of ``/status``, a value for JSON. The page on ``/`` shows its
            ``channels`` with their ``subscriptions`` as a table.
        metrics: What ``/metrics`` shows.
    """

    def __init__(
        self,
        ready: Callable[[], Readiness],
        status: Callable[[], Mapping[str, object]],
        metrics: Metrics,
    ) -> None:
        self._ready = ready
        self._status = status
        self._exposition = exposition.Exposition(metrics)
        app = web.Application()
        app.router.add_get("/", self._index)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", self._show_status)
        app.on_response_prepare.append(_add_headers)
        self._runner = SidePort(app)

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port, which differs from ``port`` if that is 0.

        An empty host means every address, IPv4 and IPv6.

        Raises:
            OSError: The server cannot listen on the address.
        """
        await self._runner.setup()
        for sock in await bind(ListenAddress(host, port)):
            await web.SockSite(self._runner, sock).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening and end the answers under way. Allowed in any state."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        readiness = self._ready()
        response = _json(request, {"ready": readiness.is_ready, **asdict(readiness)})
        if not readiness.is_ready:
            response.set_status(503)
        return response

    async def _show_status(self, request: web.Request) -> web.StreamResponse:
        return await _stream(request, "application/json", _json_parts(request, self._status()))

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        return await _stream(request, exposition.CONTENT_TYPE, self._exposition.parts())

    async def _index(self, request: web.Request) -> web.StreamResponse:
        parts = page.parts(self._status(), self._ready())
        return await _stream(
            request, page.CONTENT_TYPE, (part.encode("utf-8", "replace") for part in parts)
        )


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "natss-dispatcher"  # aiohttp would reveal versions
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = page.POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"


def _json(request: web.Request, document: object) -> web.Response:
    response = web.Response(body=_dump(request, document) + b"\n", content_type="application/json")
    _compress(request, response)
    return response


def _dump(request: web.Request, value: object) -> bytes:
    option = orjson.OPT_NON_STR_KEYS
    if "pretty" in request.query:
        option |= orjson.OPT_INDENT_2
    return orjson.dumps(value, default=str, option=option)


def _json_parts(request: web.Request, document: Mapping[str, object]) -> Iterator[bytes]:
    """Yield an object as JSON; the items of its lists are made one by one."""
    line, after = (b"\n", b": ") if "pretty" in request.query else (b"", b":")
    before = b"{" + line
    for key, value in document.items():
        yield before + _indented(orjson.dumps(key) + after, line and b"  ")
        if isinstance(value, Sequence) and not isinstance(value, str):
            opening = b"[" + line
            for item in value:
                yield opening + _indented(_dump(request, item), line and b"    ")
                opening = b"," + line
            yield line + (line and b"  ") + b"]" if len(value) else b"[]"
        else:
            yield _indented(_dump(request, value), line and b"  ").lstrip()
        before = b"," + line
    yield (line + b"}" if document else b"{}") + b"\n"


def _indented(text: bytes, by: bytes) -> bytes:
    """Return each line indented by so many blanks; a line break within a JSON string is escaped."""
    return by + text.replace(b"\n", b"\n" + by) if by else text


def _compress(request: web.Request, response: web.StreamResponse) -> None:
    """Compress for a client that asks for it; a scrape shrinks to a twentieth."""
    if request.method != "HEAD":  # aiohttp would send the end of the absent compressed body
        response.enable_compression()


async def _stream(
    request: web.Request, content_type: str, parts: Iterable[bytes]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    _compress(request, response)
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in _pieces(parts):
            await response.write(piece)
            await asyncio.sleep(0)
    await response.write_eof()
    return response


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield parts joined to a few pieces, none of which takes long to make."""
    held: list[bytes] = []
    size = 0
    began = time.perf_counter()
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= _PIECE_BYTES or time.perf_counter() - began >= _PIECE_SECONDS:
            yield b"".join(held)
            held.clear()
            size = 0
            began = time.perf_counter()
    if held:
        yield b"".join(held)
