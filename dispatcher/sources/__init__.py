"""Where the desired state comes from: files or the Kubernetes API, behind one interface."""

from collections.abc import Callable
from typing import Protocol

from contract.resources import DesiredState

__all__ = ["Source"]


class Source(Protocol):
    """Tells what channels and subscribers are wanted, now and on every change."""

    async def run(self, apply: Callable[[DesiredState], None]) -> None:
        """Call ``apply`` at once with what is wanted, then on every change, until cancelled.

        The first call means that the state is loaded, even if it is empty for all its problems.
        Calls come one after another from the event loop.
        """

    def never_read(self) -> list[str]:
        """Why there may be channels that are wanted and unknown here; empty if there are none.

        What could be read once, and cannot any more, is not among it: that holds as it was.
        """
