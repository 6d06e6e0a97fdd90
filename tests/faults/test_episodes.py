"""Short runs with real processes: everything is broken once, and nothing is lost.

``make chaos`` is the long one, with as many faults as it has time for.
"""

from pathlib import Path
from random import Random

import pytest

from tests.faults.checker import check
from tests.faults.clock_faults import CLOCK_FAULTS
from tests.faults.desired_faults import DESIRED_FAULTS
from tests.faults.episode import play
from tests.faults.figures import figures, table
from tests.faults.happenings import Happenings
from tests.faults.network_faults import NETWORK_FAULTS
from tests.faults.process_faults import PROCESS_FAULTS
from tests.faults.rival_faults import RIVAL_FAULTS
from tests.faults.store_faults import STORE_FAULTS
from tests.faults.strikes import once_each
from tests.faults.subscriber_faults import SUBSCRIBER_FAULTS
from tests.faults.system import Setup


def assert_promise_kept(run: Happenings) -> None:
    rows = table(figures(run).values())
    assert [str(violation) for violation in check(run)] == [], rows
    assert sum(event.is_accepted for event in run.events.values()) > 500, rows


@pytest.mark.timeout(240)
async def test_one_dispatcher(tmp_path: Path) -> None:
    """Two faults at once wherever that is possible, to save time."""
    faults = (*PROCESS_FAULTS, *NETWORK_FAULTS, *STORE_FAULTS, *SUBSCRIBER_FAULTS)
    setup = Setup(tmp_path, "one dispatcher")
    assert_promise_kept(await play(setup, once_each(faults, Random(setup.seed), 1.0)))


@pytest.mark.timeout(240)
async def test_several_dispatchers_whose_clocks_jump(tmp_path: Path) -> None:
    changes = (fault for fault in DESIRED_FAULTS if "after the grace" not in fault.name)
    faults = (*PROCESS_FAULTS, *RIVAL_FAULTS, *CLOCK_FAULTS, *changes)
    setup = Setup(tmp_path, "several dispatchers", dispatchers=2, clocks=True)
    assert_promise_kept(await play(setup, once_each(faults, Random(setup.seed), 1.0)))
