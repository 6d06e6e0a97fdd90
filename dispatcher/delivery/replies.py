"""What is left of a delivery once the subscriber has accepted the event.

Calling the subscriber and sending on its reply are two effects, each retried on its own: the reply
is kept with its event until its address has accepted it, through failed rounds and copies.
"""

from typing import Protocol

from dispatcher.delivery.rules import Failure
from dispatcher.runtime.byte_budget import BudgetShare


class Reply:
    """A reply that is to be sent on.

    It takes its bytes from a share of memory, and gives them back when nothing refers to it any
    more: its event may be settled, expire, or be dropped with its subscription.

    Args:
        memory: The bytes are taken even if none are left: the answer has been read already, and
            there was room for it then.
    """

    __slots__ = ("_memory", "_size", "body", "head")

    def __init__(self, head: bytes, body: bytes, memory: BudgetShare) -> None:
        self.head = head
        self.body = body
        self._memory = memory
        self._size = len(head) + len(body)
        memory.take_beyond(self._size)

    def __del__(self) -> None:
        self._memory.give_back(self._size)


Taken = Reply | Failure
"""What is left to do: send on the reply, or report why there can be none."""


class EventToReply(Protocol):
    """An event that is not settled, kept from round to round."""

    taken: Taken | None
    """None until the subscriber has accepted it; after that it is not called again."""

    @property
    def sequence(self) -> int: ...
    @property
    def failed_rounds(self) -> int: ...

    def take_data(self) -> bytes:
        """Return the stored form and stop keeping it."""
