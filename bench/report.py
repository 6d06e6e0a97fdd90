"""Figures as tables: on the terminal and as the Markdown of ``RESULTS.md``. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from bench.comparison import Comparison
from bench.whole import Result


@dataclass(frozen=True, slots=True)
class Figures:
    """A table of texts; the first column is on the left, the others are on the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def for_terminal(self) -> Table:
        table = Table(
            title=self.title,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*(text.replace("**", "") for text in row))
        return table

    def as_markdown(self) -> str:
        lines = [
            f"## {self.title}",
            "",
            f"| {' | '.join(self.columns)} |".replace("\n", " "),
            "|---|" + "---:|" * (len(self.columns) - 1),
            *(f"| {' | '.join(row)} |" for row in self.rows),
        ]
        return "\n".join(lines)


def comparison_figures(comparisons: Sequence[Comparison]) -> Figures:
    rows = [
        ("NATS Streaming: publish, PubAck, deliver, ack", "nats_streaming"),
        ("HTTP server, answering 202", "server"),
        ("HTTP client", "client"),
        ("**sum of the parts**", "parts"),
        ("**the dispatcher**", "whole"),
    ]
    return Figures(
        "Whole and parts: µs of CPU for each event",
        ["", *(f"{comparison.store} store" for comparison in comparisons)],
        [
            *([label, *(f"{getattr(c, name):.1f}" for c in comparisons)] for label, name in rows),
            ["**dispatcher ÷ parts**", *(f"{c.ratio:.2f}" for c in comparisons)],
        ],
    )


def speed_figures(results: Sequence[Result]) -> Figures:
    return Figures(
        "Through the dispatcher: speed, CPU and memory",
        ["case", "events/s", "out/s", "dispatcher\nµs", "server\nµs", "MiB"],
        [
            [
                result.case.name,
                f"{result.events_per_second:,.0f}",
                f"{result.deliveries_per_second:,.0f}",
                f"{result.dispatcher_cpu:,.0f}",
                f"{result.server_cpu:,.0f}",
                f"{result.idle_mib:.0f} → {result.end_mib:.0f}",
            ]
            for result in results
        ],
    )


def latency_figures(results: Sequence[Result]) -> Figures:
    return Figures(
        "Through the dispatcher: milliseconds from posting an event",
        ["case", "202\np50", "202\np99", "delivered\np50", "delivered\np99", "copies"],
        [
            [
                result.case.name,
                f"{result.accepted.p50:,.1f}",
                f"{result.accepted.p99:,.1f}",
                f"{result.delivered.p50:,.1f}",
                f"{result.delivered.p99:,.1f}",
                f"{result.duplicates}",
            ]
            for result in results
        ],
    )


def goal_figures(comparisons: Sequence[Comparison], results: Sequence[Result]) -> Figures:
    """Return the goals of this project beside the measured figures, where there are any."""
    by_name = {result.case.name: result for result in results}
    speeds = {"base case": 15_000, "FILE store": 10_000, "subscriber takes 5 ms": 8_000}
    rows = [
        (f"dispatcher ÷ parts, {c.store} store", f"{c.ratio:.2f}", "≤ 2.0 (later 1.3)")
        for c in comparisons
    ]
    rows += [
        (f"events/s, {name}", f"{by_name[name].events_per_second:,.0f}", f"≥ {goal:,}")
        for name, goal in speeds.items()
        if name in by_name
    ]
    if (many := by_name.get("1,000 channels")) is not None:
        rows.append(("memory idle with 1,000 channels, MiB", f"{many.idle_mib:.0f}", "≤ 80"))
    return Figures("Goals", ["", "measured", "goal"], rows)
