"""The desired state from a Kubernetes cluster: its Channels with their subscribers.

Subscriptions are not read: their controller maintains ``spec.subscribable`` of the Channels. The
last answer of the API is kept in memory and in the state folder: no subscriber is removed when the
API is away, reads from an old store, or shows nothing because of a fault.
"""

import asyncio
import contextlib
import time

import structlog

from dispatcher.cluster.channel_table import ChannelTable, Entry
from dispatcher.cluster.finalizers import Finalizers
from dispatcher.cluster.follower import Follower
from dispatcher.cluster.orphans import Orphans
from dispatcher.desired import Apply
from dispatcher.durables.ledger import Ledger
from dispatcher.runtime.state_folder import StateFolder
from dispatcher.runtime.turns import Turns
from natss.contract.channel_kinds import kinds
from natss.contract.resources import DesiredState
from natss.kube import KubeClient

log = structlog.get_logger(__name__)

_FILE = "channels.json"
_SETTLE = 0.05
"""In seconds: changes are collected for this time and applied together."""

_REST = 4.0
"""The pause after applying changes, as a multiple of the time that took: somebody who changes a
Channel again and again must not keep the process from the events. With 5,000 Channels, applying
changes takes 0.2 s.
"""

_LONGEST_REST = 2.0
"""In seconds. Applying changes takes longer the first time; a new Channel must not wait for that.
"""

_FIRST_ANSWER = 3.0
"""In seconds: how long the API may take at the start before the state folder is used."""

_KEEP_EVERY = 1.0
"""In seconds between two writes to the state folder."""


class KubernetesSource:
    """Follows the channels of all kinds in all namespaces.

    Args:
        client: The client of the Kubernetes API.
        table: Gets the Channels as the API reports them.
        folder: Keeps the Channels for a start without the API.
        ledger: The durables, which are recorded on the Channels.
        orphans: The durables that outlive their Channels.
        empty_is_true: In seconds: after a list was suddenly empty, it is requested again after this
            time and then believed.
    """

    def __init__(
        self,
        client: KubeClient,
        table: ChannelTable,
        folder: StateFolder,
        ledger: Ledger,
        orphans: Orphans,
        *,
        empty_is_true: float = 60.0,
    ) -> None:
        self._folder = folder
        self._table = table
        self._ledger = ledger
        self._orphans = orphans
        self._finalizers = Finalizers(client, table, ledger, orphans.released, self._note_change)
        self._changed = asyncio.Event()
        self._unkept = asyncio.Event()
        self._followers = [
            Follower(client, table, kind, self._note_change, empty_is_true=empty_is_true)
            for kind in kinds()
        ]

    async def run(self, apply: Apply) -> None:
        """Implement ``dispatcher.desired.Source.run``; without API and kept state, wait."""
        try:
            is_known = await self._load()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._apply(apply, is_known=is_known), name="apply channels")
                for each in self._followers:
                    name = f"follow {each.kind.plural}.{each.kind.group}"
                    group.create_task(each.run(), name=name)
                group.create_task(self._keep(), name="keep channels")
                group.create_task(self._record(), name="record durables")
                group.create_task(self._orphans.run(self._note_change), name="orphans")
        finally:
            await self._finalizers.close()

    def never_read(self) -> list[str]:
        """Return an empty list; see ``dispatcher.desired.Source.never_read``."""
        return []

    async def _load(self) -> bool:
        """Load what a former process knew; return whether there was anything."""
        value = self._folder.read(_FILE)
        if value is None:
            return False
        try:
            turns = Turns()
            for _ in self._table.load(value):
                await turns.piece_done()
        except (LookupError, TypeError, ValueError) as error:
            log.warning("channels that were kept cannot be read", reason=repr(error))
        return bool(self._table)

    async def _apply(self, apply: Apply, *, is_known: bool) -> None:
        """Apply the desired state whenever it has changed; first the one a former process knew.

        If the API answers at once, only its answer counts. What disappeared while no process
        watched is on record.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_ANSWER if is_known else None):
                for each in self._followers:
                    await each.answered.wait()
        if is_known and not all(
            each.answered.is_set() and each.last_error is None for each in self._followers
        ):
            log.warning("starting with the channels that were known last")
        while True:
            self._changed.clear()
            began = time.monotonic()
            state = await self._known_state()
            await apply(state)
            ended = time.monotonic()
            turns = Turns()
            for entry in self._table:
                # A Channel deleted meanwhile must not be released before its deletion is applied.
                is_applied = not entry.is_deleted or entry.channel is None
                if (is_applied or entry.name in state.deleted) and (
                    self._table.get(entry.name) is entry
                ):
                    self._finalizers.look_at(entry)
                await turns.piece_done()
            self._unkept.set()
            await self._changed.wait()
            rested = time.monotonic() - ended
            rest = min(_REST * (ended - began), _LONGEST_REST)
            await asyncio.sleep(max(_SETTLE, rest - rested))

    async def _known_state(self) -> DesiredState:
        """Return the desired state, after all durable records are merged."""
        self._let_go()
        turns = Turns()
        for entry in self._table:
            self._merge(entry)
            await turns.piece_done()
        self._let_go()
        for entry in self._table:  # merges those changed meanwhile; the others are merged already
            self._merge(entry)
        return self._table.state()

    def _let_go(self) -> None:
        """Tell the ledger which Channels are gone."""
        for name, in_order in self._table.take_forgotten().items():
            self._ledger.channel_gone(name, in_order=in_order)

    def _merge(self, entry: Entry) -> None:
        if entry.recorded is not None:
            self._ledger.merge(entry.name, entry.recorded, is_complete=entry.is_record_complete)

    async def _record(self) -> None:
        """Have what this process does to durables recorded on the Channels."""
        while True:
            for name in await self._ledger.changed_here():
                entry = self._table.get(name)
                if entry is not None:
                    self._finalizers.look_at(entry)

    async def _keep(self) -> None:
        """Write the known Channels to the state folder, at most once per ``_KEEP_EVERY``."""
        while self._folder.keeps:
            await self._unkept.wait()
            self._unkept.clear()
            await self._folder.write(_FILE, self._table.dump())
            await asyncio.sleep(_KEEP_EVERY)

    def _note_change(self) -> None:
        self._changed.set()
