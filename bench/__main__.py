"""``make bench``: measures everything, shows tables, writes ``bench/RESULTS.md``."""

import argparse
import asyncio
import datetime as dt
import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from bench.cases import BASE, FILE, cases
from bench.comparison import Comparison, compare
from bench.ends import MeasurementFailed
from bench.measure import machine
from bench.report import (
    Figures,
    comparison_figures,
    goal_figures,
    latency_figures,
    speed_figures,
)
from bench.whole import Result, run
from tests.support.dispatcher_process import ProcessFailed
from tests.support.servers import BINARY, ServerFailed

RESULTS = Path(__file__).with_name("RESULTS.md")
ROUNDS = 3

EXPLANATION = """
All processes share the machine: NATS Streaming, the dispatcher, the load generator and the sink
(both compiled, about 8 µs of CPU an event each, most of it in the kernel). The load generator
holds 64 connections, each with one event at a time; an event is a binary CloudEvent. Whatever else
the machine does takes from these figures: see the load average.

Cases differ from the base case in what their name says. The base case is: MEMORY store, one
channel, one subscriber that answers at once, 270 bytes as stored, as many events as are answered.
There the time until an event is delivered is mostly that in the queue, because events are taken in
faster than they go out; the cases with a fixed rate show what an event takes on its own. Before a
case is measured the same is done with 2,000 events.

- events/s: from the first request to the last delivery; out/s: deliveries in that time
- µs: CPU for each event posted, user and system
- MiB: memory of the dispatcher, before a case and after it
- copies: deliveries of what had been delivered already

The parts are the same code as in the dispatcher: `nats_streaming` with one session that publishes
and one that subscribes; `dispatcher.ingress` in front of a store that says yes at once, so making
the stored form is in it; `dispatcher.egress`. Each is measured three times in turn with the whole;
the figures are medians.
"""


async def measure(*, quick: bool, console: Console) -> tuple[list[Comparison], list[Result]]:
    """Run all cases; the first ones, which are compared with their parts, three times."""
    selected = cases(quick=quick)
    compared = {BASE.name} if quick else {BASE.name, FILE.name}
    comparisons: list[Comparison] = []
    results: list[Result] = []
    for number, case in enumerate(selected, 1):
        console.print(f"{number} of {len(selected)}: {case.name}")
        with tempfile.TemporaryDirectory(prefix="natss-bench-") as folder:
            if case.name in compared:
                comparison = await compare(case, Path(folder), 1 if quick else ROUNDS)
                comparisons.append(comparison)
                results.append(comparison.result)
            else:
                results.append(await run(case, Path(folder)))
    return comparisons, results


async def interruptible(*, quick: bool, console: Console) -> tuple[list[Comparison], list[Result]]:
    """Run ``measure``; end as tidily on SIGTERM as on Ctrl-C."""
    task = asyncio.create_task(measure(quick=quick, console=console), name="benchmarks")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def conditions() -> str:
    """Return machine, versions and date."""
    server = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True)
    packages = ("uvloop", "httptools", "nats-py", "protobuf", "orjson")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return "\n".join(
        [
            f"- Date: {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC, {_commit()}",
            f"- Machine: {machine()}; load average before: {load}",
            f"- Python {platform.python_version()}, {versions}",
            f"- {server.stdout.strip()}",
        ]
    )


def _commit() -> str:
    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return result.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"commit {git('rev-parse', '--short', 'HEAD') or 'unknown'}{changed}"


def write_results(begun: str, tables: list[Figures]) -> None:
    text = "\n\n".join(table.as_markdown() for table in tables)
    head = "# Results of `make bench`\n\nWritten by it; not edited by hand.\n"
    RESULTS.write_text(f"{head}\n{begun}\n\n{text}\n\n## How to read this\n{EXPLANATION}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, nothing is written")
    quick: bool = parser.parse_args().quick
    console = Console(highlight=False)
    begun = conditions()
    console.print(escape(begun))
    try:
        comparisons, results = asyncio.run(interruptible(quick=quick, console=console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Interrupted; nothing is written.")
        return 130
    except (MeasurementFailed, ProcessFailed, ServerFailed) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    tables = [
        comparison_figures(comparisons),
        speed_figures(results),
        latency_figures(results),
        goal_figures(comparisons, results),
    ]
    for table in tables:
        console.print(table.for_terminal())
    if not quick:
        write_results(begun, tables)
        console.print(f"written to {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
