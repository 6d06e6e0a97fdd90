"""A dispatcher that lacks a mechanism is caught, so a run without findings means something."""

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
"""In seconds: longer than the ack wait; what is lost never arrives."""

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
    """Cut while subscribers hang: without acks, the server sends again what is being delivered."""
    for endpoint in system.endpoints.values():
        endpoint.be(Trouble.HUNG)
    await asyncio.sleep(1.0)
    system.proxy.cut()
    await asyncio.sleep(1.5)
    for endpoint in system.endpoints.values():
        endpoint.be(Trouble.NONE)


async def lower_the_limit_of_channels(system: System, chance: Random) -> None:
    """Lower the limit, so that the server answers posts to the third channel with an error."""
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
    """Refuse for a moment: events fail one after the other, and each waits for its own time."""
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
"""By missing mechanism: a strike that shows it, and the rule that is broken."""


async def broken_rules(folder: Path, alteration: str, strike: Run) -> set[str]:
    """Return the rules that a short run with an altered dispatcher breaks."""
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
