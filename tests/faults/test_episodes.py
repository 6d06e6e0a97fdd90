"""Short runs with real processes: everything is broken once, and nothing is lost.

``make chaos`` is the long one, with as many faults as it has time for.
"""

from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.episode import play
from tests.faults.figures import figures, table
from tests.faults.happenings import Happenings
from tests.faults.process_faults import PROCESS_FAULTS
from tests.faults.system import Setup


def assert_promise_kept(run: Happenings) -> None:
    rows = table(figures(run).values())
    assert [str(violation) for violation in check(run)] == [], rows
    assert sum(event.is_accepted for event in run.events.values()) > 200, rows


@pytest.mark.timeout(180)
async def test_processes_die_end_and_stand_still(tmp_path: Path) -> None:
    run = await play(Setup(tmp_path, "processes"), [(fault,) for fault in PROCESS_FAULTS])
    assert_promise_kept(run)
