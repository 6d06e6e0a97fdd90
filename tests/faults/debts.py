"""What has still to arrive during a run, so that the nemesis knows when all is well."""

import time

from tests.faults.happenings import Event, Happenings
from tests.faults.history import Answered, History, Received


class Debts:
    """Follows a history; cheap enough to be called several times a second."""

    def __init__(self, history: History) -> None:
        self._entries = history.entries
        self._seen = 0
        self._run = Happenings()
        self._open: dict[str, Event] = {}
        self._refused_at = 0.0
        self._accepted_at = 0.0

    def owed(self, before: float) -> list[Event]:
        """Return accepted events that some subscriber has not received yet.

        Args:
            before: Only events that were posted before (monotonic seconds).
        """
        self._catch_up()
        settled = [id_ for id_, event in self._open.items() if not self._is_owed(event)]
        for id_ in settled:
            del self._open[id_]
        return [event for event in self._open.values() if event.posted_at < before]

    def are_settled(self, patience: float) -> bool:
        """Return whether nothing is owed that was posted more than so many seconds ago."""
        return not self.owed(time.monotonic() - patience)

    def is_accepting(self, since: float, patience: float) -> bool:
        """Return whether an event posted after ``since`` was accepted, and none refused lately.

        Args:
            since: Monotonic seconds.
            patience: How many seconds ago the last refusal must be.
        """
        self._catch_up()
        return self._accepted_at > since and self._refused_at < time.monotonic() - patience

    def _catch_up(self) -> None:
        entries = self._entries
        while self._seen < len(entries):
            entry = entries[self._seen]
            self._seen += 1
            self._run.take(entry)
            if isinstance(entry, Answered | Received) and entry.event in self._run.events:
                self._note(self._run.events[entry.event])

    def _note(self, event: Event) -> None:
        if event.is_accepted:
            self._open[event.id] = event
            self._accepted_at = max(self._accepted_at, event.posted_at)
        elif event.status is not None:
            self._refused_at = max(self._refused_at, event.answered_at)

    def _is_owed(self, event: Event) -> bool:
        return self._run.counts(event) and any(
            subscription.owes(event) and not subscription.taken(event.id)
            for subscription in self._run.subscriptions.values()
        )
