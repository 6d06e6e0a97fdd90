"""Short runs with real processes: one that is sound, and some that leak on purpose."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.endurance import counted_dispatcher
from tests.endurance.soak import Plan, Run, soak
from tests.endurance.verdict import judge

SHORT = Plan(
    minutes=1 / 3,
    per_second=100.0,
    change_every=2.0,
    sample_every=0.5,
    down_and_up=(2.0, 3.0),
    patience=20.0,
)
LEAKING = replace(SHORT, minutes=1 / 6, per_second=30.0, change_every=4.0)

LEAKS = {
    "keep_events": "resident memory, MiB",
    "leave_timers": "timers",
    "leave_tasks": "asyncio tasks",
    "leave_files_open": "open files",
}
"""The figure that shows each leak, of which one occurs with every settled event."""


def growth(run: Run) -> dict[str, float]:
    """Return the growth that is certain, in an hour."""
    findings = judge(
        run.samples, begin=run.samples[-1].seconds / 4, least=SHORT.sample_every / 3600
    )
    return {finding.quantity.name: finding.slope.low for finding in findings}


@pytest.mark.timeout(120)
async def test_nothing_is_lost_while_all_changes(tmp_path: Path) -> None:
    run = await soak(SHORT, tmp_path, "short")
    assert run.lost == {}
    assert (run.ledger.damaged, run.ledger.repeated) == (0, 0)
    assert run.ledger.accepted > 500
    assert run.ledger.taken > run.ledger.accepted
    assert run.changes.total() >= 3
    last = run.samples[-1]
    assert last.backlog > 100
    assert last.resident_mib > 10
    assert min(last.files, last.threads, last.tasks, last.timers, last.objects) > 0
    assert last.cpu_seconds > run.samples[0].cpu_seconds
    assert all(0 < sample.delay_p99 < 10 for sample in run.samples[2:])


@pytest.mark.timeout(120)
async def test_a_leak_is_caught(tmp_path: Path) -> None:
    """With every settled event something is left behind: 150,000 things in an hour."""
    assert LEAKS.keys() == counted_dispatcher.LEAKS.keys()

    async def run_one(leak: str) -> Run:
        (tmp_path / leak).mkdir()
        return await soak(replace(LEAKING, leak=leak), tmp_path / leak, leak)

    runs = await asyncio.gather(*map(run_one, LEAKS))
    for (leak, quantity), run in zip(LEAKS.items(), runs, strict=True):
        found = growth(run)
        assert found[quantity] > (2000 if leak == "keep_events" else 50_000), (leak, found)
