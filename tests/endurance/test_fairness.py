"""Fairness in short; ``make overload`` looks at the slowest of more deliveries."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.ends import Latency
from tests.endurance.fairness import DISTURBANCES, Comparison, Disturbance, compare


@pytest.mark.timeout(120)
@pytest.mark.parametrize("disturbance", DISTURBANCES, ids=lambda disturbance: disturbance.name)
async def test_others_hardly_notice(disturbance: Disturbance, tmp_path: Path) -> None:
    compared = await compare(disturbance, disturbance.short, tmp_path)
    assert compared.is_fair("p50"), compared


def test_others_that_take_too_long_are_noticed() -> None:
    compared = Comparison("dead", Latency(1.0, 10.0), Latency(2.0, 20.0), None)
    assert compared.is_fair("p50")
    assert compared.is_fair("p99")
    compared = replace(compared, with_it=Latency(2.0, 21.0))
    assert compared.is_fair("p50")
    assert not compared.is_fair("p99")


def test_beside_a_loud_channel_others_wait_as_its_publishers_do() -> None:
    compared = Comparison("loud", Latency(1.0, 10.0), Latency(9.0, 50.0), Latency(8.0, 30.0))
    assert compared.is_fair("p50")
    assert compared.is_fair("p99")
    assert not replace(compared, with_it=Latency(9.0, 121.0)).is_fair("p99")
    assert not replace(compared, own=None).is_fair("p50")
