"""What has still to arrive while a run goes on, so that the nemesis knows when all is well."""

import time

from tests.faults.happenings import Event, Happenings
from tests.faults.history import Answered, History, Received


class Debts:
    """Follows a history; cheap enough to be asked several times a second."""

    def __init__(self, history: History) -> None:
        self._entries = history.entries
        self._seen = 0
        self._run = Happenings()
        self._open: dict[str, Event] = {}

    def owed(self, before: float) -> list[Event]:
        """Accepted events that some subscriber has not got yet.

        Args:
            before: Those that were posted before (monotonic seconds).
        """
        self._catch_up()
        settled = [id_ for id_, event in self._open.items() if not self._is_owed(event)]
        for id_ in settled:
            del self._open[id_]
        return [event for event in self._open.values() if event.posted_at < before]

    def are_settled(self, patience: float) -> bool:
        """Whether nothing is owed that was posted more than so many seconds ago."""
        return not self.owed(time.monotonic() - patience)

    def _catch_up(self) -> None:
        entries = self._entries
        while self._seen < len(entries):
            entry = entries[self._seen]
            self._seen += 1
            self._run.take(entry)
            if isinstance(entry, Answered | Received) and entry.event in self._run.events:
                event = self._run.events[entry.event]
                if event.is_accepted:
                    self._open[event.id] = event

    def _is_owed(self, event: Event) -> bool:
        return self._run.counts(event) and any(
            subscription.owes(event) and not subscription.taken(event.id)
            for subscription in self._run.subscriptions.values()
        )
