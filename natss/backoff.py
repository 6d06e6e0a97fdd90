"""Waits between tries that double from a first to a longest: numbers only, nothing here sleeps."""

import random


class Backoff:
    """The waits between the tries of one thing, in seconds.

    Args:
        first: The wait after the first failure.
        longest: What no wait exceeds, however many failures there are.
    """

    __slots__ = ("_first", "_longest", "upcoming")

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self.upcoming = first
        """The wait that ``next`` returns next."""

    def next(self, *, longest: float | None = None) -> float:
        """Return how long to wait now; the wait after it is twice as long.

        Args:
            longest: Bounds the waits after this one, instead of what was given at first.
        """
        wait = self.upcoming
        self.upcoming = min(2 * wait, self._longest if longest is None else longest)
        return wait

    def raise_to(self, seconds: float) -> None:
        """Make the next wait at least this long, as a server asks with ``Retry-After``."""
        self.upcoming = max(self.upcoming, seconds)

    def reset(self) -> None:
        """Start again with the first wait, after a success."""
        self.upcoming = self._first


def jittered(seconds: float) -> float:
    """Spread a wait by a fifth either way, since many may have failed at the same moment."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311  no secret
