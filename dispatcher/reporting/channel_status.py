"""Reports in ``status`` of the Channels what this dispatcher does for them.

Level-triggered: it compares the desired status with what the API returned, and writes only a
difference, as a merge patch of its own fields. Server-side apply would remove what another replica
had applied under the same name, and clusters before 1.16 do not have it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from dispatcher.cluster.channel_table import ChannelTable, Entry
from dispatcher.runtime.tasks import BackgroundTasks
from dispatcher.runtime.turns import Turns
from natss.backoff import Backoff
from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import api_of
from natss.contract.labels import channel_labels
from natss.knative import channel_resource
from natss.kube import ApiRefusal, Conflict, Invalid, KubeClient, KubeError, NotFound

log = structlog.get_logger(__name__)

_REQUESTS_AT_ONCE = 8
_LOOK_AGAIN = 1.0
_LOOK_ANYWAY = 30.0
"""Seconds between two looks at all Channels, besides those that ``look`` requests: while something
is to be written, and while nothing is, in case somebody changed what was written.
"""

_PACE = 10.0
"""Seconds between two writes of the same thing to one Channel: neither a client that undoes them
nor a bug here may flood the API.
"""

_PACE_OF_CHANGES = 2.0
"""Seconds between two writes to one Channel, whatever they say, unless about its host: publishers
wait for that.
"""

_PACE_AFTER_REFUSAL = 60.0
"""The same after a refusal that concerns this Channel alone."""

_DEFERENCE = 1.0
"""Seconds that a standby replica leaves to the delivering one, which serves the same."""

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
"""Seconds without writes after a failure that concerns all Channels: doubled from the first to the
longest.
"""

Wanted = Callable[[Entry], Mapping[str, Any] | None]
"""Returns the parts of ``status`` that differ from the desired ones; None if none does."""


@dataclass(frozen=True, slots=True)
class _Write:
    """The last write to a Channel; times are of a clock that does not jump."""

    status: Mapping[str, Any]
    at: float
    again_at: float
    """When the same may be written again."""

    version: str | None = None
    """The version of the Channel as it was known, if it has changed since: writing before the new
    one is known would fail again.
    """


class ChannelStatus:
    """Writes the status of Channels where it differs.

    Args:
        client: May patch ``channels/status``.
        table: The Channels as the API returned them; receives its answers.
        wanted: Returns what is to be written on a Channel.
        is_first: Whether to write at once, rather than only what no other replica writes.
    """

    def __init__(
        self,
        client: KubeClient,
        table: ChannelTable,
        wanted: Wanted,
        is_first: Callable[[], bool],
    ) -> None:
        self._client = client
        self._table = table
        self._wanted = wanted
        self._is_first = is_first
        self._changed = asyncio.Event()
        self._queue: asyncio.Queue[ChannelId] = asyncio.Queue()
        self._queued: set[ChannelId] = set()
        self._written: dict[str, _Write] = {}  # by uid
        self._differ_since: dict[str, float] = {}  # by uid
        self._backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        self._silent_until = 0.0
        self._fault = ""  # the last internal error that was logged
        self._tasks = BackgroundTasks()
        self.last_error: str | None = None
        """Why nothing can be written; None while writes succeed."""

    def look(self) -> None:
        """Look at the Channels now instead of at the next turn."""
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled; never fail for an error of the API."""
        try:
            for number in range(_REQUESTS_AT_ONCE):
                self._tasks.start(self._work(), f"channel status {number}")
            while True:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(await self._look()):
                        await self._changed.wait()
        finally:
            await self._tasks.close()

    async def _look(self) -> float:
        """Write what is due; return the seconds until the next look."""
        differ: dict[str, float] = {}
        broken = False
        turns = Turns()
        for entry in self._table:
            wanted = None
            try:
                wanted = None if entry.is_deleted else self._wanted(entry)
            except Exception as error:  # a bug with one must not end all reports
                self._broke(error)
                broken = True
            if wanted is not None:
                differ[entry.uid] = self._differ_since.get(entry.uid, time.monotonic())
                if entry.name not in self._queued and self._is_due(
                    entry, wanted, differ[entry.uid]
                ):
                    self._queued.add(entry.name)
                    self._queue.put_nowait(entry.name)
            await turns.piece_done()
        for uid in self._written.keys() - {entry.uid for entry in self._table}:
            del self._written[uid]
        self._differ_since = differ
        return _LOOK_AGAIN if differ or broken else _LOOK_ANYWAY

    def _is_due(self, entry: Entry, wanted: Mapping[str, Any], since: float) -> bool:
        if not self._is_first() and time.monotonic() - since < _DEFERENCE:
            return False
        return self._may_write(entry, wanted)

    def _may_write(self, entry: Entry, wanted: Mapping[str, Any]) -> bool:
        """Return whether the last write to the Channel was long enough ago for this one."""
        before = self._written.get(entry.uid)
        if before is None or before.version not in {None, entry.version}:
            return True
        if wanted == before.status:
            return time.monotonic() >= before.again_at
        form = api_of(entry.name.kind).status
        host = form.served_host({"status": wanted})
        is_urgent = host not in {None, form.served_host({"status": before.status})}
        return is_urgent or time.monotonic() >= before.at + _PACE_OF_CHANGES

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            await asyncio.sleep(max(0.0, self._silent_until - time.monotonic()))
            self._queued.discard(name)
            entry = self._table.get(name)
            if entry is None or entry.is_deleted:
                continue
            try:
                wanted = self._wanted(entry)
                if wanted is not None and self._may_write(entry, wanted):
                    await self._write(entry, wanted)
            except Exception as error:  # as above
                self._broke(error)

    async def _write(self, entry: Entry, status: Mapping[str, Any]) -> None:
        name = entry.name
        body = {"metadata": {"resourceVersion": entry.version}, "status": dict(status)}
        pace, version = _PACE, None
        try:
            resource = channel_resource(name.kind)
            document = await self._client.patch_status(resource, name.name, body, name.namespace)
            self._table.put(document)
            self._succeeded()
        except Conflict:
            version = entry.version
        except (NotFound, Invalid) as error:
            pace = _PACE_AFTER_REFUSAL
            log.info(
                "the status of a channel was refused", **channel_labels(name), reason=str(error)
            )
        except KubeError as error:
            pace = 0.0
            self._failed(error)
        now = time.monotonic()
        self._written[entry.uid] = _Write(status, now, now + pace, version)

    def _failed(self, error: KubeError) -> None:
        if time.monotonic() >= self._silent_until:
            wait = self._backoff.next()
            if isinstance(error, ApiRefusal) and error.retry_after is not None:
                wait = max(wait, min(error.retry_after, _LONGEST_WAIT))
            self._silent_until = time.monotonic() + wait
        if self.last_error is None:
            log.warning(
                "the status of channels cannot be written, retrying; delivery continues",
                reason=str(error),
            )
        self.last_error = str(error)

    def _broke(self, error: Exception) -> None:
        if repr(error) != self._fault:
            log.error("a report failed, retrying", exc_info=error)
        self._fault = self.last_error = repr(error)

    def _succeeded(self) -> None:
        if self.last_error is not None:
            log.info("the status of channels is written again")
        self._backoff.reset()
        self.last_error = None
