"""What the dispatcher writes into ``metadata`` of a Channel: its finalizer and durable records.

The finalizer keeps a Channel from vanishing while it has durables. It is added before a Channel is
served, and removed when the durables of a deleted Channel are unsubscribed, or recorded to be
unsubscribed later. One task works on each Channel that needs it, until it is as it should be.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog

from dispatcher.cluster.annotation import DURABLES, parse, render
from dispatcher.cluster.channel_table import ChannelTable, Entry
from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.runtime.tasks import BackgroundTasks
from natss.backoff import Backoff
from natss.contract.channel_id import ChannelId
from natss.contract.labels import channel_labels
from natss.contract.names import DISPATCHER_FINALIZER, EPOCH_ANNOTATION, epoch_of
from natss.contract.resources import Channel
from natss.knative import channel_resource
from natss.kube import Forbidden, Invalid, KubeClient, KubeError

log = structlog.get_logger(__name__)

_REQUESTS_AT_ONCE = 8
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0
_LONGEST_WAIT_IF_REFUSED = 30.0
"""In seconds between two attempts: doubled from the first to the longest. Refused requests are
retried rarely, until somebody gives the account its role.
"""

_REFUSED_FOR_GOOD = 2.0
"""In seconds between two attempts: from this wait on a refusal counts as permanent. A shorter one
may come from an API server that has just started and does not know its roles yet.
"""


_RECORD_AFTER = 0.2
"""In seconds: how long a new record waits to be written. By then its durable is mostly open, which
saves a second write; and the API knows since when the latest subscriber is wanted.
"""


class Finalizers:
    """Reconciles the finalizers and durable records of the Channels in a table.

    Args:
        client: Writes them.
        table: Has the Channels as they are now; gets the answers of the API.
        ledger: The durables that this process knows.
        released: Returns when a deleted Channel has nothing left to wait for.
        changed: Called when a Channel may be served that could not be served before.
    """

    def __init__(
        self,
        client: KubeClient,
        table: ChannelTable,
        ledger: Ledger,
        released: Callable[[ChannelId], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._client = client
        self._table = table
        self._ledger = ledger
        self._released = released
        self._changed = changed
        self._gate = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._working: set[ChannelId] = set()
        self._tasks = BackgroundTasks()

    def look_at(self, entry: Entry) -> None:
        """Start work on a Channel that needs it; for a deleted one, call this after ``apply``."""
        self._merge(entry)
        if entry.name not in self._working and self._needs_work(entry):
            self._working.add(entry.name)
            self._tasks.start(self._work(entry.name), f"finalizer of {entry.name}")

    async def close(self) -> None:
        await self._tasks.close()

    def _merge(self, entry: Entry) -> None:
        """Merge the records on a Channel into the ledger."""
        if entry.channel is not None and entry.recorded is not None:
            self._ledger.merge(entry.name, entry.recorded, is_complete=entry.is_record_complete)

    def _known(self, name: ChannelId) -> Entry | None:
        """Return the Channel as it is now, once the ledger has what is recorded on it.

        Whatever the ledger does not have is taken off the Channel by the next write.
        """
        entry = self._table.get(name)
        if entry is not None:
            self._merge(entry)
        return entry

    def _needs_work(self, entry: Entry) -> bool:
        return (
            entry.wants_finalizer
            or entry.wants_release
            or bool(self._annotation(entry))
            or bool(self._epoch(entry))
        )

    def _epoch(self, entry: Entry) -> dict[str, str | None]:
        """Return the epoch to write if the Channel must get one, or somebody has changed it."""
        if entry.channel is None or entry.is_deleted:
            return {}
        if self._table.wants_epoch(entry):
            return {EPOCH_ANNOTATION: epoch_of(entry.uid)}
        if entry.is_held and entry.written_epoch != entry.channel.epoch:
            return {EPOCH_ANNOTATION: entry.channel.epoch or None}
        return {}

    def _annotation(self, entry: Entry) -> dict[str, str | None]:
        """Return the durable records to write, if they differ from those on the Channel.

        Only the process that has the client id knows which durables the server has. Any other one
        would restore what that process has unsubscribed; or, if there is no room for all records,
        the two would choose different ones and overwrite each other for ever.
        """
        if entry.channel is None or entry.is_deleted:
            return {}
        records = self._records_of(entry, entry.channel)
        if entry.recorded == {key: replace(each, due=None) for key, each in records.items()}:
            return {}
        text = render(records.values())
        rendered = parse(entry.name, text, entry.epoch) or {}
        is_cut = len(rendered) < len(records)
        is_left = is_cut and entry.recorded is not None and not self._ledger.has_session
        return {} if entry.recorded == rendered or is_left else {DURABLES: text}

    def _records_of(self, entry: Entry, channel: Channel) -> dict[str, DurableRecord]:
        """Return what this process records of a Channel, without durables of an earlier one."""
        told = entry.recorded or {}
        wanted = {each.durable for each in channel.subscribers}
        records = {
            record.durable: record
            for record in self._ledger.of(entry.name)
            if record.subject == channel.subject
            and (self._ledger.has_session or record.durable in wanted or record.durable in told)
        }
        for each in channel.subscribers:
            if each.durable not in records:  # this subscriber is not served yet
                record = DurableRecord(
                    entry.name, each.ref, each.durable, time.time(), subject=channel.subject
                )
                records[each.durable] = told.get(each.durable, record)
        return records

    async def _work(self, name: ChannelId) -> None:
        try:
            backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
            while (entry := self._known(name)) is not None and self._needs_work(entry):
                try:
                    if entry.wants_release:
                        await self._released(name)
                    elif not entry.wants_finalizer:
                        await asyncio.sleep(_RECORD_AFTER)
                    if await self._write(name, release=entry.wants_release) and (
                        self._table.get(name) is entry
                    ):
                        await asyncio.sleep(_LONGEST_WAIT)  # written, and yet nothing has changed
                except KubeError as error:
                    refused = isinstance(error, Forbidden | Invalid)
                    if refused and backoff.upcoming >= _REFUSED_FOR_GOOD:
                        self._refused(entry, error)
                    longest = _LONGEST_WAIT_IF_REFUSED if refused else _LONGEST_WAIT
                    await asyncio.sleep(backoff.next(longest=longest))
        finally:
            self._working.discard(name)

    async def _write(self, name: ChannelId, *, release: bool) -> bool:
        """Write what is wanted now; return whether there was anything. Raises KubeError.

        Args:
            name: The name of the Channel.
            release: Whether its durables have been waited for; it may have been deleted just now.
        """
        async with self._gate:
            entry = self._known(name)
            if entry is None or entry.wants_release != release:
                return False
            metadata: dict[str, Any] = {}
            if entry.wants_release or entry.wants_finalizer:
                others = [each for each in entry.finalizers if each != DISPATCHER_FINALIZER]
                ours = [] if entry.wants_release else [DISPATCHER_FINALIZER]
                metadata["finalizers"] = others + ours
            if annotations := self._annotation(entry) | self._epoch(entry):
                metadata["annotations"] = annotations
            if not metadata:
                return False
            metadata["resourceVersion"] = entry.version
            body = {"metadata": metadata}
            resource = channel_resource(name.kind)
            document = await self._client.patch(resource, name.name, body, name.namespace)
        if entry.wants_release:
            log.info("channel released", **channel_labels(name))
        if entry.wants_release and not metadata["finalizers"]:
            self._table.discard(document)  # that was the last finalizer: the Channel is gone
        else:
            self._table.put(document)
        self._changed()
        return True

    def _refused(self, entry: Entry, error: KubeError) -> None:
        """Log the refusal and serve the Channel without a finalizer.

        It may vanish unobserved, which is better than losing its events unobserved. A Channel that
        must get an epoch waits: no other process would know the subject under which it was served.
        """
        log.warning("channel cannot be written", **channel_labels(entry.name), reason=str(error))
        if entry.wants_finalizer and not self._table.wants_epoch(entry):
            self._table.serve(entry.name)
            self._changed()
