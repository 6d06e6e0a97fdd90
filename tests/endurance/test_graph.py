"""The picture of a run is a valid image, whatever was drawn."""

from pathlib import Path

from tests.endurance.graph import draw
from tests.endurance.test_verdict import an_hour


def test_it_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "soak.png"
    draw(an_hour(), "a title", path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_run_that_broke_off_at_once_is_drawn_as_well(tmp_path: Path) -> None:
    draw(an_hour()[:1], "a title", tmp_path / "soak.png")
