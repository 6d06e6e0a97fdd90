"""How busy a thread is, by the clocks of this machine."""

import time
from pathlib import Path

import pytest

from dispatcher import loop_load
from dispatcher.loop_load import LoopLoad


def be_busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture(params=["the kernel tells", "it does not"])
def load(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> LoopLoad:
    if request.param == "it does not":
        monkeypatch.setattr(loop_load, "_SCHEDSTAT", tmp_path / "none")
    return LoopLoad()


def test_who_waits_is_not_busy(load: LoopLoad) -> None:
    load.since_last()
    time.sleep(0.1)
    assert load.since_last() < 0.3
    load.close()


def test_who_works_is_busy(load: LoopLoad, request: pytest.FixtureRequest) -> None:
    load.since_last()
    be_busy(0.2)
    busy = load.since_last()
    assert busy <= 1.0
    # Without the kernel's word, waiting for a CPU looks like doing nothing.
    assert busy > (0.9 if "the kernel tells" in request.node.name else 0.1)
    load.close()


def test_it_goes_on_without_the_file() -> None:
    load = LoopLoad()
    load.close()
    assert load.since_last() >= 0
    load.close()
