"""The slope is that of most points, and is only called growth if noise cannot have made it."""

from random import Random

import pytest

from tests.endurance.slope import BINS, Point, binned, slope


def points(growth: float, noise: float, seed: int = 1, count: int = 45) -> list[Point]:
    """Return points over an hour."""
    chance = Random(seed)
    hours = (number / count for number in range(count))
    return [(at, 40.0 + growth * at + chance.gauss(0.0, noise)) for at in hours]


def test_of_a_line_it_is_exact() -> None:
    found = slope(points(3.0, noise=0.0))
    assert (found.per_hour, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))


def test_outliers_do_not_move_it() -> None:
    outliers = points(3.0, noise=0.0)
    outliers[5::6] = [(at, value + 500.0) for at, value in outliers[5::6]]
    assert slope(outliers).per_hour == pytest.approx(3.0, abs=0.3)


def test_noise_is_not_growth() -> None:
    found = [slope(points(0.0, noise=2.0, seed=seed)) for seed in range(100)]
    assert sum(each.exceeds(0.0) for each in found) <= 1


def test_growth_is_seen_through_noise() -> None:
    assert all(slope(points(5.0, noise=1.0, seed=seed)).exceeds(1.0) for seed in range(50))


def test_the_interval_has_the_true_slope() -> None:
    found = [slope(points(5.0, noise=1.0, seed=seed)) for seed in range(100)]
    assert sum(each.low <= 5.0 <= each.high for each in found) >= 99


def test_a_few_points_prove_nothing() -> None:
    found = slope([(0.0, 1.0), (0.1, 2.0), (0.2, 2.5)])
    assert (found.low, found.high) == pytest.approx((5.0, 10.0))


def test_one_point_has_no_slope() -> None:
    with pytest.raises(ValueError, match="two points"):
        slope([(0.0, 1.0)])


def test_a_jump_that_is_over_is_not_growth() -> None:
    """Such as the arena that an allocator adds once."""
    jump = [(at, value + (4.0 if at > 0.9 else 0.0)) for at, value in points(0.0, noise=0.05)]
    assert not slope(jump).exceeds(1.0)


def test_bins_are_medians_of_equal_times() -> None:
    many = [(number / 7200, float(number % 9 == 0) * 1000 + number) for number in range(7200)]
    few = binned(many, least=0.001)
    assert len(few) == BINS
    assert list(few[0]) == [pytest.approx(79.5 / 7200), pytest.approx(80.0, abs=15.0)]
    assert slope(few).per_hour == pytest.approx(7200.0, rel=0.01)


def test_times_without_a_sample_are_left_out() -> None:
    assert binned([(0.0, 1.0), (0.1, 2.0), (1.0, 3.0)], least=0.25) == [
        (pytest.approx(0.05), 1.5),
        (1.0, 3.0),
    ]
    assert binned([]) == []


def test_what_comes_and_goes_within_a_minute_is_no_slope() -> None:
    """Over five minutes, one sample a second: away for 20 seconds of each."""
    points = [(second / 3600, 32.0 if second % 60 >= 40 else 0.0) for second in range(300)]
    found = slope(binned(points))
    assert (found.low, found.high) == (0.0, 0.0)


def test_of_a_moment_there_is_one_point() -> None:
    assert binned([(2.0, 7.0)]) == [(2.0, 7.0)]
