"""``make soak``: an hour of load, and whether anything grew or was lost. The status is 1 if so."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

import uvloop

from bench.measure import machine
from tests.endurance.graph import draw, title_of
from tests.endurance.samples import Sample, SampleFile
from tests.endurance.soak import Plan, Run, soak
from tests.endurance.verdict import judge, table
from tests.faults.system import NotApplied
from tests.support.dispatcher_process import ProcessFailed
from tests.support.long_run import interruptible, tell
from tests.support.servers import ServerFailed

_TOLD_EVERY = 300.0
"""Seconds between two lines about the progress."""

_SHOWN = 15
"""Types of objects that are named if something grew."""


class Progress:
    """Writes each sample down, and prints the progress at intervals."""

    def __init__(self, file: SampleFile) -> None:
        self._file = file
        self._next = 0.0

    def __call__(self, sample: Sample) -> None:
        self._file.add(sample)
        if sample.seconds >= self._next:
            self._next += _TOLD_EVERY
            tell(
                f"{sample.seconds / 60:4.0f} min: {sample.resident_mib:.1f} MiB, "
                f"{sample.files:.0f} files, {sample.tasks:.0f} tasks, {sample.timers:.0f} timers, "
                f"{sample.objects:.0f} objects, p99 {1000 * sample.delay_p99:.0f} ms, "
                f"{sample.backlog:.0f} events for who is down"
            )


async def run_one(plan: Plan, seed: str, graph: Path | None) -> bool:
    """Run one; return whether nothing grew and nothing was lost."""
    folder = Path(tempfile.mkdtemp(prefix="natss-soak-"))
    tell(f"seed {seed}, {plan.minutes:g} minutes, see {folder}; {machine()}")
    run: Run | None = None
    try:
        with SampleFile(folder / "samples.csv") as file:
            run = await soak(plan, folder, seed, Progress(file))
    except* (NotApplied, ProcessFailed, ServerFailed, OSError) as group:
        for error in group.exceptions:
            tell(f"broken off: {type(error).__name__}: {error}")
    finally:
        shutil.rmtree(folder / "server", ignore_errors=True)
    if run is None:
        return False
    draw(run.samples, title_of(run.samples), graph or folder / "soak.png")
    return report(plan, run)


def report(plan: Plan, run: Run) -> bool:
    """Print the outcome; return whether all is well."""
    ledger = run.ledger
    findings = judge(run.samples)
    growing = [finding for finding in findings if finding.grows]
    otherwise = ", ".join(f"{number} {status}" for status, number in ledger.otherwise.items())
    lost = sum(map(len, run.lost.values()))
    growth = table(findings) if findings else "Too short to tell what grows: take half an hour."
    tell(
        f"\n{growth}\n\n"
        f"{ledger.accepted} events answered 202 ({ledger.accepted / plan.minutes / 60:.0f} a "
        f"second), otherwise: {otherwise or 'none'}; {run.changes.total()} changes; "
        f"{ledger.taken} receipts, {ledger.repeated} of them twice, {ledger.damaged} damaged; "
        f"lost: {lost}"
    )
    for name, events in run.lost.items():
        tell(f"lost by {name}: {', '.join(sorted(events)[:_SHOWN])}")
    if growing:
        tell("objects that there are more of:")
        for name, more in run.most_grown(_SHOWN):
            tell(f"  {more:+} {name}")
    return not (growing or lost or ledger.damaged)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", help="of all that is left to chance (default: any)")
    parser.add_argument("--graph", type=Path, help="the picture (default: beside the samples)")
    parser.add_argument(
        "--none-down", action="store_true", help="without subscribers that are never there"
    )
    options = parser.parse_args()
    seed = options.seed or str(SystemRandom().randrange(10**6))
    plan = Plan(options.minutes, with_down=not options.none_down)
    try:
        is_well = uvloop.run(interruptible(run_one(plan, seed, options.graph), "soak"))
    except (KeyboardInterrupt, asyncio.CancelledError):
        tell("Interrupted; every process is ended.")
        return 130
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
