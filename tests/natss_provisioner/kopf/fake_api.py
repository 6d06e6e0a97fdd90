"""As much of the Kubernetes API as kopf needs to follow one kind of objects, with faults."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
from aiohttp import web

from natss.document import Document

GROUP, VERSION, PLURAL, KIND = "eventing.knative.dev", "v1alpha1", "channels", "Channel"
_EXPIRED = 410


def status(code: int) -> Document:
    """Return what the API sends in place of an object when a watch fails."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}


class FakeApi:
    """Serves discovery, lists and watches of Channels on 127.0.0.1.

    Attributes:
        url: The address of the API.
        refused: Counts the requests that got no answer because the API was away.
    """

    def __init__(self) -> None:
        self.url = ""
        self.refused = asyncio.Semaphore(0)
        self._version = 1
        self._oldest = 1  # a watch from before is told that its version has expired
        self._objects: dict[str, Document] = {}
        self._changes: list[tuple[int, Document]] = []
        self._has_news = asyncio.Event()
        self._is_away = False

    def put(self, name: str) -> None:
        """Create or change an object."""
        kind = "MODIFIED" if name in self._objects else "ADDED"
        metadata = {"name": name, "namespace": "shop", "uid": name}
        self._objects[name] = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {**metadata, "resourceVersion": str(self._version + 1)},
        }
        self._tell(kind, self._objects[name])

    def delete(self, name: str) -> None:
        """Delete an object; only present watches report it."""
        self._tell("DELETED", self._objects.pop(name))

    def fail_watch(self, code: int) -> None:
        """Send an error to the watches."""
        self._tell("ERROR", status(code))

    def go_away(self) -> None:
        """Break the watch, and answer nothing until ``come_back``."""
        self._is_away = True
        self._has_news.set()

    def come_back(self) -> None:
        """Answer again, after so long that no version from before is known."""
        self._oldest = self._version
        self._is_away = False

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get(f"/apis/{GROUP}/{VERSION}/{PLURAL}", self._objects_of_kind)
        app.router.add_get("/{path:.*}", self._discovery)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _discovery(self, request: web.Request) -> web.Response:
        version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
        group = {"name": GROUP, "versions": [version], "preferredVersion": version}
        known: dict[str, Document] = {
            "/api": {"versions": ["v1"]},
            "/api/v1": {"resources": [_resource("Namespace", namespaced=False)]},
            "/apis": {"groups": [group]},
            f"/apis/{GROUP}/{VERSION}": {"resources": [_resource(KIND)]},
        }
        if request.path not in known:
            return web.json_response(status(404), status=404)
        return web.json_response(known[request.path])

    async def _objects_of_kind(self, request: web.Request) -> web.StreamResponse:
        if self._is_away:
            assert request.transport is not None
            request.transport.abort()
            self.refused.release()
            return web.Response()
        if "watch" in request.query:
            return await self._watch(request, int(request.query["resourceVersion"]))
        answer = {"metadata": {"resourceVersion": str(self._version)}}
        return web.json_response({**answer, "items": list(self._objects.values())})

    async def _watch(self, request: web.Request, since: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if since < self._oldest:
            await response.write(_line("ERROR", status(_EXPIRED)))
            return response
        while not self._is_away:
            self._has_news.clear()
            for version, change in self._changes:
                if version > since:
                    await response.write(_line(change["type"], change["object"]))
                    since = version
            await self._has_news.wait()
        assert request.transport is not None
        request.transport.abort()
        return response

    def _tell(self, kind: str, document: Document) -> None:
        self._version += 1
        self._changes.append((self._version, {"type": kind, "object": document}))
        self._has_news.set()


def _resource(kind: str, *, namespaced: bool = True) -> Document:
    return {
        "name": f"{kind.lower()}s",
        "singularName": kind.lower(),
        "kind": kind,
        "namespaced": namespaced,
        "verbs": ["list", "watch", "patch"],
    }


def _line(kind: str, document: Document) -> bytes:
    return orjson.dumps({"type": kind, "object": document}) + b"\n"
