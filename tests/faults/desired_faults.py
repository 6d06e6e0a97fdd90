"""The desired state changes under load. Nothing breaks, and nothing may be lost by it."""

import asyncio
import uuid
from random import Random

from tests.faults.nemesis import Fault, Part
from tests.faults.system import GRACE, Subscription, System

_WITHIN_GRACE = (0.0, 2.0)


def new_name(kind: str, chance: Random) -> str:
    """Return a name that nothing else has."""
    return f"{kind}-{chance.getrandbits(32):08x}"


async def add_and_remove(system: System, chance: Random) -> None:
    """Add a subscriber, let it receive events, and remove it for good."""
    name = new_name("guest", chance)
    channel = chance.choice(system.changeable_channels())
    guest = Subscription(name, channel, await system.endpoint(name))
    system.want(guest)
    system.write()
    await system.wait_subscribed(guest)
    await asyncio.sleep(chance.uniform(0.5, 3.0))
    system.give_up(guest, is_owed=False)
    system.write()
    await system.wait_removed(guest)


async def take_away(system: System, chance: Random) -> None:
    """Remove a subscription; bring it back within the grace, as the same or created anew."""
    gone = chance.choice(system.changeable_subscriptions())
    system.give_up(gone, is_owed=True)
    system.write()
    await system.wait_removed(gone)
    await asyncio.sleep(chance.uniform(*_WITHIN_GRACE))
    uid = chance.choice((gone.uid, str(uuid.UUID(int=chance.getrandbits(128)))))
    back = Subscription(gone.name, gone.channel, gone.endpoint, uid)
    system.want(back)
    system.write()
    await system.wait_subscribed(back)


async def remake(system: System, chance: Random) -> None:
    """Delete a subscription and create it anew so quickly that only its uid tells."""
    old = chance.choice(system.changeable_subscriptions())
    uid = str(uuid.UUID(int=chance.getrandbits(128)))
    new = Subscription(old.name, old.channel, old.endpoint, uid)
    system.want(new)
    system.write()
    await system.wait_subscribed(new)


async def take_away_for_long(system: System, chance: Random) -> None:
    """Bring a subscription back after the grace, when its durable is gone: it is new then."""
    gone = chance.choice(system.changeable_subscriptions())
    system.give_up(gone, is_owed=False)
    system.write()
    await system.wait_removed(gone)
    await asyncio.sleep(GRACE + chance.uniform(0.0, 3.0))
    system.want(gone)
    system.write()
    await system.wait_subscribed(gone)


async def retarget(system: System, chance: Random) -> None:
    """Move a subscription to another address, of the same nature."""
    moved = chance.choice(system.changeable_subscriptions())
    endpoint = await system.endpoint(new_name(moved.name, chance), moved.endpoint.nature)
    await system.retarget(moved.name, endpoint)


async def remake_channel(system: System, chance: Random) -> None:
    """Delete a channel with its subscriptions; bring it back within the grace."""
    name = chance.choice(system.changeable_channels())
    arguments = system.channels.pop(name)
    gone = [each for each in system.subscriptions.values() if each.channel == name]
    system.give_up(*gone, is_owed=True)
    system.write()
    await system.wait_removed(*gone)
    await asyncio.sleep(chance.uniform(*_WITHIN_GRACE))
    system.channels[name] = arguments
    system.want(*gone)
    system.write()
    await system.wait_subscribed(*gone)


DESIRED_FAULTS = (
    Fault("wanted: subscriber added and removed", Part.WANTED, add_and_remove),
    Fault("wanted: subscriber removed, back within the grace", Part.WANTED, take_away),
    Fault("wanted: subscriber removed, back after the grace", Part.WANTED, take_away_for_long),
    Fault("wanted: subscriber made anew", Part.WANTED, remake),
    Fault("wanted: subscriber retargeted", Part.WANTED, retarget),
    Fault("wanted: channel deleted and made anew", Part.WANTED, remake_channel),
)
