"""The desired state from YAML or JSON files: the same documents that kubectl accepts.

Files are read at once and again whenever they change. If a file is broken, empty or gone, its last
documents still hold; so do those of a folder that is gone or suddenly empty. Otherwise an accident
would remove subscribers, and their events with them. To remove something, save the file without it.
"""

import asyncio
import contextlib
import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dispatcher.desired import Apply
from dispatcher.desired.catalogue import Catalogue
from dispatcher.desired.watching import next_change
from natss.contract.channel_id import ChannelId
from natss.contract.documents import RecordedOf, desired_state, none_recorded
from natss.contract.resources import Defaults, DesiredState


class FileSource:
    """Reads files and folders and watches them.

    Args:
        paths: Files, and folders with ``*.yaml``, ``*.yml`` and ``*.json`` (subfolders are
            ignored). They need not exist yet.
        defaults: The values that documents omit.
        recorded: Returns the durables of a channel that may exist; called in a thread.
        rescan: In seconds: after this time files are checked without a notification, for file
            systems that send none.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        defaults: Defaults,
        recorded: RecordedOf = none_recorded,
        *,
        rescan: float = 5.0,
    ) -> None:
        self._paths = tuple(paths)
        self._defaults = defaults
        self._recorded = recorded
        self._rescan = rescan
        self._catalogue = Catalogue(self._paths)
        self._state: DesiredState | None = None
        self._decided_by: Mapping[ChannelId, frozenset[str]] = {}
        self._never_read: tuple[str, ...] = ()

    async def run(self, apply: Apply) -> None:
        """Implement ``dispatcher.desired.Source.run``; read in a thread."""
        await self._load(apply)
        while True:
            change = asyncio.create_task(
                next_change(self._paths, self._rescan), name="watch channel files"
            )
            try:
                await asyncio.sleep(0)  # lets the watch begin, so that no change is missed
                await self._load(apply)
                await change
            finally:
                change.cancel()
                await asyncio.wait([change])

    def never_read(self) -> list[str]:
        """Implement ``dispatcher.desired.Source.never_read``."""
        return list(self._never_read)

    async def _load(self, apply: Apply) -> None:
        state = await asyncio.to_thread(self._read)
        if state is not None:
            self._state = state
            await apply(state)

    def _read(self) -> DesiredState | None:
        """Return the state if it has changed, otherwise None."""
        with _collector_paused():
            if not self._catalogue.refresh() and not self._may_differ():
                return None
            before = self._state or DesiredState({})
            documents = self._catalogue.documents()
            state = desired_state(documents, self._defaults, before, self._recorded)
            self._decided_by = self._durables_of_crowded(state)
            problems = (*self._catalogue.problems(), *state.problems)
            never_read = self._catalogue.never_read()
            self._never_read = tuple(map(str, never_read))
            unread = replace(state.unread, anything=state.unread.anything or bool(never_read))
            state = replace(state, problems=problems, unread=unread)
            return None if state == self._state else state

    def _may_differ(self) -> bool:
        """Return whether the same files may result in another state by now.

        The place of a removed subscriber is free once its durable is unsubscribed.
        """
        state = self._state
        return state is None or self._durables_of_crowded(state) != self._decided_by

    def _durables_of_crowded(self, state: DesiredState) -> dict[ChannelId, frozenset[str]]:
        """Return the durables on record of channels with more subscribers than are served."""
        return {
            name: frozenset(each.durable for each in self._recorded(name))
            for name, channel in state.channels.items()
            if channel.unserved.number
        }


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking through documents while they are built.

    It would find nothing, and block the event loop for 100 ms at 5,000 channels.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
