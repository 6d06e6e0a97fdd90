"""Whether a figure grows: the slope of a line through its samples that outliers do not move. Pure.

The slope is the median of those of all pairs of points (Theil and Sen); its confidence follows from
their order, by Sen (Estimates of the regression coefficient based on Kendall's tau, 1968). That
assumes that points do not depend on their neighbours, so there are few of them, each of which
stands for many samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import NormalDist, median

BINS = 45
"""Points that the samples are reduced to, at most."""

MINUTE = 1 / 60
"""In hours: what rises and falls within a minute is no slope, so a point stands for a minute at
least.
"""

CONFIDENCE = 0.999
"""That the true slope lies within the interval: about a dozen figures are tested, and none should
be called a leak by chance.
"""

Point = tuple[float, float]
"""Hours, and a value."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth per hour, and the confidence interval of the true growth."""

    per_hour: float
    low: float
    high: float

    def exceeds(self, bound: float) -> bool:
        """Return whether it exceeds that for certain, and not only by noise."""
        return self.low > bound


def binned(points: Sequence[Point], least: float = MINUTE, bins: int = BINS) -> list[Point]:
    """Return the medians of equal parts of the time; parts without a point are left out.

    Args:
        points: In the order of time.
        least: The shortest length of a part, in hours.
        bins: The number of parts, if that makes them no shorter.
    """
    if not points:
        return []
    begin, end = points[0][0], points[-1][0]
    bins = max(1, min(bins, round((end - begin) / least)))
    width = (end - begin) / bins or 1.0
    parts: dict[int, list[Point]] = {}
    for point in points:
        parts.setdefault(min(bins - 1, int((point[0] - begin) / width)), []).append(point)
    return [
        (median(hours for hours, _ in part), median(value for _, value in part))
        for part in parts.values()
    ]


def slope(points: Sequence[Point]) -> Slope:
    """Return the slope through these points, of which no two have the same time.

    Raises:
        ValueError: there are fewer than two.
    """
    count = len(points)
    if count < 2:
        raise ValueError("a slope needs two points")
    slopes = sorted((v - u) / (t - s) for (s, u), (t, v) in combinations(points, 2))
    deviation = sqrt(count * (count - 1) * (2 * count + 5) / 18)
    spread = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * deviation
    last = len(slopes) - 1
    low = max(0, round((len(slopes) - spread) / 2))
    high = min(last, round((len(slopes) + spread) / 2))
    return Slope(median(slopes), slopes[min(low, last)], slopes[high])
