"""The part of a Kubernetes API that the dispatcher uses, in the process of the test.

For measurements of the dispatcher alone. Every document goes through JSON on its way in and out, as
over the network.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import orjson

from natss.document import Document
from natss.kube import KubeClient, Listing, NotFound, Resource
from tests.support.channel_ids import CHANNELS


class ChannelStore(KubeClient):
    """Keeps Channels, accepts patches of them, and sends changes to watches."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], Document] = {}
        self._version = 0
        self._events: asyncio.Queue[bytes] = asyncio.Queue()
        self.patches = 0

    def put(self, document: Document) -> None:
        metadata = document["metadata"]
        key = metadata["namespace"], metadata["name"]
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"uid-{self._version}")
        kind = "MODIFIED" if key in self._documents else "ADDED"
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            del self._documents[key]
            kind = "DELETED"
        else:
            self._documents[key] = document
        self._events.put_nowait(orjson.dumps({"type": kind, "object": document}))

    def get_channel(self, namespace: str, name: str) -> Document:
        return _copy(self._documents[namespace, name])

    async def list_all(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Listing:
        while not self._events.empty():
            self._events.get_nowait()
        documents = []
        for page in _pages(self._documents.values()):
            documents += orjson.loads(orjson.dumps(page))
            await asyncio.sleep(0)
        return Listing(documents, str(self._version))

    async def watch(
        self,
        resource: Resource,
        version: str,
        *,
        seconds: int,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Document]:
        while True:
            yield orjson.loads(await self._events.get())

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Document:
        raise NotFound(404, "NotFound", f"{resource.kind} {name}")

    async def create(
        self, resource: Resource, body: Document, namespace: str | None = None
    ) -> Document:
        await asyncio.sleep(0)
        return body

    async def patch(
        self, resource: Resource, name: str, body: Document, namespace: str | None = None
    ) -> Document:
        """Merge a patch into a Channel; of anything else keep nothing."""
        await asyncio.sleep(0)
        body = _copy(body)
        if resource != CHANNELS:
            return body
        body["metadata"].pop("resourceVersion", None)
        document = self._documents[str(namespace), name]
        _merge(document, body)
        self.patches += 1
        self.put(document)
        return _copy(document)

    async def patch_status(
        self, resource: Resource, name: str, body: Document, namespace: str | None = None
    ) -> Document:
        return await self.patch(resource, name, body, namespace)

    async def close(self) -> None:
        """Do nothing: nothing is open."""


def _pages(documents: Iterable[Document]) -> Iterable[list[Document]]:
    documents = list(documents)
    for start in range(0, len(documents), 500):
        yield documents[start : start + 500]


def _copy(document: Document) -> Document:
    copied: Document = orjson.loads(orjson.dumps(document))
    return copied


def _merge(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value
