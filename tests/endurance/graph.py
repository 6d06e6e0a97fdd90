"""Draws the samples of a run: ``python -m tests.endurance.graph samples.csv soak.png``.

``tests.endurance.verdict`` names and judges what is drawn.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.ticker import StrMethodFormatter

from tests.endurance.samples import Sample, read_csv
from tests.endurance.slope import Point
from tests.endurance.verdict import QUANTITIES, Finding, growth, judge, warm_up

_COLUMNS = 3
_COLOUR, _GREY, _RED = "#1f5fa8", "#9a9a9a", "#c0392b"


def draw(samples: list[Sample], title: str, path: Path) -> None:
    """Draw a panel for each quantity, and a line through it with its slope; PNG, SVG or PDF."""
    mpl.use("agg")
    findings = {finding.quantity.name: finding for finding in judge(samples)}
    quantities = [each for each in QUANTITIES if each.points(samples)]
    rows = max(1, -(-len(quantities) // _COLUMNS))
    figure, axes = plt.subplots(
        rows, _COLUMNS, figsize=(5 * _COLUMNS, 2.6 * rows), sharex=True, layout="constrained"
    )
    figure.suptitle(title, fontsize=14)
    panels = list(axes.flat)
    for panel, quantity in zip(panels, quantities, strict=False):
        points = [(60 * hours, value) for hours, value in quantity.points(samples)]
        _panel(panel, quantity.name, points, findings.get(quantity.name))
    for panel in panels[len(quantities) :]:
        panel.set_axis_off()
    for panel in panels[max(0, len(quantities) - _COLUMNS) : len(quantities)]:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("minutes")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _panel(panel: Any, name: str, points: list[Point], finding: Finding | None) -> None:
    minutes = [minute for minute, _ in points]
    values = [value for _, value in points]
    panel.plot(minutes, values, color=_COLOUR, linewidth=0.8, alpha=0.7)
    panel.set_title(name, fontsize=10, loc="left")
    panel.grid(visible=True, color="#e5e5e5", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    if not points:
        return
    lowest, highest = min(values), max(values)
    margin = 0.1 * (highest - lowest) or 1.0
    panel.set_ylim(max(0.0, lowest - margin) if lowest >= 0 else None, highest + 3 * margin)
    warm = min(minutes[-1], warm_up(60 * minutes[-1]) / 60)
    panel.axvspan(0, warm, color=_GREY, alpha=0.15, linewidth=0)
    if finding is None:
        return
    slope = finding.slope
    centre = (warm + minutes[-1]) / 2
    ends = [
        finding.median + slope.per_hour * (minute - centre) / 60 for minute in (warm, minutes[-1])
    ]
    colour = _RED if finding.grows else "black"
    panel.plot([warm, minutes[-1]], ends, color=colour, linewidth=1.2, linestyle="--")
    text = f"{growth(slope.per_hour)} an hour ({growth(slope.low)} to {growth(slope.high)})"
    panel.text(0.99, 0.97, text, transform=panel.transAxes, ha="right", va="top", color=colour)


def main() -> int:
    if len(sys.argv) != 3:
        sys.stderr.write("usage: python -m tests.endurance.graph SAMPLES.csv PICTURE.png\n")
        return 2
    samples = read_csv(Path(sys.argv[1]))
    draw(samples, title_of(samples), Path(sys.argv[2]))
    return 0


def title_of(samples: list[Sample]) -> str:
    minutes = samples[-1].seconds / 60 if samples else 0.0
    return f"natss-dispatcher over {minutes:.0f} minutes (grey: warm-up; dashed: slope after it)"


if __name__ == "__main__":
    sys.exit(main())
