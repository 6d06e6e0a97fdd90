"""Fairness in short; ``make overload`` looks at the slowest of more deliveries."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.ends import Latency
from tests.endurance.fairness import DISTURBANCES, Comparison, Disturbance, What, compare


@pytest.mark.timeout(120)
@pytest.mark.parametrize("disturbance", DISTURBANCES, ids=lambda disturbance: disturbance.name)
async def test_others_hardly_notice(disturbance: Disturbance, tmp_path: Path) -> None:
    compared = await compare(disturbance, disturbance.short, tmp_path)
    # Without limits for the loud channel it takes ten times as long. Other tests may run beside
    # this one.
    most = 4.0 if disturbance.what is What.LOUD_CHANNEL else None
    assert compared.is_fair("p50", most), compared


def test_others_that_take_too_long_are_noticed() -> None:
    compared = Comparison("dead", Latency(1.0, 10.0), Latency(2.0, 20.0), None)
    assert compared.is_fair("p50")
    assert compared.is_fair("p99")
    compared = replace(compared, with_it=Latency(2.0, 21.0))
    assert compared.is_fair("p50")
    assert not compared.is_fair("p99")


def test_what_the_machine_costs_is_nobodys_fault() -> None:
    compared = Comparison("loud", Latency(1.0, 5.0), Latency(6.0, 30.0), Latency(2.0, 10.0))
    assert compared.is_fair("p50")
    assert compared.is_fair("p99")
    assert not replace(compared, with_it=Latency(6.0, 31.0)).is_fair("p99")
    assert not replace(compared, elsewhere=None).is_fair("p50")
