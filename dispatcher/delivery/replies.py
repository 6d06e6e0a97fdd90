"""What is left of a delivery once the subscriber has taken the event.

Calling the subscriber and sending its reply on are two effects, and each is repeated by itself: the
reply is kept with its event until its address has taken it, through failed rounds and copies.
"""

from typing import Protocol

from dispatcher.delivery.rules import Failure
from dispatcher.runtime.byte_budget import BudgetShare


class Reply:
    """A reply that is to be sent on.

    It takes its bytes from a share of memory, and gives them back when nobody keeps it any more:
    its event may be settled, expire, or be dropped with its subscription.

    Args:
        memory: There is no look at what is left of it: the answer was read already, and there was
            room for it then.
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
"""What is left to do: send on the reply, or tell why there can be none."""


class EventToReply(Protocol):
    """An event that is not settled, from round to round."""

    taken: Taken | None
    """None until the subscriber has taken it; it is not called again afterwards."""

    @property
    def sequence(self) -> int: ...
    @property
    def failed_rounds(self) -> int: ...

    def take_data(self) -> bytes:
        """The stored form, which is not kept."""
