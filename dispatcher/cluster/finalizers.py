"""What the dispatcher writes into ``metadata`` of a Channel: its finalizer, its record of durables.

The finalizer keeps a Channel from vanishing while there are durables of it. It is added before a
Channel is served and taken off when the durables of a deleted one are unsubscribed, or kept to be.
One task works on each Channel that needs it, until it is so.
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
"""Seconds between two tries: doubled from the first to the longest. Who may not write asks seldom,
until somebody has given the account its role."""

_REFUSED_FOR_GOOD = 2.0
"""Seconds between two tries from which on a refusal is no passing one, as of an API server that
has just started and does not know its roles yet."""


_RECORD_AFTER = 0.2
"""Seconds until a new record is written. Mostly its durable is open by then, which need not be
written again; and how long a subscriber is wanted, the API knows of the last one."""


class Finalizers:
    """Keeps the finalizers and records of the Channels in a table as they should be.

    Args:
        client: Writes them.
        table: What the Channels are now; gets the answers of the API.
        ledger: The durables that this process knows.
        released: Returns when nothing of a deleted Channel needs to be waited for.
        changed: Called when a Channel may be served that could not be before.
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
        """Begin to work on a Channel that needs it; call it after ``apply`` for deleted ones."""
        self._merge(entry)
        if entry.name not in self._working and self._needs_work(entry):
            self._working.add(entry.name)
            self._tasks.start(self._work(entry.name), f"finalizer of {entry.name}")

    async def close(self) -> None:
        await self._tasks.close()

    def _merge(self, entry: Entry) -> None:
        """Take into the ledger what is recorded on a Channel."""
        if entry.channel is not None and entry.recorded is not None:
            self._ledger.merge(entry.name, entry.recorded, is_complete=entry.is_record_complete)

    def _needs_work(self, entry: Entry) -> bool:
        return (
            entry.wants_finalizer
            or entry.wants_release
            or bool(self._annotation(entry))
            or bool(self._epoch(entry))
        )

    def _epoch(self, entry: Entry) -> dict[str, str | None]:
        """The epoch, if the Channel is to get one, or somebody else has changed what it had."""
        if entry.channel is None or entry.is_deleted:
            return {}
        if self._table.wants_epoch(entry):
            return {EPOCH_ANNOTATION: epoch_of(entry.uid)}
        if entry.is_held and entry.written_epoch != entry.channel.epoch:
            return {EPOCH_ANNOTATION: entry.channel.epoch or None}
        return {}

    def _annotation(self, entry: Entry) -> dict[str, str | None]:
        """The record of its durables, if it differs from the one that it has.

        Only who has the client id knows what the server has. Anybody else would bring back what
        that one has unsubscribed, or choose others if there is no room for all, for ever.
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
        """What this process has to say of its durables, without those of an earlier Channel."""
        told = entry.recorded or {}
        wanted = {each.durable for each in channel.subscribers}
        records = {
            record.durable: record
            for record in self._ledger.of(entry.name)
            if record.subject == channel.subject
            and (self._ledger.has_session or record.durable in wanted or record.durable in told)
        }
        for each in channel.subscribers:
            if each.durable not in records:  # it is not served yet
                record = DurableRecord(
                    entry.name, each.ref, each.durable, time.time(), subject=channel.subject
                )
                records[each.durable] = told.get(each.durable, record)
        return records

    async def _work(self, name: ChannelId) -> None:
        try:
            backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
            while (entry := self._table.get(name)) is not None and self._needs_work(entry):
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
        """Write what is wanted now; whether that was anything. Raises KubeError.

        Args:
            name: Of the Channel.
            release: Whether its durables were waited for; it may have been deleted just now.
        """
        async with self._gate:
            entry = self._table.get(name)
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
            self._table.discard(document)  # that was the last one, and so the Channel is gone
        else:
            self._table.put(document)
        self._changed()
        return True

    def _refused(self, entry: Entry, error: KubeError) -> None:
        """A Channel whose events are lost unseen is worse than one that can vanish unseen.

        One that is to get an epoch waits: nobody else would know under which subject it was served.
        """
        log.warning("channel cannot be written", **channel_labels(entry.name), reason=str(error))
        if entry.wants_finalizer and not self._table.wants_epoch(entry):
            self._table.serve(entry.name)
            self._changed()
