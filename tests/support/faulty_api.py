"""Stands between a program and the real API server, and treats its requests as a test says."""

import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.kubernetes import KubernetesServer

Forward = Callable[[], Awaitable[web.StreamResponse]]
"""Forwards a request to the API server; its answer may be returned to the program, or not."""

Rule = Callable[[web.Request, Forward], Awaitable[web.StreamResponse]]

_OF_A_CONNECTION = {"host", "connection", "content-length", "transfer-encoding"}


async def pass_on(_: web.Request, forward: Forward) -> web.StreamResponse:
    """Pass on every request; the default rule."""
    return await forward()


def refusal(code: int, reason: str, **headers: str) -> web.Response:
    """Return a refusal as the API server would."""
    body = {"kind": "Status", "code": code, "reason": reason, "message": "by the test"}
    return web.json_response(body, status=code, headers=headers)


def is_watch(request: web.Request) -> bool:
    return "watch" in request.query


def cut(request: web.Request) -> None:
    """End the connection of a request without an answer."""
    if request.transport is not None:
        request.transport.abort()


class FaultyApi:
    """A reverse proxy on 127.0.0.1, without TLS; an async context manager.

    Attributes:
        rule: Decides what becomes of each request, including those of watches.
    """

    def __init__(self, kubernetes: KubernetesServer) -> None:
        self.rule: Rule = pass_on
        self._kubernetes = kubernetes
        self._watches: list[web.Request] = []
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        tls = ssl.create_default_context(cafile=str(self._kubernetes.certificate_authority))
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        self.cut_watches()
        await self._runner.cleanup()
        await self._session.close()

    def kubeconfig(self, folder: Path, namespace: str, account: str) -> Path:
        """Write a file that leads here, with a token of a service account."""
        token = self._kubernetes.token_of(namespace, account)
        config = json.loads(self._kubernetes.kubeconfig_with(token))
        port = self._runner.addresses[0][1]
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        path = folder / "faulty.kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def cut_watches(self) -> None:
        """Break all watches that are open now."""
        for request in tuple(self._watches):
            cut(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        return await self.rule(request, lambda: self._forward(request))

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        headers = {
            key: value
            for key, value in request.headers.items()
            if key.lower() not in _OF_A_CONNECTION
        }
        try:
            async with self._session.request(
                request.method,
                URL(self._kubernetes.url + request.raw_path, encoded=True),
                headers=headers,
                data=await request.read(),
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                if is_watch(request) and answer.status == 200:
                    return await self._stream(request, answer)
                return web.Response(
                    status=answer.status,
                    body=await answer.read(),
                    content_type=answer.content_type,
                )
        except aiohttp.ClientError:  # the API server is away
            cut(request)
            return web.Response(status=502)

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._watches.append(request)
        try:
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
        except ConnectionError:  # the program's connection
            pass
        finally:
            self._watches.remove(request)
        return response
