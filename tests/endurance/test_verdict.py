"""Leaks are distinguished from what only varies."""

from dataclasses import replace
from random import Random

import pytest

from tests.endurance.samples import Sample
from tests.endurance.test_samples import sample
from tests.endurance.verdict import QUANTITIES, judge, table

SECONDS = 3600


def an_hour(seed: int = 1) -> list[Sample]:
    """Return samples, every 5 s, of a process without a leak: it warms up, and varies."""
    chance = Random(seed)
    return [
        sample(
            float(at),
            resident_mib=42.0 - 4.0 * 0.5 ** (at / 200) + chance.gauss(0.0, 0.3),
            files=chance.randrange(30, 40),
            tasks=chance.randrange(20, 50),
            timers=chance.randrange(10, 60),
            objects=chance.randrange(60_000, 62_000),
            in_flight=chance.randrange(40, 90),
            cpu_seconds=at * 0.12 + chance.gauss(0.0, 0.02),
            load_cpu_seconds=at * 0.15 + chance.gauss(0.0, 0.02),
            delay_p99=chance.uniform(0.004, 0.03),
            backlog=100 * at,
            server_mib=50.0 + at / 60,
        )
        for at in range(0, SECONDS, 5)
    ]


def growing(name: str, per_hour: float) -> list[Sample]:
    return [
        replace(each, **{name: getattr(each, name) + per_hour * each.seconds / 3600})
        for each in an_hour()
    ]


def names_of_growing(samples: list[Sample]) -> list[str]:
    return [finding.quantity.name for finding in judge(samples) if finding.grows]


def test_one_that_varies_is_flat() -> None:
    assert [names_of_growing(an_hour(seed)) for seed in range(10)] == [[]] * 10
    assert len(judge(an_hour())) == len(QUANTITIES)


@pytest.mark.parametrize(
    ("name", "per_hour", "quantity"),
    [
        ("resident_mib", 3.0, "resident memory, MiB"),
        ("files", 12.0, "open files"),
        ("threads", 2.0, "threads"),
        ("tasks", 40.0, "asyncio tasks"),
        ("timers", 60.0, "timers"),
        ("objects", 2000.0, "objects known to the collector"),
        ("in_flight", 50.0, "events in flight"),
        ("delay_p99", 0.05, "post to receipt, 99th percentile, ms"),
    ],
)
def test_a_leak_is_called_one(name: str, per_hour: float, quantity: str) -> None:
    assert names_of_growing(growing(name, per_hour)) == [quantity]


def test_a_machine_that_gets_slower_is_no_growth() -> None:
    slower = [
        replace(
            each,
            cpu_seconds=each.cpu_seconds * pace,
            load_cpu_seconds=0.15 / 0.12 * each.cpu_seconds * pace,
        )
        for each in an_hour()
        for pace in (1 + each.seconds / SECONDS,)
    ]
    assert names_of_growing(slower) == []


def test_work_that_takes_more_and_more_time_is_called_growth() -> None:
    slower = [
        replace(each, cpu_seconds=each.cpu_seconds + 0.05 * each.seconds**2 / SECONDS)
        for each in an_hour()
    ]
    assert names_of_growing(slower) == ["CPU, as a part of what the load takes"]


def test_the_server_and_what_it_has_to_keep_may_grow() -> None:
    findings = {finding.quantity.name: finding for finding in judge(an_hour())}
    backlog = findings["backlog at the server of who is down, events"]
    assert backlog.slope.per_hour == pytest.approx(360_000, rel=0.01)
    assert not backlog.grows


def test_warming_up_is_no_leak() -> None:
    assert (
        names_of_growing([replace(each, files=min(50, each.seconds)) for each in an_hour()]) == []
    )


def test_a_short_run_gives_no_verdict() -> None:
    """It is warming up from its beginning to its end."""
    assert judge([]) == []
    assert judge([sample(0.0)]) == []
    assert judge([each for each in growing("files", 1000.0) if each.seconds < 880]) == []


def test_the_table_names_what_grows() -> None:
    lines = table(judge(growing("timers", 60.0))).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    (timers,) = (line for line in lines if line.startswith("| timers"))
    assert timers.endswith("| 5 | **grows** |")
    assert sum("flat" in line for line in lines) == sum(q.bound is not None for q in QUANTITIES) - 1
