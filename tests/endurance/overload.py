"""``make overload``: every overload in its full size, one after the other, and a table of it.

python -m tests.endurance.overload [--only WORDS]
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tests.endurance import fairness
from tests.endurance.overload_run import Outcome
from tests.endurance.overload_scenarios import SCENARIOS, run
from tests.support.long_run import interruptible, tell

_HEAD = (
    "| scenario | posted | 202 | 503 | lost | copies | MiB before, highest, after"
    " | slowest answer | slowest /healthz | recovery |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def row(outcome: Outcome) -> str:
    """Return a line of the table, in Markdown."""
    memory = f"{outcome.before:.0f}, {outcome.highest:.0f}, {outcome.after:.0f}"
    recovery = "never" if outcome.recovery is None else f"{outcome.recovery:.1f} s"
    return (
        f"| {outcome.scenario} | {outcome.posted:,} | {outcome.accepted:,} | {outcome.refused:,}"
        f" | {outcome.lost} | {outcome.copies} | {memory} | {outcome.slowest_answer:.1f} s"
        f" | {outcome.slowest_health * 1000:.0f} ms | {recovery} |"
    )


async def _overload(only: str) -> list[str]:
    """Print the table as it grows; return what was broken, in words."""
    broken = []
    tell(_HEAD)
    for scenario in SCENARIOS:
        if only not in scenario.name:
            continue
        with tempfile.TemporaryDirectory(prefix="overload-") as folder:
            outcome = await run(scenario, scenario.full, Path(folder))
        tell(row(outcome))
        broken += [f"{scenario.name}: {text}" for text in outcome.broken_rules()]
    return broken


async def _fairness(only: str) -> list[str]:
    broken = []
    tell(f"\n{fairness.HEAD}")
    for disturbance in fairness.DISTURBANCES:
        if only not in disturbance.name:
            continue
        with tempfile.TemporaryDirectory(prefix="fairness-") as folder:
            compared = await fairness.compare(disturbance, disturbance.full, Path(folder))
        tell(compared.as_row())
        if not compared.is_fair("p99"):
            broken.append(f"{disturbance.name}: others take too long")
    return broken


async def _all(only: str) -> bool:
    """Run all; return whether no rule was broken."""
    broken = [*await _overload(only), *await _fairness(only)]
    for text in broken:
        tell(f"BROKEN: {text}")
    return not broken


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit status: 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance.overload", description=__doc__)
    parser.add_argument("--only", default="", help="scenarios with these words in their names")
    only = parser.parse_args(argv).only
    try:
        return 0 if uvloop.run(interruptible(_all(only), "overload")) else 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        tell("Interrupted; every process is ended.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
