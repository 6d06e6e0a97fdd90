"""Short runs with real processes: positions are handed over while something is broken.

Separate from ``test_episodes`` so that both can run at the same time.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.faults.checker import check
from tests.faults.episode import play
from tests.faults.figures import figures, table
from tests.faults.handover_faults import HANDOVER_FAULTS
from tests.faults.nemesis import Fault
from tests.faults.server_clock_faults import SERVER_CLOCK_FAULTS
from tests.faults.strikes import once_each
from tests.faults.system import Setup

PATIENCE = 20.0
"""In seconds; a lost event costs that many in each strike that follows."""


async def violations(folder: Path, faults: Sequence[Fault], *, clocks: bool) -> list[str]:
    """Return the violations of a run with each fault once; add to the figures if there are any."""
    setup = Setup(folder, folder.name, clocks=clocks, patience=PATIENCE)
    run = await play(setup, once_each(faults, Random(setup.seed), 0.0))
    found = [str(violation) for violation in check(run)]
    return [*found, table(figures(run).values())] if found else []


@pytest.mark.timeout(400)
async def test_what_waits_is_owed_to_who_is_made_anew(tmp_path: Path) -> None:
    """Two runs at once, since most of each is waiting."""
    for name in ("handovers", "server clock 48"):
        (tmp_path / name).mkdir()
    handovers, clocks = await asyncio.gather(
        violations(tmp_path / "handovers", HANDOVER_FAULTS, clocks=False),
        violations(tmp_path / "server clock 48", SERVER_CLOCK_FAULTS, clocks=True),
    )
    assert handovers == []
    assert clocks == []
