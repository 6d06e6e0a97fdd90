"""What may grow in a run of hours, by how much, and whether it did. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from statistics import median
from typing import cast

from tests.endurance.samples import Sample
from tests.endurance.slope import MINUTE, Point, Slope, binned, slope


def warm_up(seconds: float) -> float:
    """Return the seconds of such a run in which caches fill, and nothing is judged."""
    return max(900.0, seconds / 4)


@dataclass(frozen=True)
class Quantity:
    """A quantity that is judged.

    Attributes:
        name: Its name, with its unit.
        points: Its values over time.
        bound: By how much it may grow in an hour, beyond noise; None without a limit.
    """

    name: str
    points: Callable[[Sequence[Sample]], list[Point]]
    bound: float | None


@dataclass(frozen=True)
class Finding:
    """How a quantity developed after the warm-up."""

    quantity: Quantity
    median: float
    slope: Slope

    @property
    def grows(self) -> bool:
        """Whether it grows beyond its bound and beyond noise."""
        bound = self.quantity.bound
        return bound is not None and self.slope.exceeds(bound)


def _value(name: str, factor: float = 1.0) -> Callable[[Sequence[Sample]], list[Point]]:
    def points(samples: Sequence[Sample]) -> list[Point]:
        values = ((each.seconds / 3600, cast("float", getattr(each, name))) for each in samples)
        return [(hours, factor * value) for hours, value in values if not isnan(value)]

    return points


def _busy(samples: Sequence[Sample]) -> list[Point]:
    return [
        (
            after.seconds / 3600,
            100 * (after.cpu_seconds - before.cpu_seconds) / (after.seconds - before.seconds),
        )
        for before, after in pairwise(samples)
    ]


def _work(samples: Sequence[Sample]) -> list[Point]:
    """Compare with the load: on a busy machine all processes batch more, and need less."""
    shares = (
        (
            after.seconds / 3600,
            after.cpu_seconds - before.cpu_seconds,
            after.load_cpu_seconds - before.load_cpu_seconds,
        )
        for before, after in pairwise(samples)
    )
    return [(hours, own / load) for hours, own, load in shares if load > 0]


RESIDENT = Quantity("resident memory, MiB", _value("resident_mib"), 1.0)
BACKLOG = Quantity("backlog at the server of who is down, events", _value("backlog"), None)
SERVER = Quantity("resident memory of the server, MiB", _value("server_mib"), None)
FILES = Quantity("open files", _value("files"), 2.0)
THREADS = Quantity("threads", _value("threads"), 0.5)
TASKS = Quantity("asyncio tasks", _value("tasks"), 5.0)
TIMERS = Quantity("timers", _value("timers"), 5.0)
OBJECTS = Quantity("objects known to the collector", _value("objects"), 200.0)
IN_FLIGHT = Quantity("events in flight", _value("in_flight"), 5.0)
CPU = Quantity("CPU, % of a core", _busy, None)
WORK = Quantity("CPU, as a part of what the load takes", _work, 0.03)
DELAY = Quantity("post to receipt, 99th percentile, ms", _value("delay_p99", 1000), 5.0)

QUANTITIES = (
    RESIDENT, FILES, THREADS, TASKS, TIMERS, OBJECTS, IN_FLIGHT, CPU, WORK, DELAY, BACKLOG, SERVER,
)  # fmt: skip


def judge(
    samples: Sequence[Sample], begin: float | None = None, least: float = MINUTE
) -> list[Finding]:
    """Judge every quantity that has two points; none of a run that was too short.

    Args:
        samples: Those of a whole run.
        begin: Seconds to leave out, if not those of the warm-up.
        least: Hours that count as one point.
    """
    end = samples[-1].seconds if samples else 0.0
    begin = warm_up(end) if begin is None else begin
    counted = [sample for sample in samples if sample.seconds >= begin]
    found = []
    for quantity in QUANTITIES:
        points = binned(quantity.points(counted), least)
        if len(points) > 1:
            middle = median(value for _, value in points)
            found.append(Finding(quantity, middle, slope(points)))
    return found


HEADER = ("of the dispatcher, after warm-up", "median", "slope per hour", "between", "at most", "")


def table(findings: Iterable[Finding]) -> str:
    """Return a Markdown table."""
    lines = [HEADER, ("---", *["---:"] * (len(HEADER) - 2), "---"), *map(_cells, findings)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def growth(per_hour: float) -> str:
    """Return as many digits as matter."""
    return f"{per_hour:+,.{0 if abs(per_hour) >= 100 else 2}f}"


def _cells(finding: Finding) -> tuple[str, ...]:
    slope, bound = finding.slope, finding.quantity.bound
    return (
        finding.quantity.name,
        f"{finding.median:,.{1 if finding.median >= 10 else 2}f}",
        growth(slope.per_hour),
        f"{growth(slope.low)} and {growth(slope.high)}",
        "" if bound is None else f"{bound:g}",
        "" if bound is None else ("**grows**" if finding.grows else "flat"),
    )
