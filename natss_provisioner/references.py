"""Follows what Subscriptions name as subscribers, besides Channels and Services, where it may.

Which kinds those are is known only from the Subscriptions. What may not be followed is looked for
from time to time all the same, by the handler of Subscriptions.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing

from kube import Changed, Document, Failed, Forbidden, KubeClient, Listing, NotFound, follow
from natss_provisioner.dependents import Kind, ObjectName
from natss_provisioner.handlers.targets import address_of, resource_of
from natss_provisioner.subscribers import name_of

_log = logging.getLogger(__name__)

_MOST_KINDS = 20
"""Each takes a connection, and anybody may write a Subscription."""

_ASK_AGAIN = 60.0
"""Seconds until a kind that may not be followed, or that is not there, is asked for again."""


class References:
    """Follows kinds of objects.

    Args:
        client: May follow some kinds, and others not.
        moved: Called with an object whose address is another one than it was, or new.
    """

    def __init__(self, client: KubeClient, moved: Callable[[ObjectName], None]) -> None:
        self._client = client
        self._moved = moved
        self._wanted: set[Kind] = set()
        self._changed = asyncio.Event()

    def want(self, kinds: Iterable[Kind]) -> None:
        """Follow these kinds and no others."""
        wanted = set(kinds)
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    async def run(self) -> None:
        """Follow what is wanted, until cancelled."""
        following: dict[Kind, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for kind in following.keys() - self._wanted:
                    following.pop(kind).cancel()
                for kind in self._wanted - following.keys():
                    if len(following) < _MOST_KINDS:
                        name = f"follow {kind.kind} of {kind.api_version}"
                        following[kind] = group.create_task(self._follow(kind), name=name)
                await self._changed.wait()

    async def _follow(self, kind: Kind) -> None:
        while True:
            refusal = await self._follow_while_allowed(kind)
            _log.info("%s of %s is not followed: %s", kind.kind, kind.api_version, refusal)
            await asyncio.sleep(_ASK_AGAIN)

    async def _follow_while_allowed(self, kind: Kind) -> Forbidden | NotFound:
        addresses: dict[ObjectName, str | None] = {}

        def look(document: Document) -> None:
            if not document["metadata"].get("namespace"):  # nobody can name it
                return
            name, address = ObjectName(kind, name_of(document)), address_of(document)
            if addresses.get(name) != address:
                addresses[name] = address
                self._moved(name)

        resource = resource_of(kind.api_version, kind.kind)
        async with aclosing(follow(self._client, resource)) as news:
            async for each in news:
                match each:
                    case Listing(documents):
                        for document in documents:
                            look(document)
                    case Changed(document, deleted):
                        look(document if not deleted else {**document, "status": None})
                    case Failed(Forbidden() | NotFound() as refusal):
                        return refusal
        raise AssertionError("to follow has no end")
