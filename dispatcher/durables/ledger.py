"""The ledger: a record of every durable that may exist on the server, until it is forgotten there.

A durable is recorded with the time as soon as it is wanted: events that are stored before it can be
opened are owed to it, whichever process finally opens it. When it is no longer wanted, the record
stays until the durable is unsubscribed: a successor inherits its backlog, and nothing stays on the
server for ever. Records are kept in the state folder; in a cluster they are kept on the Channels
themselves, which outlive every pod and are visible to every replica
(``dispatcher.cluster.annotation``).
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from dispatcher.runtime.state_folder import StateFolder
from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import kind_marked, kinds
from natss.contract.resources import ResourceName

log = structlog.get_logger(__name__)

_FILE = "durables.json"
_WRITE_AGAIN = 5.0
"""In seconds: when a failed write is retried."""

_BETWEEN_WRITES = 0.05
"""In seconds, because each write writes the whole file."""


@dataclass(frozen=True, slots=True)
class DurableRecord:
    """The record of one durable."""

    channel: ChannelId
    ref: ResourceName
    """The Subscription that the durable belongs to."""

    durable: str
    since: float | None = None
    """When it was first wanted (seconds since the epoch); None once it has been opened."""

    due: float | None = None
    """When it is due for removal (seconds since the epoch); None while it is wanted."""

    subject: str = ""
    """The subject of the channel's events; if empty, it is derived from the channel's name."""

    def __post_init__(self) -> None:
        if not self.subject:
            object.__setattr__(self, "subject", self.channel.subject())


class Ledger:
    """Every durable that is wanted or still has to be removed.

    Several processes may record the durables of one client id, each what it sees; only the process
    that has the client id knows whether one is open or unsubscribed. ``merge`` takes what all of
    them have recorded together, where that is known.

    Args:
        folder: Keeps the records for the next process.
        grace: In seconds: how long the durable of a removed subscriber is kept.
        are_kept: Whether the records survive a restart; None if the folder decides that.
    """

    def __init__(self, folder: StateFolder, grace: float, *, are_kept: bool | None = None) -> None:
        self.grace = grace
        self.are_kept = folder.keeps if are_kept is None else are_kept
        self.are_shared = self.are_kept and not folder.keeps
        """Whether processes see each other's records."""
        self.sessions = 0
        """How many times this process has got the client id that the durables belong to."""
        self.has_session = False
        """Whether this process has the client id, and so decides what is opened and unsubscribed.
        """
        self._folder = folder
        self._all: dict[ChannelId, dict[str, DurableRecord]] = {}
        for record in _read(folder):
            self._all.setdefault(record.channel, {})[record.durable] = record
        self._started = time.time()
        self._former = {(each.channel, each.durable) for each in self if each.since is not None}
        """Durables wanted before this process began and, as far as is known, never opened."""
        self._told: dict[ChannelId, Mapping[str, DurableRecord]] = {}
        self._cut: set[ChannelId] = set()
        """Channels without room for all records: some durables that were open are left out."""
        self._opened: set[tuple[ChannelId, str]] = set()
        """Durables that this process has opened."""
        self._tombstones: set[tuple[ChannelId, str]] = set()
        """Durables that this process has unsubscribed and that the merged records still have."""
        self._unsubscribed_elsewhere: dict[ChannelId, set[str]] = {}
        self._merged = dict.fromkeys(self._all, 0)
        self._merges = 0
        self._changed_channels: set[ChannelId] = set()
        self._version = 0
        self._written = 0
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[DurableRecord]:
        return iter([record for each in self._all.values() for record in each.values()])

    def of(self, channel: ChannelId) -> list[DurableRecord]:
        """Return the records of a channel in the order in which they became wanted."""
        return list(self._all.get(channel, {}).values())

    def get(self, channel: ChannelId, durable: str) -> DurableRecord | None:
        return self._all.get(channel, {}).get(durable)

    def want(
        self,
        channel: ChannelId,
        ref: ResourceName,
        durable: str,
        since: float,
        subject: str = "",
    ) -> DurableRecord:
        """Record that a durable is wanted.

        Args:
            channel: The channel of the durable.
            ref: The Subscription that the durable belongs to.
            durable: The name of the durable.
            since: When it was first wanted, unless that is already recorded.
            subject: That of the channel; if empty, it is derived from the channel's name.
        """
        new = DurableRecord(channel, ref, durable, round(since, 3), subject=subject)
        before = self.get(channel, durable)
        if before is None or before.subject != new.subject:
            before = new
        record = replace(before, ref=ref, due=None)
        self._put(record)
        return record

    def is_former(self, channel: ChannelId, durable: str) -> bool:
        """Return whether a former process wanted it and may have asked the server for it."""
        return (channel, durable) in self._former

    def note_open(self, channel: ChannelId, durable: str) -> None:
        """Record that the server knows a durable from now on."""
        record = self.get(channel, durable)
        if record is not None:
            self._opened.add((channel, durable))
            self._is_told(channel, durable)
            self._former.discard((channel, durable))
            self._put(replace(record, since=None))

    def dismiss(self, channel: ChannelId, durable: str, seconds: float) -> None:
        """Record that a durable is no longer wanted and is due for removal in so many seconds."""
        record = self.get(channel, durable)
        if record is not None:
            self._put(replace(record, due=time.time() + seconds))

    def forget(self, channel: ChannelId, durable: str) -> None:
        """Delete the record of a durable that the server has forgotten."""
        if self._all.get(channel, {}).pop(durable, None) is not None:
            self._opened.discard((channel, durable))
            self._former.discard((channel, durable))
            self._is_told(channel, durable)
            if not self._all[channel]:
                del self._all[channel]
                self._merged.pop(channel, None)
            if durable in self._told.get(channel, {}):
                self._tombstones.add((channel, durable))
            self._note(channel)

    def merge(
        self, channel: ChannelId, told: Mapping[str, DurableRecord], *, is_complete: bool = True
    ) -> None:
        """Merge what all processes have recorded; it may be older than what this one knows.

        A durable whose record has disappeared was unsubscribed by another process.

        Args:
            channel: The channel of the durables.
            told: The recorded durables; the same object as before is not merged again.
            is_complete: False if records of existing durables may be left out.
        """
        before = self._told.get(channel, {})
        if told is before:
            return
        self._told[channel] = told
        self._cut.discard(channel)
        if not is_complete:
            self._cut.add(channel)
        self._changed.set()
        for durable, record in told.items():
            mine = self.get(channel, durable)
            self._is_told(channel, durable)
            if (channel, durable) in self._tombstones:
                if mine is not None and mine.since == record.since:
                    self._tombstones.discard((channel, durable))
            elif mine is None:
                self._take(record)
            elif mine.since != record.since and (channel, durable) not in self._opened:
                self._take(replace(mine, since=record.since))
        for durable in before.keys() - told.keys():
            self._tombstones.discard((channel, durable))
            if is_complete and self.get(channel, durable) is not None:
                self._note_unsubscribed(channel, durable)

    def adopt(self, record: DurableRecord) -> bool:
        """Take over a durable of a former channel for removal; return whether it was unknown.

        Nobody inherits its backlog, not even a Subscription that has the same name now.
        """
        is_new = self.get(record.channel, record.durable) is None
        if is_new:
            nobody = ResourceName(record.ref.namespace, record.durable)
            self._take(replace(record, ref=nobody, due=time.time()))
        return is_new

    def channel_gone(self, channel: ChannelId, *, in_order: bool) -> None:
        """Drop the merged records of a channel that no longer exists.

        Args:
            channel: What this process knows of its durables stays on record until it is done.
            in_order: Whether some process has taken care of all its durables.
        """
        self._tombstones -= {(channel, durable) for durable in self._told.pop(channel, {})}
        self._cut.discard(channel)
        for durable in self._all.get(channel, ()) if in_order else ():
            self._note_unsubscribed(channel, durable)

    def merged(self) -> dict[ChannelId, int]:
        """Return the version of what was merged, by channel; it is another one after each change.

        What a former process has left counts as merged.
        """
        return dict(self._merged)

    def take_unsubscribed_elsewhere(self, channel: ChannelId) -> set[str]:
        """Return the durables on record that another process has unsubscribed since the last call.

        Any of them may be wanted again. It is opened again then, and the record of a Channel that
        has no room for all durables may never say so.
        """
        return self._unsubscribed_elsewhere.pop(channel, set())

    async def changed_here(self) -> set[ChannelId]:
        """Wait until this process has recorded something since the last call; return where."""
        while not self._changed_channels:
            await self._change()
        channels, self._changed_channels = self._changed_channels, set()
        return channels

    async def emptied(self, channel: ChannelId) -> None:
        """Wait until no durable of a channel is on record."""
        while channel in self._all:
            await self._change()

    async def succeeded(self, channel: ChannelId, olds: list[str], durable: str) -> None:
        """Wait until the next process will know that ``durable`` is open, or none of ``olds``.

        Otherwise that process takes the position from one of ``olds``, which may be gone by then.
        """
        if not self.are_kept:
            return
        version = self._version
        while self._folder.keeps and self._written < version:
            await self._change()
        while not self._folder.keeps:
            told = self._told.get(channel, {})
            record = told.get(durable)
            is_told = record is not None and record.since is None
            is_left_out = record is None and channel in self._cut
            if is_told or is_left_out or told.keys().isdisjoint(olds):
                return
            await self._change()

    async def settled(self, channel: ChannelId, durable: str) -> None:
        """Wait until a durable is no longer due for removal: it is removed, or wanted again."""
        while (record := self.get(channel, durable)) is not None and record.due is not None:
            await self._change()

    def note_session(self, *, is_open: bool) -> None:
        """Record that this process has got the client id, or has lost it."""
        self.has_session = is_open
        self.sessions += is_open
        if is_open:  # the process that can remove durables records what the others have not
            left = {record.channel for record in self if record.due is not None}
            self._changed_channels |= left
        self._changed.set()

    async def another_session(self, known: int) -> None:
        """Wait until there are more sessions than ``known``."""
        while self.sessions <= known:
            await self._change()

    async def run(self) -> None:
        """Write changes to the folder, until cancelled."""
        while True:
            while self._written == self._version:
                await self._change()
            await asyncio.sleep(_BETWEEN_WRITES if await self.write() else _WRITE_AGAIN)

    async def write(self) -> bool:
        """Write now; return whether the records are safe, or there is no folder to write to."""
        version = self._version
        if (
            self._folder.keeps
            and version != self._written
            and not await self._folder.write(_FILE, [_dump(record) for record in self])
        ):
            return False
        self._written = version
        self._changed.set()
        return True

    def _take(self, record: DurableRecord) -> None:
        """Take over a record of another process."""
        self._all.setdefault(record.channel, {})[record.durable] = record
        if record.since is not None and record.since < self._started:
            self._former.add((record.channel, record.durable))
        self._version += 1
        self._note_merged(record.channel)

    def _note_unsubscribed(self, channel: ChannelId, durable: str) -> None:
        self._unsubscribed_elsewhere.setdefault(channel, set()).add(durable)
        self._note_merged(channel)

    def _note_merged(self, channel: ChannelId) -> None:
        self._merges += 1
        self._merged[channel] = self._merges

    def _is_told(self, channel: ChannelId, durable: str) -> None:
        """Note that no other process has unsubscribed a durable, or it was opened anew since."""
        gone = self._unsubscribed_elsewhere.get(channel)
        if gone is not None:
            gone.discard(durable)
            if not gone:
                del self._unsubscribed_elsewhere[channel]

    def _put(self, record: DurableRecord) -> None:
        known = self._all.setdefault(record.channel, {})
        if known.get(record.durable) != record:
            known[record.durable] = record
            self._note(record.channel)

    def _note(self, channel: ChannelId) -> None:
        self._version += 1
        self._changed_channels.add(channel)
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _dump(record: DurableRecord) -> dict[str, object]:
    kind = record.channel.kind.mark
    return {
        **({"kind": kind} if kind else {}),
        "channel": [record.channel.namespace, record.channel.name],
        "subscription": [record.ref.namespace, record.ref.name],
        "durable": record.durable,
        "subject": record.subject,
        "since": record.since,
        "due": record.due,
    }


def _read(folder: StateFolder) -> list[DurableRecord]:
    value: Any = folder.read(_FILE)
    known = {kind.mark for kind in kinds()}  # a later version may have written it
    try:
        return [
            DurableRecord(
                ChannelId(kind_marked(each.get("kind", "")), *each["channel"]),
                ResourceName(*each["subscription"]),
                str(each["durable"]),
                _time(each["since"]),
                _time(each["due"]),
                str(each.get("subject", "")),
            )
            for each in value or ()
            if each.get("kind", "") in known
        ]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        log.warning("durables of a former process are not known", file=_FILE, reason=repr(error))
        return []


def _time(value: Any) -> float | None:
    return None if value is None else float(value)
