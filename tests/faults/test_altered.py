"""A dispatcher that lacks a mechanism is caught, so that a run which finds nothing means it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from tests.faults import altered_dispatcher as altered
from tests.faults.checker import UNDER_WAY, check
from tests.faults.episode import play
from tests.faults.load import Pace
from tests.faults.nemesis import Fault, Part
from tests.faults.store_faults import wipe
from tests.faults.subscribers import Trouble
from tests.faults.system import Setup, System

PATIENCE = 6.5
"""Seconds: longer than the ack wait, and what is lost never comes."""

Run = Callable[[System, Random], Awaitable[None]]


async def kill_while_subscribers_hang(system: System, _: Random) -> None:
    for endpoint in system.endpoints.values():
        endpoint.be(Trouble.HUNG)
    await asyncio.sleep(1.0)
    await system.dispatchers[0].kill()
    for endpoint in system.endpoints.values():
        await endpoint.stop()
        await endpoint.start()
    await system.dispatchers[0].launch()


async def cut_while_subscribers_hang(system: System, _: Random) -> None:
    """What is being delivered is sent again by the server, which has no acks of it."""
    for endpoint in system.endpoints.values():
        endpoint.be(Trouble.HUNG)
    await asyncio.sleep(1.0)
    system.proxy.cut()
    await asyncio.sleep(1.5)
    for endpoint in system.endpoints.values():
        endpoint.be(Trouble.NONE)


async def lower_the_limit_of_channels(system: System, chance: Random) -> None:
    """The server answers with an error what is posted to the third channel."""
    limits = system.server.streaming
    system.server.streaming = f"{limits}\n store_limits {{ max_channels: 2 }}"
    await wipe(system, chance)
    await asyncio.sleep(2.0)
    await system.server.stop()
    system.server.streaming = limits
    await system.server.start()


async def remove_and_wait(system: System, _: Random) -> None:
    gone = system.subscriptions["orders-quick"]
    system.give_up(gone, is_owed=False)
    system.write()
    await system.wait_removed(gone)
    await asyncio.sleep(UNDER_WAY + 1.0)


async def refuse_for_a_moment(system: System, _: Random) -> None:
    """Events fail one after the other, and each waits for its own time."""
    endpoint = system.subscriptions["trips-flaky"].endpoint
    endpoint.be(Trouble.REFUSING)
    await asyncio.sleep(1.5)
    endpoint.be(Trouble.NONE)


CAUGHT = {
    altered.ack_before_it_is_settled: (kill_while_subscribers_hang, "lost"),
    altered.do_not_subscribe_again: (wipe, "lost"),
    altered.ignore_errors_in_pubacks: (lower_the_limit_of_channels, "not stored"),
    altered.deliver_copies: (cut_while_subscribers_hang, "unexplained duplicate"),
    altered.go_on_after_removal: (remove_and_wait, "after removal"),
    altered.take_no_heed_of_order: (refuse_for_a_moment, "out of order"),
}
"""By what is missing: a strike that shows it, and the rule that is broken."""


async def broken_rules(folder: Path, alteration: str, strike: Run) -> set[str]:
    """Of a short run in which the dispatcher is altered."""
    setup = Setup(
        folder, alteration, pace=Pace(per_second=30.0), alteration=alteration, patience=PATIENCE
    )
    run = await play(setup, [(Fault(strike.__name__, Part.DISPATCHER, strike),)])
    return {violation.rule for violation in check(run)}


@pytest.mark.timeout(180)
async def test_what_is_missing_is_caught(tmp_path: Path) -> None:
    assert set(CAUGHT) == set(altered.ALTERATIONS.values())
    names = [alteration.__name__ for alteration in CAUGHT]
    for name in names:
        (tmp_path / name).mkdir()
    runs = (
        broken_rules(tmp_path / name, name, strike)
        for name, (strike, _) in zip(names, CAUGHT.values(), strict=True)
    )
    broken = dict(zip(names, await asyncio.gather(*runs), strict=True))
    missed = [a.__name__ for a, (_, rule) in CAUGHT.items() if rule not in broken[a.__name__]]
    assert missed == [], broken
