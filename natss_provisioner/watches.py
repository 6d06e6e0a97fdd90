"""Follows all kinds of objects that matter and passes on what is seen; remembers what fails."""

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
    """A kind of objects, and who is told of them."""

    resource: Resource
    on_all: Callable[[Sequence[Document]], None]
    """All objects: at first, and whenever some changes may have been missed."""

    on_change: Callable[[Document, bool], None]
    """One that was created or changed; or deleted, if the second argument is true."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Only objects that have them."""

    on_failure: Callable[[Resource], None] = lambda _: None
    """Changes of the kind are missed from now on, until all objects are told again."""


class Watches:
    """Watches that go on by themselves, whatever the API does."""

    def __init__(self, client: KubeClient, watches: Sequence[Watch]) -> None:
        self._client = client
        self._watches = watches
        self._failures = dict.fromkeys(map(_name, watches), "not listed yet")
        self._untold = set(map(_name, watches))
        self.are_told = asyncio.Event()
        """Set once all objects of each kind were told, or why they could not be."""

    @property
    def failures(self) -> list[str]:
        """Why some objects are not known, or not as they are now; empty if all is well."""
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
    """For people."""
    labels = [f"{key}={value}" for key, value in watch.labels.items()]
    return " ".join([watch.resource.plural, *labels])
