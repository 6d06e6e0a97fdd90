"""A Kubernetes API with objects in memory, as far as handlers use it: no HTTP, no waiting."""

import copy
from collections.abc import Mapping
from typing import Any, cast

import orjson

from natss.document import Document
from natss.kube import Conflict, KubeClient, NotFound, Resource

_Place = tuple[str, str | None, str]


class FakeCluster:
    """Holds any objects; whatever is written must be JSON.

    Attributes:
        writes: How many writes there were, without Events.
    """

    def __init__(self) -> None:
        self.objects: dict[_Place, Document] = {}
        self.writes = 0

    @property
    def as_client(self) -> KubeClient:
        return cast("KubeClient", self)

    def put(self, plural: str, document: Document) -> None:
        metadata = document["metadata"]
        self.objects[plural, metadata.get("namespace"), metadata["name"]] = document

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Document:
        found = self.objects.get((resource.plural, namespace, name))
        if found is None:
            raise NotFound(404, "NotFound", f"no {resource.plural} {name}")
        return copy.deepcopy(found)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> "list[Document]":
        return [
            copy.deepcopy(each)
            for (plural, place, _), each in self.objects.items()
            if plural == resource.plural
            and namespace in {None, place}
            and (labels or {}).items() <= (each["metadata"].get("labels") or {}).items()
        ]

    async def create(
        self, resource: Resource, body: Document, namespace: str | None = None
    ) -> Document:
        document: Document = orjson.loads(orjson.dumps(body))
        document["metadata"] |= {"uid": f"made-{self.writes}", "resourceVersion": "1"}
        if namespace is not None:
            document["metadata"]["namespace"] = namespace
        self.writes += resource.plural != "events"
        self.put(resource.plural, document)
        return copy.deepcopy(document)

    async def patch(
        self, resource: Resource, name: str, body: Document, namespace: str | None = None
    ) -> Document:
        document = await self.get(resource, name, namespace)
        version = (body.get("metadata") or {}).get("resourceVersion")
        if version not in {None, document["metadata"]["resourceVersion"]}:
            raise Conflict(409, "Conflict", "it is another one by now")
        merged = cast("Document", _merged(document, orjson.loads(orjson.dumps(body))))
        self.writes += resource.plural != "events"
        merged["metadata"]["resourceVersion"] = f"{1000 + self.writes}"
        self.put(resource.plural, merged)
        return copy.deepcopy(merged)

    async def patch_status(
        self, resource: Resource, name: str, body: Document, namespace: str | None = None
    ) -> Document:
        return await self.patch(resource, name, body, namespace)

    async def delete(
        self, resource: Resource, name: str, namespace: str | None = None, *, uid: str
    ) -> None:
        await self.get(resource, name, namespace)
        del self.objects[resource.plural, namespace, name]


def _merged(document: object, patch: object) -> Any:
    """Merge a patch by RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
