"""The dispatcher with one change: a shifted clock, or a mechanism switched off.

Run it like its command. ``FAULTS_CLOCK`` names a file with the seconds that its wall clock is
ahead, which may change while it runs; ``FAULTS_ALTERATION`` names one of ``ALTERATIONS``. The
checker has to catch each of these: a judge is worth what it sees.
"""

import asyncio
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from dispatcher import main as dispatcher
from dispatcher.delivery.subscription import DeliveryState, SubscriptionDelivery
from dispatcher.delivery.window import Receipt, Window
from dispatcher.stores.interface import StoredMessage
from dispatcher.stores.nats_streaming.store import NatsStreamingStore
from natss.contract.resources import DeliveryPolicy
from natss.nats_streaming import Connection
from natss.nats_streaming.publisher import Publisher
from tests.support.shifted_server import CLOCK, SHIFT

ALTERATION = "FAULTS_ALTERATION"


def shift_clock(file: Path) -> None:
    """Shift the wall clock of this process by what the file says.

    Only Python's clock, which is all that the program looks at.
    """
    right = time.time
    with file.open("rb") as opened:
        memory = mmap.mmap(opened.fileno(), SHIFT.size, access=mmap.ACCESS_READ)

    def shifted() -> float:
        seconds: float = SHIFT.unpack(memory[:])[0]
        return right() + seconds

    time.time = shifted


def ack_before_it_is_settled() -> None:
    receive = SubscriptionDelivery.receive

    def acknowledge_and_receive(self: SubscriptionDelivery, message: StoredMessage) -> None:
        self._acknowledge(message.sequence)
        receive(self, message)

    _replace(SubscriptionDelivery, "receive", acknowledge_and_receive)


def do_not_subscribe_again() -> None:
    """Replace a lost session, but not its subscriptions, as the Go program did."""
    restore = NatsStreamingStore._restore
    restored: set[NatsStreamingStore] = set()

    def restore_once(self: NatsStreamingStore, connection: Connection) -> None:
        if self not in restored:
            restored.add(self)
            restore(self, connection)

    _replace(NatsStreamingStore, "_restore", restore_once)


def ignore_errors_in_pubacks() -> None:
    def accept(_: Publisher, future: asyncio.Future[str], text: str) -> None:
        if not future.done():
            future.set_result(text)

    _replace(Publisher, "_refuse", accept)


def deliver_copies() -> None:
    receive = Window.receive

    def receive_anew(
        self: Window, sequence: int, timestamp: int, data: bytes, now: float
    ) -> Receipt:
        self._unsettled.pop(sequence, None)
        self._settled.clear()
        return receive(self, sequence, timestamp, data, now)

    _replace(Window, "receive", receive_anew)


def go_on_after_removal() -> None:
    """Report the end of a removed subscription, and continue to deliver to it."""
    receive = SubscriptionDelivery.receive

    def receive_anyway(self: SubscriptionDelivery, message: StoredMessage) -> None:
        said, self.state = self.state, DeliveryState.ACTIVE
        receive(self, message)
        self.state = said

    def say_that_it_is_paused(self: SubscriptionDelivery) -> None:
        self.state = DeliveryState.PAUSED

    _replace(SubscriptionDelivery, "receive", receive_anyway)
    _replace(SubscriptionDelivery, "pause", say_that_it_is_paused)


def take_no_heed_of_order() -> None:
    def several(policy: DeliveryPolicy) -> int:
        return policy.max_inflight

    _replace(DeliveryPolicy, "concurrency", property(several))


ALTERATIONS: dict[str, Callable[[], None]] = {
    alteration.__name__: alteration
    for alteration in (
        ack_before_it_is_settled,
        do_not_subscribe_again,
        ignore_errors_in_pubacks,
        deliver_copies,
        go_on_after_removal,
        take_no_heed_of_order,
    )
}


def _replace(owner: type | ModuleType, name: str, attribute: Callable[..., Any] | property) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__} has no {name} to be altered")
    setattr(owner, name, attribute)


def main() -> None:
    if CLOCK in os.environ:
        shift_clock(Path(os.environ[CLOCK]))
    if ALTERATION in os.environ:
        ALTERATIONS[os.environ[ALTERATION]]()
    dispatcher.main()


if __name__ == "__main__":
    main()
