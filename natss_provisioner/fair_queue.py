"""Keys that wait for a worker, those of each tenant in a line of their own. Pure."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_NOBODY = object()


class FairQueue(Generic[Key]):
    """Tenants take turns, however many keys each has; of one tenant the first comes first.

    Args:
        tenant_of: Whose a key is.
    """

    def __init__(self, tenant_of: Callable[[Key], Hashable]) -> None:
        self._tenant_of = tenant_of
        self._lines: dict[Hashable, deque[Key]] = {}  # whose turn is next comes first

    def __len__(self) -> int:
        """How many tenants have keys that wait."""
        return len(self._lines)

    def add(self, key: Key) -> None:
        """Put a key at the end of its tenant's line."""
        self._lines.setdefault(self._tenant_of(key), deque()).append(key)

    def take(self, may_have: Callable[[Hashable], bool]) -> Key | None:
        """The key whose turn it is; None if there is none of a tenant that may have a worker.

        A tenant that may not keeps its turn.
        """
        tenant = next(filter(may_have, self._lines), _NOBODY)
        line = self._lines.pop(tenant, None)
        if line is None:
            return None
        key = line.popleft()
        if line:
            self._lines[tenant] = line
        return key
