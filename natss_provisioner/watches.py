"""Follows all relevant kinds of objects, passes on their changes, and remembers failures."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from natss.document import Document
from natss.kube import Changed, Failed, KubeClient, Listing, Resource, follow

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Watch:
    """A kind of objects, and the functions that are notified of them."""

    resource: Resource
    on_all: Callable[[Sequence[Document]], None]
    """Called with all objects: at first, and whenever changes may have been missed."""

    on_change: Callable[[Document, bool], None]
    """Called with an object that was created or changed; or deleted, if the flag is true."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Restricts the watch to objects with these labels."""

    on_failure: Callable[[Resource], None] = lambda _: None
    """Called when changes of the kind are missed from now on, until ``on_all`` is called again."""


class Watches:
    """All watches; they continue on their own, whatever the API does."""

    def __init__(self, client: KubeClient, watches: Sequence[Watch]) -> None:
        self._client = client
        self._watches = watches
        self._failures = dict.fromkeys(map(_name, watches), "not listed yet")
        self._untold = set(map(_name, watches))
        self.are_told = asyncio.Event()
        """Set once all objects of each kind, or the failure to list them, were passed on."""

    @property
    def failures(self) -> list[str]:
        """Why some objects are unknown or outdated; empty if none are."""
        return [f"{name}: {failure}" for name, failure in self._failures.items()]

    async def run(self) -> None:
        """Follow them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(self._follow(watch), name=f"follow {_name(watch)}")

    async def _follow(self, watch: Watch) -> None:
        name = _name(watch)
        async with aclosing(follow(self._client, watch.resource, labels=watch.labels)) as news:
            async for each in news:
                self._untold.discard(name)
                match each:
                    case Listing(documents):
                        self._failures.pop(name, None)
                        watch.on_all(documents)
                    case Changed(document, deleted):
                        watch.on_change(document, deleted)
                    case Failed(error):
                        if self._failures.get(name) != str(error):
                            log.warning(
                                "objects cannot be followed", resource=name, reason=str(error)
                            )
                        self._failures[name] = str(error)
                        watch.on_failure(watch.resource)
                if not self._untold:
                    self.are_told.set()


def _name(watch: Watch) -> str:
    """Return the name of a watch for people."""
    labels = [f"{key}={value}" for key, value in watch.labels.items()]
    return " ".join([watch.resource.plural, *labels])
