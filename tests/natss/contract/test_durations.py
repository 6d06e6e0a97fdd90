"""Durations in their three formats."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natss.contract.durations import MAX_SECONDS, format_duration, parse_duration

drawn = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The same values each time, however busy the machine."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0.5S", 0.5),
        ("PT0,5S", 0.5),
        ("PT30S", 30),
        ("PT1M", 60),
        ("PT1M30S", 90),
        ("PT2H", 7200),
        ("P1D", 86400),
        ("P1DT12H", 129600),
        ("P1W", 604800),
        ("PT0S", 0),
        ("500ms", 0.5),
        ("30s", 30),
        ("1m30s", 90),
        ("1h", 3600),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("250μs", 0.00025),
        ("30", 30),
        ("0.5", 0.5),
        (" 30s ", 30),
        (30, 30),
        (0.5, 0.5),
        (0, 0),
    ],
)
def test_is_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a duration such as"),
        ("soon", "must be a duration such as"),
        ("P", "must be a duration"),
        ("PT", "must be a duration"),
        ("P1DT", "must be a duration"),
        ("PT30", "must be a duration"),
        ("30 s", "must be a duration"),
        ("1m 30s", "must be a duration"),
        ("30S", "must be a duration"),
        ("\u0663\u0660s", "must be a duration"),
        ("9" * 1000 + "s", "must be a duration"),
        ("P1M", "a minute is PT1M"),
        ("P1Y", "no fixed length"),
        ("2d", "write P2D"),
        ("pt30s", "PT30S"),
        ("p1\x1b[31m", "such as PT30S"),
        ("-PT1S", "must not be negative"),
        ("-1s", "must not be negative"),
        (-1, "must not be negative"),
        ("P5000W", "ten years"),
        ("9" * 60, "ten years"),
        (10**400, "ten years"),
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        (True, "must be a duration"),
        (None, "must be a duration"),
        (["30s"], "must be a duration"),
    ],
)
def test_is_refused_with_a_text_that_helps(text: object, says: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refusal:
        parse_duration(text)
    assert says in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (1, "1s"),
        (1.25, "1.25s"),
        (60, "1m"),
        (90, "1m30s"),
        (60.5, "1m0.5s"),
        (3600, "1h"),
        (86399, "23h59m59s"),
    ],
)
def test_is_shown_as_people_write_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@drawn
@given(st.integers(min_value=0, max_value=MAX_SECONDS * 1000))
def test_what_is_shown_is_read_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-12)


@drawn
@given(st.one_of(st.text(), st.floats(), st.integers(), st.from_regex(r"P?[0-9.TWDHMS]*s?")))
def test_any_value_gives_seconds_or_a_value_error(value: object) -> None:
    try:
        seconds = parse_duration(value)
    except ValueError:
        return
    assert 0 <= seconds <= MAX_SECONDS
