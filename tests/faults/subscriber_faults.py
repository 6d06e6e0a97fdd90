"""Subscribers are down, hang, or refuse everything for a while."""

import asyncio
from random import Random

from tests.faults.nemesis import Doubles, Fault, Part
from tests.faults.subscribers import Endpoint, Trouble
from tests.faults.system import System

_SECONDS = (1.0, 8.0)
"""Seconds, from what retries bridge to longer than the ack wait."""


def victim(system: System, chance: Random) -> Endpoint:
    """Return the endpoint of any subscription."""
    subscription = chance.choice(list(system.subscriptions.values()))
    return subscription.endpoint


async def kill_subscriber(system: System, chance: Random) -> None:
    endpoint = victim(system, chance)
    await endpoint.stop()
    await asyncio.sleep(chance.uniform(*_SECONDS))
    await endpoint.start()


async def hang_subscriber(system: System, chance: Random) -> None:
    """Let a subscriber hang and answer long after the attempts were given up."""
    await _have(victim(system, chance), Trouble.HUNG, chance)


async def refuse(system: System, chance: Random) -> None:
    await _have(victim(system, chance), Trouble.REFUSING, chance)


async def _have(endpoint: Endpoint, trouble: Trouble, chance: Random) -> None:
    endpoint.be(trouble)
    await asyncio.sleep(chance.uniform(*_SECONDS))
    endpoint.be(Trouble.NONE)


SUBSCRIBER_FAULTS = (
    Fault("subscriber: killed", Part.SUBSCRIBER, kill_subscriber),
    Fault("subscriber: hung", Part.SUBSCRIBER, hang_subscriber, Doubles.ALWAYS),
    Fault("subscriber: answers 503", Part.SUBSCRIBER, refuse),
)
