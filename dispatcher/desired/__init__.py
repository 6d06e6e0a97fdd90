"""Where the desired state comes from: files or the Kubernetes API, behind one interface."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from natss.contract.resources import DesiredState

__all__ = ["Apply", "Source"]

Apply = Callable[[DesiredState], Awaitable[None]]
"""Makes a state the actual one."""


class Source(Protocol):
    """Tells what channels and subscribers are wanted, now and on every change."""

    async def run(self, apply: Apply) -> None:
        """Call ``apply`` at once with what is wanted, then on every change, until cancelled.

        The first call means that the state is loaded, even if it is empty for all its problems.
        One call has ended before the next: that has what is wanted then, and what was wanted for
        a moment in between may never be seen.
        """

    def never_read(self) -> list[str]:
        """Why there may be channels that are wanted and unknown here; empty if there are none.

        What could be read once, and cannot any more, is not among it: that holds as it was.
        """
