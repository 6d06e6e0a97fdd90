"""The desired state from YAML or JSON files: the very documents that go to kubectl.

Files are read at once and again whenever they change. A file that is broken, empty or gone keeps
what it said last, and so does a folder that is gone or suddenly empty: to lose a subscriber by
accident is to lose its events. To remove something, save the file without it.
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
        paths: Files, and folders with ``*.yaml``, ``*.yml`` and ``*.json`` (without those in
            folders below). They need not exist yet.
        defaults: What documents leave open.
        recorded: The durables of a channel that there may be; called in a thread.
        rescan: Seconds after which files are looked at even if no change was told, for file
            systems that tell none.
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
        """``dispatcher.sources.Source.run``. Reading is done in a thread."""
        await self._load(apply)
        while True:
            change = asyncio.create_task(
                next_change(self._paths, self._rescan), name="watch channel files"
            )
            try:
                await asyncio.sleep(0)  # now it watches, and nothing is missed between
                await self._load(apply)
                await change
            finally:
                change.cancel()
                await asyncio.wait([change])

    def never_read(self) -> list[str]:
        """``dispatcher.sources.Source.never_read``."""
        return list(self._never_read)

    async def _load(self, apply: Apply) -> None:
        state = await asyncio.to_thread(self._read)
        if state is not None:
            self._state = state
            await apply(state)

    def _read(self) -> DesiredState | None:
        """The state, if it has changed."""
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
        """Whether the same files may mean something else by now.

        The place of a subscriber that was removed is free once its durable is unsubscribed.
        """
        state = self._state
        return state is None or self._durables_of_crowded(state) != self._decided_by

    def _durables_of_crowded(self, state: DesiredState) -> dict[ChannelId, frozenset[str]]:
        """What is on record of channels with more subscribers than are served."""
        return {
            name: frozenset(each.durable for each in self._recorded(name))
            for name, channel in state.channels.items()
            if channel.unserved.number
        }


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking through documents while they are made.

    It would find nothing, and holds up the event loop for 100 ms at 5,000 channels.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
