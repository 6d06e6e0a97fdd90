"""Samples are kept in a file, and figures are read from the page of metrics."""

from dataclasses import fields
from pathlib import Path

import pytest

from tests.endurance.samples import Sample, SampleFile, Scrape, read_csv

PAGE = """\
# HELP endurance_tasks that there are
endurance_tasks 17
natss_subscription_pending_events{namespace="default",channel="a",subscription="default/x"} 3
natss_subscription_pending_events{namespace="default",channel="b",subscription="default/y"} 32
endurance_objects{type="dispatcher.window.Record"} 40
endurance_objects{type="builtins.dict"} 900
process_cpu_seconds_total 1.5e+01
"""


def sample(seconds: float = 0.0, **values: float) -> Sample:
    """Return a sample of an idle process, except for these values."""
    known = dict.fromkeys((field.name for field in fields(Sample)), 1.0)
    return Sample(**{**known, "seconds": seconds, **values})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    samples = [sample(0.0, delay_p99=float("nan")), sample(5.0, resident_mib=41.25)]
    with SampleFile(tmp_path / "samples.csv") as file:
        for each in samples:
            file.add(each)
        found = read_csv(tmp_path / "samples.csv")
    assert str(found) == str(samples)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text("seconds,files\n1,2\n")
    with pytest.raises(ValueError, match="columns"):
        read_csv(path)


def test_metrics_are_added_up_over_their_labels() -> None:
    scrape = Scrape(PAGE)
    assert scrape.total("natss_subscription_pending_events") == 35
    assert scrape.total("endurance_tasks") == 17
    assert scrape.total("process_cpu_seconds_total") == 15
    assert scrape.total("endurance") == 0


def test_objects_are_told_by_type() -> None:
    found = Scrape(PAGE).by_type("endurance_objects")
    assert found == {"dispatcher.window.Record": 40, "builtins.dict": 900}
