"""Which events of a channel a subscription has settled, in little memory.

NATS Streaming may send a copy of an event that was acknowledged a moment ago. Sequences are settled
nearly in order, so they are kept as runs, each of which takes four numbers.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator

_SHORT_TIME = 1_000_000_000
_FEW = 64
_LONG_TIME = 64_000_000_000
"""The timestamps of a run lie within the short time, those of a few events within the long one
(nanoseconds). They distinguish events of this channel from those of a channel that was created anew
under the same sequences, even if the server's clock was set back and timestamps fall.
"""


class SettledEvents:
    """A set of events, known by sequence and timestamp, stored as runs in ascending order.

    It forgets its lowest runs when there are more than ``max_runs``: their copies would be
    delivered once more, which is better than growing without bound. A thousand runs take 32 KiB.
    """

    __slots__ = ("_earliest", "_first", "_last", "_latest", "max_runs")

    def __init__(self, max_runs: int) -> None:
        self._first = array("Q")
        self._last = array("Q")
        self._earliest = array("q")
        self._latest = array("q")
        self.max_runs = max_runs

    def has_sequence(self, sequence: int) -> bool:
        """Return whether an event with this sequence was settled."""
        return self._run_of(sequence) is not None

    def has(self, sequence: int, timestamp: int) -> bool:
        """Return whether it was this event.

        If only its sequence is known, the channel was created anew.
        """
        run = self._run_of(sequence)
        return run is not None and self._earliest[run] <= timestamp <= self._latest[run]

    def count(self, among: range) -> int:
        """Return how many of these sequences were settled."""
        runs = zip(self._first, self._last, strict=True)
        spans = (min(last + 1, among.stop) - max(first, among.start) for first, last in runs)
        return sum(span for span in spans if span > 0)

    def add(self, sequence: int, timestamp: int) -> None:
        first, last = self._first, self._last
        run = bisect_right(first, sequence) - 1
        if run >= 0 and sequence <= last[run]:
            return
        above = run + 1
        if run >= 0 and last[run] + 1 == sequence and self._may_have(run, timestamp):
            self._take(run, sequence, timestamp)
            if above < len(first) and first[above] == sequence + 1:
                self._join(run)
        elif (
            above < len(first) and first[above] == sequence + 1 and self._may_have(above, timestamp)
        ):
            self._take(above, sequence, timestamp)
        else:
            self._insert(above, sequence, sequence, (timestamp, timestamp))

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield the first and last sequence of each run, its earliest and its latest time."""
        return zip(self._first, self._last, self._earliest, self._latest, strict=True)

    def take(self, other: "SettledEvents") -> None:
        """Move all of another set here; for what both have, the other's data counts from now on."""
        for first, last, earliest, latest in other:
            self._cut_out(first, last)
            self._insert(bisect_right(self._first, first), first, last, (earliest, latest))
        other.clear()

    def _cut_out(self, first: int, last: int) -> None:
        """Forget the runs that have any of these sequences."""
        run = max(0, bisect_right(self._first, first) - 1)
        while run < len(self._first) and self._first[run] <= last:
            if self._last[run] >= first:
                self._remove(run)
            else:
                run += 1

    def clear(self) -> None:
        for numbers in (self._first, self._last, self._earliest, self._latest):
            del numbers[:]

    @property
    def runs(self) -> int:
        return len(self._first)

    def _run_of(self, sequence: int) -> int | None:
        run = bisect_right(self._first, sequence) - 1
        return None if run < 0 or sequence > self._last[run] else run

    def _may_have(self, run: int, timestamp: int) -> bool:
        """Return whether a run may grow by an event next to it."""
        earliest = min(self._earliest[run], timestamp)
        latest = max(self._latest[run], timestamp)
        return _is_short(self._last[run] - self._first[run] + 2, latest - earliest)

    def _take(self, run: int, sequence: int, timestamp: int) -> None:
        if sequence < self._first[run]:
            self._first[run] = sequence
        else:
            self._last[run] = sequence
        if timestamp < self._earliest[run]:
            self._earliest[run] = timestamp
        elif timestamp > self._latest[run]:
            self._latest[run] = timestamp

    def _join(self, run: int) -> None:
        """Make one run of this and the next, if it is not too long."""
        above = run + 1
        earliest = min(self._earliest[run], self._earliest[above])
        latest = max(self._latest[run], self._latest[above])
        count = self._last[above] - self._first[run] + 1
        if not _is_short(count, latest - earliest):
            return
        self._last[run] = self._last[above]
        self._earliest[run], self._latest[run] = earliest, latest
        self._remove(above)

    def _insert(self, at: int, first: int, last: int, times: tuple[int, int]) -> None:
        self._first.insert(at, first)
        self._last.insert(at, last)
        self._earliest.insert(at, times[0])
        self._latest.insert(at, times[1])
        if len(self._first) > self.max_runs:
            self._remove(0)

    def _remove(self, run: int) -> None:
        for numbers in (self._first, self._last, self._earliest, self._latest):
            del numbers[run]


def _is_short(events: int, nanoseconds: int) -> bool:
    """Return whether so many events in such a time may be one run."""
    return nanoseconds <= (_LONG_TIME if events <= _FEW else _SHORT_TIME)
