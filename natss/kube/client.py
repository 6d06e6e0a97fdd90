"""Requests to the Kubernetes API, one method for each verb.

Callers decide what to repeat, and when; they know the errors by class. Only an expired token is
handled here: the client logs in again and repeats the request once.
"""

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp
import kopf
import orjson

from natss.document import Document
from natss.kube import nesting
from natss.kube.errors import ApiRefusal, KubeError, Unauthorized, Unreachable, refusal
from natss.kube.resources import Resource, label_selector

MERGE_PATCH = "application/merge-patch+json"
_PAGE = 500
_MAX_LINE = 32 * 1024 * 1024
"""Bytes of one event of a watch; etcd stores objects of about 1.5 MiB at most."""

_WATCH_MARGIN = 10.0
"""Seconds that the end of a watch may be late; after that the connection counts as dead."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects, as they were at one moment."""

    documents: list[Document]
    version: str
    """The ``resourceVersion`` of the list, from which a watch continues."""


class KubeClient:
    """A client with one identity; close it at the end.

    Args:
        login: Returns the credentials, read again each time; ``natss.kube.connection_info``.
        field_manager: The name under which the API records what this program wrote.
        timeout: For one request, from connecting to the end of the answer, in seconds.
    """

    def __init__(
        self,
        login: Callable[[], kopf.ConnectionInfo],
        *,
        field_manager: str,
        timeout: float = 10.0,
    ) -> None:
        self._login = login
        self._field_manager = field_manager
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._info: kopf.ConnectionInfo | None = None
        self._session: aiohttp.ClientSession | None = None

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Document:
        """Return one object. Raises KubeError."""
        answer = await self._request("GET", resource.path(namespace, name))
        return _identified(answer, resource, namespace, name)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Document]:
        """Return the documents of ``list_all``. Raises KubeError."""
        return (await self.list_all(resource, namespace, labels)).documents

    async def list_all(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Listing:
        """List all objects of a namespace, or of all namespaces, that have the labels.

        Each has ``apiVersion`` and ``kind``, which the API leaves out in lists.

        Raises:
            KubeError: also if the list changed so much meanwhile that its end is no longer
                available (``Conflict``).
        """
        query = {"limit": str(_PAGE), **_selector(labels)}
        objects: list[Document] = []
        while True:
            page = _checked(await self._request("GET", resource.path(namespace), query))
            items = page.get("items") or []  # null may stand for an empty list
            if not isinstance(items, list):
                raise _foreign()
            objects += (_identified(each, resource, namespace) for each in items)
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return Listing(objects, str(page["metadata"].get("resourceVersion") or ""))

    async def watch(
        self,
        resource: Resource,
        version: str,
        *,
        seconds: int,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Document]:
        """Yield what happens to the objects from a version on: ``{"type": ..., "object": ...}``.

        It ends by itself. A connection that died without notice is detected 10 s later.

        Args:
            resource: Its kind, in all namespaces.
            version: That of a ``Listing``, or of the last object that was yielded.
            seconds: The time after which the API server ends the watch.
            labels: Only objects that have these; one that loses them counts as deleted.

        Raises:
            KubeError: the watch broke; ``Conflict`` if that version is too old, so that the objects
                have to be listed again.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            **_selector(labels),
        }
        session, info = await self._connection()
        try:
            async with aclosing(self._stream(session, info, resource.path(), query)) as events:
                async for event in events:
                    _typed(event["object"], resource)
                    yield event
        except Unauthorized:
            if await self._log_in_again(info) is None:
                raise
            # To the caller the watch has ended: the next one uses the new credentials.

    async def _stream(
        self,
        session: aiohttp.ClientSession,
        info: kopf.ConnectionInfo,
        path: str,
        query: Mapping[str, str],
    ) -> AsyncGenerator[Document]:
        total = int(query["timeoutSeconds"]) + _WATCH_MARGIN
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=self._timeout.total)
        headers = {**info.as_http_headers(), "Accept": "application/json"}
        url = info.server.rstrip("/") + path
        try:
            async with session.get(url, params=query, headers=headers, timeout=timeout) as response:
                if response.status != 200:
                    raise _refused(response, await response.read())
                async for event in _events(response.content):
                    yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from error
        except RuntimeError as error:  # aiohttp: a login closed the session meanwhile
            raise Unreachable(str(error)) from error

    async def create(
        self, resource: Resource, body: Document, namespace: str | None = None
    ) -> Document:
        """Create an object and return it as it is stored. Raises AlreadyExists, KubeError."""
        name = body.get("metadata", {}).get("name")
        answer = await self._write("POST", resource.path(namespace), body)
        return _identified(answer, resource, namespace, name)

    async def patch(
        self, resource: Resource, name: str, body: Document, namespace: str | None = None
    ) -> Document:
        """Merge a part into an object: lists are replaced as a whole, nulls remove a field.

        With ``metadata.resourceVersion`` in it, the API refuses if the object has changed since.

        Raises:
            Conflict: the object has changed since.
            KubeError: other failures.
        """
        answer = await self._write("PATCH", resource.path(namespace, name), body, MERGE_PATCH)
        return _identified(answer, resource, namespace, name)

    async def patch_status(
        self, resource: Resource, name: str, body: Document, namespace: str | None = None
    ) -> Document:
        """Patch the subresource ``status`` as ``patch`` does; nothing else changes."""
        path = resource.path(namespace, name, "status")
        answer = await self._write("PATCH", path, body, MERGE_PATCH)
        return _identified(answer, resource, namespace, name)

    async def delete(
        self, resource: Resource, name: str, namespace: str | None = None, *, uid: str
    ) -> None:
        """Delete the object that has this uid, and no other of that name.

        Raises:
            NotFound: it does not exist (any more).
            Conflict: another object has that name.
        """
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        await self._request("DELETE", resource.path(namespace, name), body=body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _write(
        self, method: str, path: str, body: Document, content_type: str = "application/json"
    ) -> Document:
        query = {"fieldManager": self._field_manager}
        return await self._request(method, path, query, body, content_type)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        content_type: str = "application/json",
    ) -> Document:
        data = None if body is None else orjson.dumps(body)
        used = await self._connection()
        try:
            return await self._attempt(used, method, path, query, data, content_type)
        except Unauthorized:
            renewed = await self._log_in_again(used[1])
            if renewed is None:
                raise
        return await self._attempt(renewed, method, path, query, data, content_type)

    async def _attempt(
        self,
        connection: tuple[aiohttp.ClientSession, kopf.ConnectionInfo],
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        content_type: str,
    ) -> Document:
        session, info = connection
        headers = {**info.as_http_headers(), "Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = content_type
        try:
            async with session.request(
                method, info.server.rstrip("/") + path, params=query, data=data, headers=headers
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from error
        except RuntimeError as error:  # aiohttp: a login closed the session meanwhile
            raise Unreachable(str(error)) from error
        answer = _decoded(raw)
        if response.status >= 400 or not isinstance(answer, dict):
            raise _refused(response, raw)
        return answer

    async def _connection(self) -> tuple[aiohttp.ClientSession, kopf.ConnectionInfo]:
        if self._session is None or self._info is None:
            await self._open(self._login())
        return self._opened()

    async def _log_in_again(
        self, refused: kopf.ConnectionInfo
    ) -> tuple[aiohttp.ClientSession, kopf.ConnectionInfo] | None:
        """Log in again and return new credentials; None if there are only the refused ones."""
        if self._info == refused:
            info = self._login()
            if info == refused:
                return None
            if dataclasses.replace(info, token=refused.token) == refused:
                self._info = info  # same settings, another token: connections stay usable
            else:
                await self._open(info)
        return self._opened()

    async def _open(self, info: kopf.ConnectionInfo) -> None:
        previous = self._session
        self._info = info
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=info.as_ssl_context()),
            timeout=self._timeout,
            proxy=info.proxy_url,
            trust_env=info.trust_env,
        )
        if previous is not None:
            await previous.close()

    def _opened(self) -> tuple[aiohttp.ClientSession, kopf.ConnectionInfo]:
        if self._session is None or self._info is None:
            raise KubeError("the client is closed")
        return self._session, self._info


def _selector(labels: Mapping[str, str] | None) -> dict[str, str]:
    return {"labelSelector": label_selector(labels)} if labels else {}


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[Document]:
    """Yield the events of a watch, one for each line; raise an error among them."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _MAX_LINE:
            raise _foreign()
        for line in lines:
            event = _decoded(line)
            if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                raise _foreign()
            document = event["object"]
            if event.get("type") == "ERROR":
                code = document.get("code")
                raise refusal(code if isinstance(code, int) else 500, document, None)
            if not _checked(document)["metadata"].get("resourceVersion"):
                raise _foreign()
            yield event
    if rest:  # half an event
        raise _foreign()


def _checked(value: object) -> Document:
    """Return an object of the API, or a list of them. Raises ServerFailed for anything else."""
    if isinstance(value, dict) and isinstance(value.get("metadata"), dict):
        return value
    raise _foreign()


def _identified(
    value: object, resource: Resource, namespace: str | None, name: str | None = None
) -> Document:
    """Return the object that was asked for. Raises ServerFailed for anything else.

    Args:
        value: The answer.
        resource: Its kind.
        namespace: Omit it if any will do.
        name: Omit it if any will do.
    """
    document = _checked(value)
    asked = {"namespace": namespace if resource.namespaced else None, "name": name}
    for key, wanted in asked.items():
        answered = document["metadata"].get(key)
        if wanted is not None and answered != wanted:
            raise _foreign(f"an answer about the {key} {answered!a:.80}, not about {wanted}")
    return _typed(document, resource)


def _typed(document: Document, resource: Resource) -> Document:
    """Add ``apiVersion`` and ``kind``, which the API leaves out in lists."""
    document.setdefault("apiVersion", resource.api_version)
    document.setdefault("kind", resource.kind)
    return document


def _foreign(message: str = "an answer that is none of the API's") -> ApiRefusal:
    """Return the error for an answer of a proxy on the way, or of a server of another kind."""
    return refusal(502, {"kind": "Status", "message": message}, None)


def _decoded(raw: bytes) -> object:
    """Return the decoded JSON; None for what is not JSON."""
    try:
        return nesting.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _refused(response: aiohttp.ClientResponse, raw: bytes) -> ApiRefusal:
    if response.status < 400:
        return _foreign()
    return refusal(response.status, _decoded(raw), response.headers.get("Retry-After"))


def _unreachable(error: BaseException) -> Unreachable:
    return Unreachable(f"no answer from the Kubernetes API: {error or type(error).__name__}")
