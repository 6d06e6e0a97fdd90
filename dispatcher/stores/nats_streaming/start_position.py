"""Start position of a durable that NATS Streaming does not know.

What was stored since a subscriber is wanted is owed to it, however long its durable could not be
opened, and whichever process opens it in the end.
"""

import time
from dataclasses import dataclass, replace
from typing import Self

from dispatcher.stores.evidence import Owed
from dispatcher.stores.interface import StartPosition
from dispatcher.stores.nats_streaming.fence import first_message, last_message
from natss.contract.resources import StartKind
from natss.nats_streaming import Connection, StartAt

_MARGIN = 2.5
"""Seconds that a start by time goes further back: longer than a request may take to arrive, since
an event that is stored meanwhile must not be missed. A few older ones do no harm.
"""

_COMES_WITHIN = 1.0
"""Seconds within which the first event of a subscription comes, if there is one."""


_LATEST = 600.0
"""Seconds after which no request is on its way any more."""

_BY_TIME = (StartKind.NEW, StartKind.AGO, StartKind.TIME)


@dataclass(frozen=True, slots=True)
class NatsStreamingStart(StartPosition):
    """A start position in the terms of NATS Streaming."""

    @classmethod
    def of(cls, position: StartPosition) -> Self:
        return cls(
            position.start,
            position.wanted_since,
            position.was_open,
            position.on_open,
            position.is_doubtful,
            position.is_told,
        )

    @property
    def is_by_time(self) -> bool:
        """Whether the start of the durable depends on when the server handles the request."""
        is_by_time = self.start is not None and self.start.kind in _BY_TIME
        return is_by_time and not self.was_open

    @property
    def may_be_late(self) -> bool:
        """Whether a request that was handled too late can have moved the start.

        That moves it by as long as a link may be slow, and a ledger that could not be written may
        be old: what was accepted since then is not to come again.
        """
        return self.is_by_time and time.monotonic() - self.wanted_since < _LATEST

    async def owed(self, connection: Connection, subject: str) -> Owed | None:
        """Find out where a start by time is, so that no delay can change it.

        Return None if the channel seems to have no event: then nothing can have been missed yet.

        None if the channel seems to have no event: then nothing can have been missed yet.

        Raises:
            NatsStreamingError: the server could not be asked in time.
        """
        last = await last_message(connection, subject)
        if last is None:
            return None
        first = await first_message(connection, subject, self.start_at(None), by_fence=True)
        if first is None:
            return Owed(last.sequence + 1, is_stored=False)
        return Owed(first.sequence, is_stored=True)

    def known(self) -> Self:
        """Return the same for a durable that the server knows by now."""
        return replace(self, was_open=True)

    def forgone(self) -> Self:
        """Return the start position of a durable that is to be succeeded by another.

        If the server has known it once and does not any more, another process has released it, and
        its successor has the position. One that was never open keeps its start position: nobody
        else knows.
        """
        return replace(self, start=None) if self.was_open else self

    async def start_on(
        self, connection: Connection, subject: str, alive_at: float | None
    ) -> StartAt:
        """Return ``start_at``, after asking the server which event was last when it was wanted.

        To the server, "the last" is that of now: what came between would be missed.

        Raises:
            NatsStreamingError: the server could not be asked.
        """
        kind = None if self.start is None else self.start.kind
        if kind is not StartKind.LAST or self.was_open or alive_at is not None:
            return self.start_at(alive_at)
        since = _since(self.wanted_since)
        newest = await first_message(
            connection, subject, StartAt.last_received(), within=_COMES_WITHIN
        )
        if newest is None:
            return since
        if newest.timestamp < 1e9 * (since.epoch or 0.0):
            return StartAt.sequence(newest.sequence)
        first = await first_message(connection, subject, since, within=_COMES_WITHIN)
        return since if first is None else StartAt.sequence(max(1, first.sequence - 1))

    def start_at(self, alive_at: float | None) -> StartAt:
        """Return where to start if the server does not know the durable, as of now.

        Args:
            alive_at: When it was last known to be on the server (monotonic seconds), None if never
                in this process. A server that does not know it any more has lost its store, and
                what was stored since then must not be missed.
        """
        if alive_at is not None:
            return _since(alive_at)
        if self.start is None:
            return StartAt.new_only()
        if self.was_open:  # so the store was lost, and all that it has now was stored since
            return StartAt.first()
        match self.start.kind:
            case StartKind.NEW | StartKind.LAST:
                return _since(self.wanted_since)
            case StartKind.FIRST:
                return StartAt.first()
            case StartKind.SEQUENCE:
                return StartAt.sequence(int(self.start.value))
            case StartKind.TIME:
                return StartAt.time(self.start.value)
            case StartKind.AGO:
                return _since(self.wanted_since - self.start.value)


def _since(monotonic: float) -> StartAt:
    """Return a start at a moment; how long ago that is, is computed when the request is sent."""
    ago = time.monotonic() - monotonic
    return StartAt.time(max(0.0, time.time() - ago - _MARGIN))
