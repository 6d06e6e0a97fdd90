"""Every state of an object that the Kubernetes API ever reported, including short-lived ones."""

import asyncio
import json
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import aiohttp

from dispatcher.runtime.tasks import cancel
from natss.document import Document
from tests.support.kubernetes import KubernetesServer
from tests.support.waiting import Changes


class ObjectHistory:
    """Watches all objects under a path; ``async with`` starts with the existing ones.

    A watch reports each version of each object, in order, so no state is too short to be seen.

    Args:
        kubernetes: Must stay up meanwhile.
        path: The path of a collection, such as ``/api/v1/namespaces/shop/services``.
    """

    def __init__(self, kubernetes: KubernetesServer, path: str) -> None:
        self.states: list[tuple[str, Document]] = []
        """``ADDED``, ``MODIFIED`` or ``DELETED``, and the object as it was then."""
        self._kubernetes = kubernetes
        self._path = path
        self._changes = Changes()
        self._is_open = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        listed = await asyncio.to_thread(self._kubernetes.get, self._path)
        self.states += (("ADDED", each) for each in listed["items"])
        version = listed["metadata"]["resourceVersion"]
        self._task = asyncio.create_task(self._watch(version), name=f"watch {self._path}")
        self._task.add_done_callback(lambda _: self._changes.note())
        await self.wait_until(lambda: self._is_open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._fail_if_ended()
        await cancel(self._task)

    def of(self, name: str) -> list[Document]:
        """Return all states of the object of that name, over all its lives."""
        return [each for _, each in self.states if each["metadata"]["name"] == name]

    def falls(self, condition: str = "Ready") -> list[str]:
        """Return where a condition fell after it had been True, for people; empty if nowhere."""
        risen: set[str] = set()
        found = []
        for kind, each in self.states:
            uid = each["metadata"]["uid"]
            conditions = {c["type"]: c for c in (each.get("status") or {}).get("conditions") or ()}
            state = conditions.get(condition, {"status": "missing"})
            if state["status"] == "True":
                risen.add(uid)
            elif uid in risen and kind != "DELETED":
                found.append(f"{each['metadata']['name']}: {state}")
        return found

    async def wait_until(self, is_so: Callable[[], Any], seconds: float = 45.0) -> None:
        """Wait until a condition holds for what was reported; check it after each change."""

        def look() -> bool:
            if is_so():
                return True
            self._fail_if_ended()
            return False

        await self._changes.until(look, seconds)

    def _fail_if_ended(self) -> None:
        """Fail if the watch ended, which only a fault can cause."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def _watch(self, version: str) -> None:
        config = json.loads(self._kubernetes.kubeconfig.read_text())
        token = config["users"][0]["user"]["token"]
        tls = ssl.create_default_context(cafile=str(self._kubernetes.certificate_authority))
        url = f"{self._kubernetes.url}{self._path}?watch=1&resourceVersion={version}"
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(), read_bufsize=2**20) as http,
            http.get(url, ssl=tls, headers={"Authorization": f"Bearer {token}"}) as response,
        ):
            assert response.status == 200, await response.text()
            self._is_open = True
            self._changes.note()
            async for line in response.content:
                news = json.loads(line)
                self.states.append((news["type"], news["object"]))
                self._changes.note()
        raise AssertionError("the API has ended the watch")
