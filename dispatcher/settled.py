"""Which events of a channel a subscription has settled, in little memory.

NATS Streaming may send a copy of an event that was acknowledged a moment ago. Sequences are
settled nearly in order, so they are kept as runs: 64 events take a few numbers.
"""

from bisect import bisect_right

_LONGEST_RUN = 64
"""Short, so that the time between a run's first and last event tells events of this channel from
those of one that was made anew under the same sequences."""


class _Run:
    __slots__ = ("earliest", "last", "latest")

    def __init__(self, sequence: int, timestamp: int) -> None:
        self.last = sequence
        self.earliest = self.latest = timestamp


class SettledEvents:
    """A set of events, known by sequence and timestamp, stored as runs in ascending order.

    It forgets its lowest runs when there are more than ``max_runs``: their copies would be
    delivered once more, which is better than to grow without bound.
    """

    __slots__ = ("_first", "_max_runs", "_runs")

    def __init__(self, max_runs: int = 4096) -> None:
        self._first: list[int] = []
        self._runs: list[_Run] = []
        self._max_runs = max_runs

    def has_sequence(self, sequence: int) -> bool:
        """Whether an event with this sequence was settled."""
        return self._run_of(sequence) is not None

    def has(self, sequence: int, timestamp: int) -> bool:
        """Whether it was this event.

        If only its sequence is known, the channel was made anew: timestamps do not decrease with
        the sequence, so those of a run lie between its earliest and its latest.
        """
        run = self._run_of(sequence)
        return run is not None and run.earliest <= timestamp <= run.latest

    def add(self, sequence: int, timestamp: int) -> None:
        first, runs = self._first, self._runs
        index = bisect_right(first, sequence) - 1
        if index >= 0:
            run = runs[index]
            if sequence <= run.last:
                return
            if sequence == run.last + 1 and sequence - first[index] < _LONGEST_RUN:
                run.last = sequence
                run.latest = max(run.latest, timestamp)
                return
        above = index + 1
        if (
            above < len(first)
            and first[above] == sequence + 1
            and runs[above].last - sequence < _LONGEST_RUN
        ):
            first[above] = sequence
            runs[above].earliest = min(runs[above].earliest, timestamp)
            return
        first.insert(above, sequence)
        runs.insert(above, _Run(sequence, timestamp))
        if len(first) > self._max_runs:
            del first[0], runs[0]

    def clear(self) -> None:
        self._first.clear()
        self._runs.clear()

    @property
    def runs(self) -> int:
        return len(self._first)

    def _run_of(self, sequence: int) -> _Run | None:
        index = bisect_right(self._first, sequence) - 1
        if index < 0 or sequence > self._runs[index].last:
            return None
        return self._runs[index]
