"""Follows all objects of a kind: lists them, watches them, and lists again when a watch breaks.

Only its owner ends it: it reports failures and tries again. The owner keeps the objects, and
decides what a failure means for them.
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
"""A watch is renewed this often, so a watch that has gone silent is noticed in little more: because
its connection is dead or, as was seen once on a busy machine, for an unknown reason. What was ruled
out: the HTTP client keeps nothing back, however the answer is cut (``test_kube_watch_pieces``), nor
does a busy API server in ten minutes of changes every second.
"""

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 3.0
"""Seconds between two tries: doubled from the first to the longest."""

_STEADY = 5.0
"""A watch that lived this many seconds was good: the next waits are short again."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One object was created, changed or deleted."""

    document: Document
    deleted: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The API is away or refuses; the request is repeated."""

    error: KubeError


async def follow(
    client: KubeClient,
    resource: Resource,
    *,
    labels: Mapping[str, str] | None = None,
    watch_seconds: int = _WATCH_SECONDS,
) -> AsyncGenerator[Listing | Changed | Failed]:
    """Yield all objects, then each change, and all objects again whenever some may be missed.

    With labels, only objects that have them; one that loses them is yielded as deleted.

    The objects are listed again after every failure, not only after 410 Gone: a watch from a
    version that a restored etcd has not reached yet would stay silent for ever. The same applies to
    a watch that ends long before its time, as behind a proxy that cuts every watch.
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
                version = None  # it ended, but before its time
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
    """Return the version that was reached, and what changed; a bookmark has no change."""
    document = event["object"]
    version = str(document["metadata"]["resourceVersion"])
    if event["type"] == "BOOKMARK":
        return version, None
    return version, Changed(document, event["type"] == "DELETED")
