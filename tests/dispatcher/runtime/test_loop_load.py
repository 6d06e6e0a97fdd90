"""How busy a thread is, by the clocks of this machine."""

import time
from pathlib import Path

import pytest

from dispatcher.runtime import loop_load
from dispatcher.runtime.loop_load import LoopLoad


def be_busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture(params=[None, "0 0 0", "12 34", "", "a b c"])
def silent(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> LoopLoad:
    """Return one where the kernel does not report: no file, or nothing usable in it."""
    schedstat = tmp_path / "schedstat"
    if request.param is not None:
        schedstat.write_text(request.param)
    monkeypatch.setattr(loop_load, "_SCHEDSTAT", schedstat)
    return LoopLoad()


def test_who_waits_is_not_busy() -> None:
    load = LoopLoad()
    time.sleep(0.1)
    assert load.since_last() < 0.3
    load.close()


def test_who_works_is_busy() -> None:
    load = LoopLoad()
    be_busy(0.2)
    assert 0.9 < load.since_last() <= 1.0
    load.close()


def test_without_the_kernels_word_its_time_on_a_cpu_counts(silent: LoopLoad) -> None:
    be_busy(0.2)
    assert 0.1 < silent.since_last() <= 1.0
    time.sleep(0.1)
    assert silent.since_last() < 0.3
    silent.close()


def test_it_goes_on_without_the_file() -> None:
    load = LoopLoad()
    load.close()
    assert load.since_last() >= 0
    load.close()
