"""The long run, ``make chaos``: breaks everything, again and again, and prints what it cost.

A run is made of episodes of a few minutes, each with processes, a store and a seed of its own, so
that one can be repeated alone: ``python -m tests.faults --episode SEED``. What an episode was like
is kept if a rule was broken.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random, SystemRandom

from tests.faults.checker import check
from tests.faults.clock_faults import CLOCK_FAULTS
from tests.faults.desired_faults import DESIRED_FAULTS
from tests.faults.episode import play
from tests.faults.figures import Figures, figures, table
from tests.faults.handover_faults import HANDOVER_FAULTS
from tests.faults.nemesis import Fault
from tests.faults.network_faults import NETWORK_FAULTS
from tests.faults.process_faults import PROCESS_FAULTS
from tests.faults.rival_faults import RIVAL_FAULTS
from tests.faults.server_clock_faults import SERVER_CLOCK_FAULTS
from tests.faults.store_faults import STORE_FAULTS
from tests.faults.strikes import until
from tests.faults.subscriber_faults import SUBSCRIBER_FAULTS
from tests.faults.system import NotApplied, Setup
from tests.support.dispatcher_process import ProcessFailed
from tests.support.long_run import interruptible, tell
from tests.support.servers import ServerFailed

FAULTS: tuple[Fault, ...] = (
    *PROCESS_FAULTS,
    *NETWORK_FAULTS,
    *STORE_FAULTS,
    *SUBSCRIBER_FAULTS,
    *DESIRED_FAULTS,
    *RIVAL_FAULTS,
    *HANDOVER_FAULTS,
)
EPISODE_MINUTES = 4.0
PAIRS = 0.3
"""Share of strikes with two faults."""
SHOWN = 20
"""Violations of an episode that are printed."""


async def run_episode(seed: str, minutes: float, rows: dict[str, Figures]) -> bool:
    """Play one episode and add up its figures; return whether every rule was kept."""
    chance = Random(seed)
    clocks = chance.random() < 1 / 2
    folder = Path(tempfile.mkdtemp(prefix="natss-chaos-"))
    setup = Setup(folder, seed, dispatchers=chance.choice((1, 2)), clocks=clocks)
    faults = (*FAULTS, *CLOCK_FAULTS, *SERVER_CLOCK_FAULTS) if clocks else FAULTS
    tell(f"episode {seed}: {setup.dispatchers} dispatcher(s){', clocks' * clocks}")
    try:
        run = await play(setup, until(time.monotonic() + 60 * minutes, faults, chance, PAIRS))
    except (NotApplied, ProcessFailed, ServerFailed, TimeoutError) as error:
        tell(f"  broken off, see {folder}: {type(error).__name__}: {error}")
        return False
    except BaseException:
        shutil.rmtree(folder)
        raise
    for name, found in figures(run).items():
        rows.setdefault(name, Figures(name)).add(found)
    violations = check(run)
    accepted = sum(event.is_accepted for event in run.events.values())
    tell(f"  {len(run.faults)} faults, {len(run.events)} events, {accepted} accepted")
    if violations:
        tell(f"  {len(violations)} violations, see {folder}:")
        for violation in violations[:SHOWN]:
            tell(f"  {violation}")
    else:
        shutil.rmtree(folder)
    return not violations


async def run_all(minutes: float, seed: str) -> bool:
    """Play episode after episode; print the table even if interrupted."""
    end = time.monotonic() + 60 * minutes
    rows: dict[str, Figures] = {}
    number, is_kept = 0, True
    try:
        while (left := (end - time.monotonic()) / 60) > 0:
            is_kept &= await run_episode(f"{seed}-{number}", min(left, EPISODE_MINUTES), rows)
            number += 1
    finally:
        tell(f"\nSeed {seed}, {number} episodes:\n\n{table(rows.values())}")
    return is_kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", help="of all that is left to chance (default: any)")
    parser.add_argument("--episode", metavar="SEED", help="repeat only this one")
    options = parser.parse_args()
    if options.episode is not None:
        minutes = min(options.minutes, EPISODE_MINUTES)
        work = run_episode(options.episode, minutes, {})
    else:
        seed = options.seed or str(SystemRandom().randrange(10**6))
        work = run_all(options.minutes, seed)
    try:
        return 0 if asyncio.run(interruptible(work, "chaos")) else 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        tell("Interrupted; every process is ended.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
