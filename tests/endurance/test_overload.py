"""Each overload in short; ``make overload`` tries them in full size."""

from pathlib import Path

import pytest

from tests.endurance.overload_scenarios import SCENARIOS, Scenario, run


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_an_overload_loses_nothing_and_passes(scenario: Scenario, tmp_path: Path) -> None:
    outcome = await run(scenario, scenario.short, tmp_path)
    assert outcome.broken_rules() == [], outcome
    assert outcome.accepted == scenario.short.connections * scenario.short.each
    assert bool(outcome.refused) == scenario.refuses
