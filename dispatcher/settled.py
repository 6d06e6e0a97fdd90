"""Which sequences of a channel a subscription has settled, in little memory.

NATS Streaming may send a copy of an event that was acknowledged a moment ago. Sequences are
settled nearly in order, so they are kept as runs: a day's events take a few numbers.
"""

from bisect import bisect_right


class SettledSequences:
    """A set of sequences, stored as disjoint runs in ascending order.

    It forgets its lowest runs when there are more than ``max_runs``: their copies would be
    delivered once more, which is better than to grow without bound.
    """

    __slots__ = ("_first", "_last", "_max_runs")

    def __init__(self, max_runs: int = 4096) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        self._max_runs = max_runs

    def __contains__(self, sequence: int) -> bool:
        run = bisect_right(self._first, sequence) - 1
        return run >= 0 and sequence <= self._last[run]

    def add(self, sequence: int) -> None:
        first, last = self._first, self._last
        run = bisect_right(first, sequence) - 1
        if run >= 0 and sequence <= last[run]:
            return
        joins_lower = run >= 0 and last[run] == sequence - 1
        joins_upper = run + 1 < len(first) and first[run + 1] == sequence + 1
        if joins_lower and joins_upper:
            last[run] = last.pop(run + 1)
            del first[run + 1]
        elif joins_lower:
            last[run] = sequence
        elif joins_upper:
            first[run + 1] = sequence
        else:
            first.insert(run + 1, sequence)
            last.insert(run + 1, sequence)
            if len(first) > self._max_runs:
                del first[0], last[0]

    def clear(self) -> None:
        self._first.clear()
        self._last.clear()

    @property
    def runs(self) -> int:
        return len(self._first)
