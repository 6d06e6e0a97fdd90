"""Output of the demo: bars while events are on their way, and a table of the outcome."""

import asyncio
import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.demo.publisher import Publisher
from examples.demo.subscribers import Subscriber


def lost(publisher: Publisher, subscriber: Subscriber) -> set[str]:
    """Return what was answered 202 and has not arrived."""
    return publisher.accepted[subscriber.channel] - subscriber.delivered.keys()


@contextlib.contextmanager
def progress_of(
    publisher: Publisher, subscribers: list[Subscriber], events: int, console: Console
) -> Iterator[Progress]:
    """Show a bar for each channel and subscriber, of so many events each, until the block ends."""
    columns = TextColumn("{task.description:27}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bars = [
            (progress.add_task(f"answered 202 for {channel}", total=events), accepted)
            for channel, accepted in publisher.accepted.items()
        ] + [
            (progress.add_task(f"delivered to {s.name}", total=events), s.delivered)
            for s in subscribers
        ]

        def update() -> None:
            for bar, ids in bars:
                progress.update(bar, completed=len(ids))

        async def keep_updating() -> None:
            while True:
                update()
                await asyncio.sleep(0.1)

        updates = asyncio.create_task(keep_updating(), name="progress")
        try:
            yield progress
        finally:
            updates.cancel()
            update()


def table_of(publisher: Publisher, subscribers: list[Subscriber], events: int) -> Table:
    """Return a row for each subscriber. Only "lost" must be 0; a few copies are allowed."""
    table = Table(title="What became of the events")
    for name in ("channel", "subscriber"):
        table.add_column(name, no_wrap=True)
    for name in ("published", "answered\n202", "delivered\nunique", "duplicates", "lost"):
        table.add_column(name, justify="right", no_wrap=True)
    for s in subscribers:
        missing = len(lost(publisher, s))
        figures = events, len(publisher.accepted[s.channel]), len(s.delivered), s.duplicates
        style = "bold red" if missing else "green"
        table.add_row(s.channel, s.name, *map(str, figures), f"[{style}]{missing}[/]")
    return table
