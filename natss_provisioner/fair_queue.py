"""A fair queue of keys that wait for a worker: each tenant has a line of its own. Pure."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_NOBODY = object()


class FairQueue(Generic[Key]):
    """Lets tenants take turns, however many keys each has; keys of one tenant stay in order.

    Args:
        tenant_of: Returns the tenant of a key.
    """

    def __init__(self, tenant_of: Callable[[Key], Hashable]) -> None:
        self._tenant_of = tenant_of
        self._lines: dict[Hashable, deque[Key]] = {}  # the tenant of the next turn first

    def __len__(self) -> int:
        """Return how many tenants have keys that wait."""
        return len(self._lines)

    def add(self, key: Key) -> None:
        """Put a key at the end of its tenant's line."""
        self._lines.setdefault(self._tenant_of(key), deque()).append(key)

    def take(self, may_have: Callable[[Hashable], bool]) -> Key | None:
        """Return the next key; None if no tenant with keys may have a worker.

        A tenant that may not have one keeps its turn.
        """
        tenant = next(filter(may_have, self._lines), _NOBODY)
        line = self._lines.pop(tenant, None)
        if line is None:
            return None
        key = line.popleft()
        if line:
            self._lines[tenant] = line
        return key
