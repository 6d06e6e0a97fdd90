"""What happened in a run: posts, answers, receipts, and faults.

Each entry is a line of JSON in a file, so that a run can be judged again, and read beside the logs:
a line has the wall clock's time besides the monotonic one. ``tests.faults.checker`` judges what it
means.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

NO_ANSWER = 0
"""In place of a status: the connection broke, or no answer came in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that happened ``at`` a time (monotonic seconds)."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted(Entry):
    """A publisher begins to post an event; its id is used once."""

    event: str
    channel: str
    dispatcher: int
    """The dispatcher that it is posted to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Entry):
    """The publisher has its answer, or has given up."""

    event: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Entry):
    """A subscriber received an event. ``at`` is when it was complete."""

    event: str
    subscription: str
    address: str
    """Where it was sent to: a subscription may move from one address to another."""
    status: int
    """That of the subscriber's answer; ``NO_ANSWER`` if it gave none."""
    answered_at: float
    intact: bool
    """Whether headers and body are as they were posted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted(Entry):
    """The desired state is about to have this subscription at this address."""

    subscription: str
    channel: str
    address: str
    punctual: bool
    """Whether its subscriber answers at once unless a fault breaks it."""
    in_order: bool
    """Whether its channel promises the order of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed(Entry):
    """A dispatcher reports that the durable is open: from now on events are owed."""

    subscription: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwanted(Entry):
    """The desired state is about to lose this subscription, or this address of it."""

    subscription: str
    address: str
    is_owed: bool
    """Whether events are owed all the same: it will come back within the grace for removed
    subscriptions, or has another address. Otherwise what has not arrived by now never has to.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed(Entry):
    """Every dispatcher reports that it no longer delivers to this address."""

    subscription: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultBegan(Entry):
    """Something is being broken."""

    fault: str
    number: int
    strike: int
    """Faults that begin together have the same strike."""
    may_double: bool
    """Whether it excuses duplicates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultEnded(Entry):
    """The cause is gone: from now on everything must recover on its own."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiped(Entry):
    """The server is down and its store is removed, with what was posted before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Entry):
    """The store has this event, as seen at the end of the run."""

    event: str
    channel: str


KINDS = (
    Posted,
    Answered,
    Received,
    Wanted,
    Subscribed,
    Unwanted,
    Removed,
    FaultBegan,
    FaultEnded,
    Wiped,
    Stored,
)
_BY_NAME: dict[str, type[Entry]] = {kind.__name__: kind for kind in KINDS}


class Notes(Protocol):
    """Records what happens."""

    def add(self, entry: Entry) -> None: ...


class History:
    """Collects entries and writes them to a file; ``with`` closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self._file = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        line = {"kind": type(entry).__name__, "wall": round(time.time(), 6), **asdict(entry)}
        self._file.write(json.dumps(line) + "\n")


def read(lines: Iterable[str]) -> list[Entry]:
    """Return the entries of a file.

    Raises:
        ValueError: a line is not an entry; the text has its number.
    """
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            kind = _BY_NAME[values["kind"]]
            entries.append(kind(**{field.name: values[field.name] for field in fields(kind)}))
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"line {number} is no entry of a history: {error!r}") from error
    return entries
