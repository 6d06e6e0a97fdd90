"""Random walks over what is wanted, restarts, take-overs and slow links; see ``make help``.

Exits with 1 if an event was lost, or came twice without a reason, and prints the seeds.
"""

import argparse
import logging
import sys
import time

import structlog

from tests.walks.walk import Outcome, walk

EVERY = 500


def main() -> int:
    """Make the walks that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.walks", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="1, or 2 with a standby")
    parser.add_argument("--steps", type=int, default=40, help="of each walk (%(default)s)")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    begun = time.perf_counter()
    outcomes = []
    for number, seed in enumerate(range(arguments.first, arguments.first + arguments.count), 1):
        outcome = walk(seed, processes=arguments.processes, steps=arguments.steps)
        outcomes.append(outcome)
        if outcome.lost or _is_unexplained(outcome):
            print(_show(outcome), flush=True)
        if number % EVERY == 0:
            print(f"{number} walks, {time.perf_counter() - begun:.0f} s", flush=True)
    lost = sum(len(each.lost) for each in outcomes)
    unexplained = sum(each.twice for each in outcomes if _is_unexplained(each))
    print(
        f"{len(outcomes)} walks with {arguments.processes} process(es):"
        f" {sum(each.events for each in outcomes)} events, {lost} lost,"
        f" {unexplained} came twice without a reason,"
        f" {sum(each.twice for each in outcomes)} came twice in all"
    )
    return 1 if lost or unexplained else 0


def _is_unexplained(outcome: Outcome) -> bool:
    return bool(outcome.twice) and not outcome.is_disturbed


def _show(outcome: Outcome) -> str:
    steps = " ".join(step.removeprefix("_") for step in outcome.steps)
    lost = ", ".join(outcome.lost) or "nothing"
    return f"seed {outcome.seed}: lost {lost}; {outcome.twice} came twice; steps: {steps}"


if __name__ == "__main__":
    sys.exit(main())
