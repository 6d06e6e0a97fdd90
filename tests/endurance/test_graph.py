"""The picture is drawn where there is matplotlib, which only ``make soak`` installs."""

from pathlib import Path

import pytest

from tests.endurance.test_verdict import an_hour

pytest.importorskip("matplotlib")


def test_it_is_a_picture(tmp_path: Path) -> None:
    from tests.endurance import graph  # noqa: PLC0415  it cannot be imported without

    path = tmp_path / "soak.png"
    graph.draw(an_hour(), "a title", path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_run_that_broke_off_at_once_is_drawn_as_well(tmp_path: Path) -> None:
    from tests.endurance import graph  # noqa: PLC0415  it cannot be imported without

    graph.draw(an_hour()[:1], "a title", tmp_path / "soak.png")
