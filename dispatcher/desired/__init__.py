"""The sources of the desired state: files or the Kubernetes API, behind one interface."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from natss.contract.resources import DesiredState

__all__ = ["Apply", "Source"]

Apply = Callable[[DesiredState], Awaitable[None]]
"""Reconciles the actual state with a desired one."""


class Source(Protocol):
    """Provides the wanted channels and subscribers, at once and on every change."""

    async def run(self, apply: Apply) -> None:
        """Call ``apply`` at once with the desired state, then on every change, until cancelled.

        The first call means that the state is loaded, even if problems leave it empty. A call ends
        before the next one begins. Each gets the latest state, so a state that lasts only for a
        moment may never be applied.
        """

    def never_read(self) -> list[str]:
        """Return why wanted channels may be unknown here; empty if there is no reason.

        A document that was readable once and no longer is does not count: its last state holds.
        """
