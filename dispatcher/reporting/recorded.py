"""What was reported of a subscription before this process delivered to it.

A restart changes nothing for a stuck subscriber: it is still stuck, since the same time. In a
cluster that is recorded in ``status`` of its Channel; elsewhere in the state folder, if there is
one.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog

from dispatcher.cluster.channel_table import ChannelTable, Entry
from dispatcher.durables.member import Member
from dispatcher.reporting.verdicts import NOT_SERVED, READY, STUCK, SubscriberVerdict
from dispatcher.runtime.state_folder import StateFolder

log = structlog.get_logger(__name__)

_FILE = "delivery.json"
_LONGEST = 1000
"""Characters of a text: whoever may write the status of a Channel chooses it."""

_KEEP_EVERY = 1.0
"""Seconds between two writes to the state folder."""


class RecordedVerdicts(Protocol):
    """Finds earlier verdicts, and keeps new ones."""

    def of(self, member: Member) -> SubscriberVerdict | None:
        """Return what was reported last; None if that is not known, or was not known then."""

    def changed(self, verdicts: Iterable[tuple[Member, SubscriberVerdict]]) -> None:
        """Keep these verdicts from now on, and no others."""

    async def run(self) -> None:
        """Keep them until cancelled."""


class OnChannels:
    """Verdicts as any dispatcher has reported them in ``status`` of the Channels."""

    def __init__(self, table: ChannelTable) -> None:
        self._table = table
        self._entry: Entry | None = None
        self._told: dict[str, Mapping[str, object]] = {}
        """The content of the status of ``_entry``, by durable: entries are requested one after
        another, and whoever may write the status chooses how long it is.
        """

    def of(self, member: Member) -> SubscriberVerdict | None:
        """Return the last verdict; see ``RecordedVerdicts.of``."""
        entry = self._table.get(member.key.channel)
        if entry is not self._entry:
            told = entry.reported_subscribers if entry is not None else []
            self._entry, self._told = entry, {str(each.get("uid")): each for each in told}
        return _read(self._told.get(member.subscriber.durable, {}))

    def changed(self, verdicts: Iterable[tuple[Member, SubscriberVerdict]]) -> None:
        """Keep these verdicts; see ``RecordedVerdicts.changed``."""

    async def run(self) -> None:
        """Do nothing: ``channel_status`` writes the verdicts."""


class InFolder:
    """Verdicts in the state folder, for the next process.

    Args:
        folder: Where they are kept; without a path, nowhere.
    """

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._known: dict[str, Mapping[str, object]] = {}
        self._unkept = asyncio.Event()
        value = folder.read(_FILE)
        if isinstance(value, dict):
            self._known = {key: of for key, of in value.items() if isinstance(of, dict)}
        elif value is not None:
            log.warning("reports of an earlier process are unknown", file=_FILE)

    def of(self, member: Member) -> SubscriberVerdict | None:
        """Return the last verdict; see ``RecordedVerdicts.of``."""
        return _read(self._known.get(_key(member), {}))

    def changed(self, verdicts: Iterable[tuple[Member, SubscriberVerdict]]) -> None:
        """Keep these verdicts; see ``RecordedVerdicts.changed``."""
        known = {_key(member): _written(verdict) for member, verdict in verdicts}
        if known != self._known:
            self._known = dict(known)
            self._unkept.set()

    async def run(self) -> None:
        """Write them until cancelled; see ``RecordedVerdicts.run``."""
        while self._folder.keeps:
            await self._unkept.wait()
            self._unkept.clear()
            await self._folder.write(_FILE, self._known)
            await asyncio.sleep(_KEEP_EVERY)


def _key(member: Member) -> str:
    return f"{member.key.channel} {member.subscriber.durable}"


def _written(verdict: SubscriberVerdict) -> Mapping[str, object]:
    ready = {True: "True", False: "False", None: "Unknown"}[verdict.ready]
    return {"ready": ready, "reason": verdict.reason, "message": verdict.message}


def _read(told: Mapping[str, object]) -> SubscriberVerdict | None:
    """Return a verdict as it was reported; one of an older dispatcher has no reason."""
    if told.get("ready") == "True":
        return READY
    if told.get("ready") != "False" or told.get("reason") == NOT_SERVED.reason:
        return None  # one without a place is reported anew
    reason, message = str(told.get("reason") or STUCK), str(told.get("message") or "")
    return SubscriberVerdict(False, reason[:_LONGEST], message[:_LONGEST])
