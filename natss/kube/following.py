"""Follows all objects of a kind: lists them, watches them, and lists again when a watch breaks.

Nothing ends it but its owner: failures are told and tried again. What they mean for what was seen
before is left to the owner, who keeps it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from natss.backoff import Backoff, jittered
from natss.document import Document
from natss.kube.client import KubeClient, Listing
from natss.kube.errors import ApiRefusal, Conflict, KubeError
from natss.kube.resources import Resource

_WATCH_SECONDS = 15
"""A watch is renewed so often, so in little more it is noticed that it tells nothing any more: for
its connection is dead or, as was seen once on a busy machine, for a reason that is not known. What
was tried: the HTTP client keeps nothing back, however it is cut (``test_kube_watch_pieces``), nor
does a busy API server in ten minutes of changes by the second."""

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 3.0
"""Seconds between two tries: doubled from the first to the longest."""

_STEADY = 5.0
"""A watch that lived so many seconds was a good one: the next waits are short again."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One object was created, changed or deleted."""

    document: Document
    deleted: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The API is away or refuses; it is asked again."""

    error: KubeError


async def follow(
    client: KubeClient,
    resource: Resource,
    *,
    labels: Mapping[str, str] | None = None,
    watch_seconds: int = _WATCH_SECONDS,
) -> AsyncGenerator[Listing | Changed | Failed]:
    """Tell all objects, then each change, and all objects again whenever some may be missed.

    With labels only of those that have them; one that loses them is told as deleted.

    A list is asked for anew after every failure, not only after 410 Gone: a watch from a version
    that a restored etcd has not reached yet would be silent without an end. So it is after a watch
    that ends long before its time, as through a proxy that lets none live.
    """
    version: str | None = None
    backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
    while True:
        began = time.monotonic()
        try:
            if version is None:
                listing = await client.list_all(resource, labels=labels)
                version = listing.version
                yield listing
            began = time.monotonic()
            watch = client.watch(resource, version, seconds=watch_seconds, labels=labels)
            async with aclosing(watch) as events:
                async for event in events:
                    version, change = _read(event)
                    if change is not None:
                        yield change
            if time.monotonic() - began < min(_STEADY, watch_seconds / 2):
                version = None  # it ended by itself, but nobody had asked for that
        except Conflict:
            version = None
        except KubeError as error:
            version = None
            yield Failed(error)
            if isinstance(error, ApiRefusal) and error.retry_after is not None:
                backoff.raise_to(min(error.retry_after, 10 * _LONGEST_WAIT))
        if time.monotonic() - began >= _STEADY:
            backoff.reset()
            if version is not None:
                continue
        await asyncio.sleep(jittered(backoff.next()))


def _read(event: Document) -> tuple[str, Changed | None]:
    """The version that was reached, and what changed; a bookmark has no change."""
    document = event["object"]
    version = str(document["metadata"]["resourceVersion"])
    if event["type"] == "BOOKMARK":
        return version, None
    return version, Changed(document, event["type"] == "DELETED")
