"""Durables that nobody wants any more, remembered until NATS Streaming has forgotten them.

They may have to wait: for the end of a grace, for NATS Streaming, for this replica's turn to
deliver. A restart meanwhile must not leave them on the server for ever, so they are kept in the
state folder, if there is one.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from contract.resources import ResourceName
from dispatcher.state_folder import StateFolder

log = structlog.get_logger(__name__)

_FILE = "removals.json"
_WRITE_AGAIN = 5.0
"""Seconds until what could not be written is tried again."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One durable that is to be unsubscribed."""

    channel: ResourceName
    ref: ResourceName
    """The Subscription that it belonged to."""

    durable: str
    due: float
    """When, in seconds since the epoch."""

    @property
    def wait(self) -> float:
        """Seconds until it is due."""
        return max(0.0, self.due - time.time())


class Removals:
    """What is to be removed.

    Args:
        folder: Where it is kept for the next process.
        grace: Seconds that the durable of a removed subscriber is kept.
        patience: Seconds that a deleted Channel waits for its durables. Then it goes, if they are
            remembered on disk; else it waits on.
    """

    def __init__(self, folder: StateFolder, grace: float, *, patience: float = 5.0) -> None:
        self.grace = grace
        self._folder = folder
        self._patience = patience
        self._all: dict[tuple[ResourceName, str], Removal] = {}
        for removal in _read(folder):
            self._all[removal.channel, removal.durable] = removal
        self._version = 0
        self._written = 0
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Removal]:
        return iter(tuple(self._all.values()))

    def remember(self, removal: Removal) -> None:
        self._all[removal.channel, removal.durable] = removal
        self._note()

    def forget(self, channel: ResourceName, durable: str) -> None:
        """It is removed, or wanted again."""
        if self._all.pop((channel, durable), None) is not None:
            self._note()

    async def released(self, channel: ResourceName) -> None:
        """Wait until no durable of a deleted Channel is left, or all are safely remembered."""
        try:
            async with asyncio.timeout(self._patience):
                while self._waits_for(channel):
                    await self._change()
        except TimeoutError:
            while self._waits_for(channel) and not (
                self._folder.keeps and self._written == self._version
            ):
                await self._change()

    async def run(self) -> None:
        """Write what changes, until cancelled."""
        while True:
            while self._written == self._version:
                await self._change()
            if not await self.write():
                await asyncio.sleep(_WRITE_AGAIN)

    async def write(self) -> bool:
        """Write now; whether it is safe, or there is no folder to write to."""
        version = self._version
        if not self._folder.keeps:
            self._written = version
            return True
        if version == self._written:
            return True
        if not await self._folder.write(_FILE, [_dump(removal) for removal in self]):
            return False
        self._written = version
        self._changed.set()
        return True

    def _waits_for(self, channel: ResourceName) -> bool:
        return any(name == channel for name, _ in self._all)

    def _note(self) -> None:
        self._version += 1
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _dump(removal: Removal) -> dict[str, object]:
    return {
        "channel": [removal.channel.namespace, removal.channel.name],
        "subscription": [removal.ref.namespace, removal.ref.name],
        "durable": removal.durable,
        "due": removal.due,
    }


def _read(folder: StateFolder) -> list[Removal]:
    value: Any = folder.read(_FILE)
    try:
        return [
            Removal(
                ResourceName(*each["channel"]),
                ResourceName(*each["subscription"]),
                str(each["durable"]),
                float(each["due"]),
            )
            for each in value or ()
        ]
    except (LookupError, TypeError, ValueError) as error:
        log.warning("durables to be removed are not known", file=_FILE, reason=repr(error))
        return []
