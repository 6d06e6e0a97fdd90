"""The dispatcher, which also counts in ``/metrics`` what it holds: tasks, timers, objects.

Run it like its command; nothing else is changed. Objects are counted by type. No event loop reports
its timers, so those that the garbage collector knows are counted. ``FAULTS_ALTERATION`` names one
of ``LEAKS``, which the verdict has to catch.
"""

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from dispatcher import main as dispatcher
from dispatcher.admin.exposition import Exposition
from dispatcher.delivery.window import PendingEvent, Window
from tests.faults.altered_dispatcher import ALTERATION

TASKS = "endurance_tasks"
TIMERS = "endurance_timers"
OBJECTS = "endurance_objects"

_FEWEST = 10
"""The fewest objects of a type that is shown by its name; others count in the total."""


def count() -> None:
    """Count with every scrape."""
    parts = Exposition.parts

    def parts_and_counts(self: Exposition) -> Iterator[bytes]:
        yield from parts(self)
        yield _counts().encode()

    Exposition.parts = parts_and_counts  # type: ignore[method-assign]


def _counts() -> str:
    """Return the counts.

    What existed before the first channels is kept from the collector, and not counted.
    """
    objects: Counter[str] = Counter()
    timers = 0
    for each in gc.get_objects():
        kind = type(each)
        objects[f"{kind.__module__}.{kind.__qualname__}"] += 1
        timers += kind.__name__ == "TimerHandle"
    others = sum(number for number in objects.values() if number < _FEWEST)
    lines = [
        f"{TASKS} {len(asyncio.all_tasks())}",
        f"{TIMERS} {timers}",
        f'{OBJECTS}{{type="others"}} {others}',
        *(
            f'{OBJECTS}{{type="{name}"}} {number}'
            for name, number in objects.items()
            if number >= _FEWEST
        ),
    ]
    return "\n".join([*lines, ""])


def keep_events() -> None:
    """Leak events, and more than that: a process that has just started grows by itself."""
    kept: list[tuple[PendingEvent, bytes]] = []
    _with_each_event(lambda record: kept.append((record, b"x" * 65536)))


def leave_timers() -> None:
    _with_each_event(lambda _: asyncio.get_running_loop().call_later(86_400, int))


def leave_tasks() -> None:
    kept: list[asyncio.Task[None]] = []
    _with_each_event(lambda _: kept.append(asyncio.create_task(asyncio.sleep(86_400))))


def leave_files_open() -> None:
    kept: list[IO[bytes]] = []
    _with_each_event(lambda _: kept.append(Path(os.devnull).open("rb")))  # noqa: SIM115  it leaks


def _with_each_event(leak: Callable[[PendingEvent], object]) -> None:
    """Leak with each event when it is settled."""
    settle = Window.settle

    def settle_and_leak(self: Window, record: PendingEvent) -> bool:
        leak(record)
        return settle(self, record)

    Window.settle = settle_and_leak  # type: ignore[method-assign]


LEAKS: dict[str, Callable[[], None]] = {
    leak.__name__: leak for leak in (keep_events, leave_timers, leave_tasks, leave_files_open)
}


def main() -> None:
    count()
    if ALTERATION in os.environ:
        LEAKS[os.environ[ALTERATION]]()
    dispatcher.main()


if __name__ == "__main__":
    main()
