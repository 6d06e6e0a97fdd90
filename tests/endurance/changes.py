"""Changes of the desired state, for runs of hours: each is undone, so that nothing grows by it."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from tests.faults.desired_faults import DESIRED_FAULTS
from tests.faults.system import POLICY, Subscription, System

Change = Callable[[System, Random], Awaitable[None]]


async def pass_by(system: System, chance: Random) -> None:
    """Create a channel with a subscriber, post to it, and delete it for good."""
    name = f"passing-{chance.getrandbits(32):08x}"
    guest = Subscription(f"guest-of-{name}", name, await system.endpoint(name))
    system.channels[name] = POLICY
    system.want(guest)
    system.write()
    await system.wait_subscribed(guest)
    await asyncio.sleep(chance.uniform(1.0, 3.0))
    system.give_up(guest, is_owed=False)
    del system.channels[name]
    system.write()
    await system.wait_removed(guest)


async def argue(system: System, chance: Random) -> None:
    """Change the arguments of a channel for a while, and restore them."""
    name = chance.choice(system.changeable_channels())
    arguments = system.channels[name]
    other = {"maxInflight": chance.choice((8, 64)), "ackWait": "PT7S", "timeout": "PT4S"}
    for wanted in ({**arguments, **other}, arguments):
        system.channels[name] = wanted
        system.write()
        await asyncio.sleep(chance.uniform(1.0, 3.0))
    await system.wait_subscribed(
        *(each for each in system.subscriptions.values() if each.channel == name)
    )


CHANGES: tuple[Change, ...] = (*(fault.run for fault in DESIRED_FAULTS), pass_by, argue)


class Unused:
    """Ends subscribers that no subscription uses any more, one round after that is found."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._found: set[str] = set()

    async def end(self) -> None:
        endpoints = self._system.endpoints
        used = {each.endpoint.name for each in self._system.subscriptions.values()}
        for name in self._found - used:
            await endpoints.pop(name).stop()
        self._found = endpoints.keys() - used
