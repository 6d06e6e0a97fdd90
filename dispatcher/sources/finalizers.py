"""The finalizer that keeps a Channel from vanishing while there are durables of it.

It is added before a Channel is served and taken off when the durables of a deleted one are
unsubscribed, or remembered to be. One task works on each Channel that needs it, until it is so.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from contract.names import DISPATCHER_FINALIZER
from contract.resources import ResourceName
from dispatcher.sources.channel_table import ChannelTable, Entry
from dispatcher.tasks import BackgroundTasks
from kube import Forbidden, Invalid, KubeClient, KubeError, Resource

log = structlog.get_logger(__name__)

_REQUESTS_AT_ONCE = 8
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0
_LONGEST_WAIT_IF_REFUSED = 30.0
"""Seconds between two tries: doubled from the first to the longest. Who may not write asks seldom,
until somebody has given the account its role."""

_REFUSED_FOR_GOOD = 2.0
"""Seconds between two tries from which on a refusal is no passing one, as of an API server that
has just started and does not know its roles yet."""


class Finalizers:
    """Keeps the finalizers of the Channels in a table as they should be.

    Args:
        client: Writes them.
        resource: The kind of Channels.
        table: What the Channels are now; gets the answers of the API.
        released: Returns when nothing of a deleted Channel needs to be waited for.
        changed: Called when a Channel may be served that could not be before.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        table: ChannelTable,
        released: Callable[[ResourceName], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._client = client
        self._resource = resource
        self._table = table
        self._released = released
        self._changed = changed
        self._gate = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._working: set[ResourceName] = set()
        self._tasks = BackgroundTasks()

    def look_at(self, entry: Entry) -> None:
        """Begin to work on a Channel that needs it; call it after ``apply`` for deleted ones."""
        if entry.name not in self._working and (entry.wants_finalizer or entry.wants_release):
            self._working.add(entry.name)
            self._tasks.start(self._work(entry.name), f"finalizer of {entry.name}")

    async def close(self) -> None:
        await self._tasks.close()

    async def _work(self, name: ResourceName) -> None:
        try:
            wait = _FIRST_WAIT
            while (entry := self._table.get(name)) is not None:
                if entry.wants_release:
                    await self._released(name)
                elif not entry.wants_finalizer:
                    return
                try:
                    await self._write(name)
                    if self._table.get(name) is entry:  # written, and yet nothing has changed
                        await asyncio.sleep(_LONGEST_WAIT)
                except KubeError as error:
                    refused = isinstance(error, Forbidden | Invalid)
                    if refused and wait >= _REFUSED_FOR_GOOD:
                        self._refused(entry, error)
                    await asyncio.sleep(wait)
                    longest = _LONGEST_WAIT_IF_REFUSED if refused else _LONGEST_WAIT
                    wait = min(2 * wait, longest)
        finally:
            self._working.discard(name)

    async def _write(self, name: ResourceName) -> None:
        """Write what is wanted now. Raises KubeError."""
        async with self._gate:
            entry = self._table.get(name)
            if entry is None or not (entry.wants_release or entry.wants_finalizer):
                return
            others = [each for each in entry.finalizers if each != DISPATCHER_FINALIZER]
            wanted = others if entry.wants_release else [*others, DISPATCHER_FINALIZER]
            metadata = {"resourceVersion": entry.version, "finalizers": wanted}
            document = await self._client.patch(
                self._resource, name.name, {"metadata": metadata}, name.namespace
            )
        if entry.wants_release:
            log.info("channel released", channel=str(name))
        if entry.wants_release and not wanted:
            self._table.discard(document)  # that was the last one, and so the Channel is gone
        else:
            self._table.put(document)
        self._changed()

    def _refused(self, entry: Entry, error: KubeError) -> None:
        """A Channel whose events are lost unseen is worse than one that can vanish unseen."""
        log.warning("finalizer cannot be written", channel=str(entry.name), reason=str(error))
        if entry.wants_finalizer:
            self._table.serve(entry.name)
            self._changed()
