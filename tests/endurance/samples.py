"""What is sampled again and again in a run of hours: of the dispatcher, and of its server."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Self

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_TYPE = re.compile(r'type="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment; of the dispatcher unless stated otherwise."""

    seconds: float
    """Since the beginning of the run."""
    resident_mib: float
    files: float
    """Open file descriptors."""
    threads: float
    tasks: float
    """Of asyncio."""
    timers: float
    """That the event loop holds."""
    objects: float
    """That the garbage collector knows and that were made since the start."""
    in_flight: float
    """Events received and not settled, of all subscriptions."""
    cpu_seconds: float
    """Since the start."""
    load_cpu_seconds: float
    """Of publishers and subscribers, which are one process."""
    delay_p99: float
    """Seconds from post to receipt by a quick subscriber, since the sample before."""
    backlog: float
    """Events that the server has for subscribers that are never there."""
    server_mib: float
    """Resident memory of the server."""

    @classmethod
    def of_row(cls, row: Sequence[str]) -> Self:
        """Read a row. Raises ValueError if it is not a sample."""
        if len(row) != len(fields(cls)):
            raise ValueError(f"{len(row)} values instead of {len(fields(cls))}: {row}")
        return cls(*map(float, row))


class SampleFile:
    """Writes samples as CSV, each at once, so that an aborted run has them.

    ``with`` closes it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8", buffering=1)
        self._rows = csv.writer(self._file)
        self._rows.writerow(field.name for field in fields(Sample))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._file.close()

    def add(self, sample: Sample) -> None:
        self._rows.writerow(f"{value:.6g}" for value in astuple(sample))


def read_csv(path: Path) -> list[Sample]:
    """Read a file. Raises ValueError if ``SampleFile`` did not write it."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header, known = next(rows, []), [field.name for field in fields(Sample)]
        if header != known:
            raise ValueError(f"{path}: the columns are {header} instead of {known}")
        return [Sample.of_row(row) for row in rows]


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  only their number


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208  only their number


class Scrape:
    """A page of ``/metrics``.

    Args:
        text: The page as it is served.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def total(self, metric: str) -> float:
        """Return the sum over all labels; 0 if there is none."""
        return sum(value for _, value in self._series(metric))

    def by_type(self, metric: str) -> Counter[str]:
        """Return the values by the label ``type``."""
        found: Counter[str] = Counter()
        for labels, value in self._series(metric):
            if type_ := _TYPE.search(labels):
                found[type_[1]] += int(value)
        return found

    def _series(self, metric: str) -> Iterator[tuple[str, float]]:
        for name, labels, value in _LINE.findall(self._text):
            if name == metric:
                yield labels, float(value)
