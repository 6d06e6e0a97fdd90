"""A Subscription is created anew, with another uid, while a fault hits what knows its position.

Its events wait at the server, unseen: the subscriber is down, or the durable has not sent any yet.
They are owed to the new Subscription.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from random import Random

from tests.faults.desired_faults import new_name
from tests.faults.nemesis import Doubles, Fault, Part
from tests.faults.system import Dispatcher, Subscription, System

_BACKLOG = (1.0, 3.0)
"""Seconds in which the backlog grows."""

_LATER = (2.2, 4.0)
"""Seconds after which a dispatcher might conclude that it has been sent all that is pending."""

_SHORTLY = (0.0, 0.4)
"""Seconds in which a dispatcher may or may not notice the desired state."""

_DELAY = (0.0, 0.3)
"""Seconds, each way."""

_TAKING_OVER = (0.0, 5.0)
"""Seconds before and after another dispatcher has the client id."""

_SLOW, _SLOWER = 2000, 100
"""Bytes per second: enough to open a durable, and not enough for an event of it."""


async def remake_after_sigkill(system: System, chance: Random) -> None:
    await _remake_after(Dispatcher.kill, system, chance)


async def remake_after_sigterm(system: System, chance: Random) -> None:
    await _remake_after(Dispatcher.stop, system, chance)


async def _remake_after(
    end: Callable[[Dispatcher], Awaitable[object]], system: System, chance: Random
) -> None:
    """Remove it, restart the dispatcher, and create it anew later, within the grace."""
    gone = await _leave_backlog(system, chance)
    await _remove(system, gone)
    dispatcher = await system.delivering() or system.dispatchers[0]
    await end(dispatcher)
    await dispatcher.launch()
    await dispatcher.wait_ready()
    await asyncio.sleep(chance.uniform(*_LATER))
    await _make_anew(system, gone, chance)


async def remake_during_take_over(system: System, chance: Random) -> None:
    """Remove it, and create it anew during a failover to another dispatcher, or just before."""
    rival = system.add_dispatcher() if len(system.dispatchers) == 1 else None
    if rival is not None:
        await rival.start()
    champion = await system.delivering() or system.dispatchers[0]
    gone = await _leave_backlog(system, chance)
    await _remove(system, gone)
    await champion.kill()
    await asyncio.sleep(chance.uniform(*_TAKING_OVER))
    await _make_anew(system, gone, chance)
    await champion.launch()
    await champion.wait_ready()
    if rival is not None:
        await rival.stop()
        system.dispatchers.remove(rival)


async def remake_over_slow_link(system: System, chance: Random) -> None:
    """Create it anew while the old durable is open for seconds before its first event comes."""
    old = await _leave_backlog(system, chance)
    dispatcher = await system.delivering() or system.dispatchers[0]
    await dispatcher.kill()
    new = _anew(old, chance)
    system.want(new)
    system.write()
    system.proxy.limit(_SLOW)
    await dispatcher.launch()
    await system.wait_open(old)
    system.proxy.limit(_SLOWER)
    await asyncio.sleep(chance.uniform(*_LATER))
    system.proxy.release()
    await system.wait_subscribed(new)
    await new.endpoint.start()


async def remake_repeatedly(system: System, chance: Random) -> None:
    """Create a new subscriber anew several times, too quickly to receive what it was sent.

    In a channel with few events that may be before its first one. A link that delays leaves open
    whether the server has answered the last request.
    """
    name = new_name("newcomer", chance)
    channel = chance.choice(system.changeable_channels())
    latest = Subscription(name, channel, await system.endpoint(name))
    system.want(latest)
    system.write()
    await system.wait_subscribed(latest)
    system.proxy.delay(chance.uniform(*_DELAY))
    for removed in (_SHORTLY, _LATER, _SHORTLY, _LATER, _SHORTLY)[: chance.randint(3, 5)]:
        system.give_up(latest, is_owed=True)
        system.write()
        await asyncio.sleep(chance.uniform(*removed))
        latest = _anew(latest, chance)
        system.want(latest)
        system.write()
        await asyncio.sleep(chance.uniform(*_SHORTLY))
    system.proxy.release()
    await system.wait_subscribed(latest)


async def _leave_backlog(system: System, chance: Random) -> Subscription:
    """Have a subscriber down while events arrive for it."""
    down = chance.choice(system.changeable_subscriptions())
    await down.endpoint.stop()
    await asyncio.sleep(chance.uniform(*_BACKLOG))
    return down


async def _remove(system: System, gone: Subscription) -> None:
    system.give_up(gone, is_owed=True)
    system.write()
    await system.wait_removed(gone)


async def _make_anew(system: System, gone: Subscription, chance: Random) -> None:
    back = _anew(gone, chance)
    system.want(back)
    system.write()
    await system.wait_subscribed(back)
    await back.endpoint.start()


def _anew(old: Subscription, chance: Random) -> Subscription:
    uid = str(uuid.UUID(int=chance.getrandbits(128)))
    return Subscription(old.name, old.channel, old.endpoint, uid)


_ALL_BUT_SERVER = Part.DISPATCHER | Part.SUBSCRIBER | Part.WANTED

HANDOVER_FAULTS = (
    Fault(
        "made anew: while down, after SIGKILL",
        _ALL_BUT_SERVER,
        remake_after_sigkill,
        Doubles.ALWAYS,
    ),
    Fault(
        "made anew: while down, after SIGTERM",
        _ALL_BUT_SERVER,
        remake_after_sigterm,
        Doubles.UNLESS_ALONE,
    ),
    Fault(
        "made anew: while down, during a take-over",
        _ALL_BUT_SERVER,
        remake_during_take_over,
        Doubles.ALWAYS,
    ),
    Fault(
        "made anew: while down, over a slow link",
        _ALL_BUT_SERVER | Part.CONNECTION,
        remake_over_slow_link,
        Doubles.ALWAYS,
    ),
    Fault(
        "made anew: several times in a row",
        Part.WANTED | Part.CONNECTION,
        remake_repeatedly,
        Doubles.IF_TAKEN_OVER,
    ),
)
