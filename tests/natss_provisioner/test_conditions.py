from typing import Any

import pytest

from natss_provisioner.conditions import Condition, false, is_true, true, with_ready, written

OLD = "2024-01-01T00:00:00Z"
NOW = "2024-05-01T12:00:00Z"


def entry(kind: str, status: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": OLD, **more}


def test_ready_is_true_when_all_are() -> None:
    assert with_ready([true("A"), true("B")])[-1] == true("Ready")


def test_ready_says_why_by_the_first_that_is_not_true() -> None:
    conditions = [true("A"), false("B", "Because", "m"), false("C", "Later", "n")]
    assert with_ready(conditions)[-1] == false("Ready", "Because", "m")


@pytest.mark.parametrize(
    ("previous", "wanted", "time"),
    [
        ([], true("A"), NOW),
        (None, true("A"), NOW),
        ("nonsense", true("A"), NOW),
        ([7, {"type": 1}, {"status": "True"}], true("A"), NOW),
        ([entry("A", "True")], true("A"), OLD),
        ([entry("A", "False", reason="R", message="m")], true("A"), NOW),
        ([entry("A", "False", reason="R", message="m")], false("A", "Other", "n"), OLD),
        ([entry("A", "Unknown")], true("A"), NOW),
        ([{"type": "A", "status": "True"}], true("A"), NOW),
    ],
)
def test_the_time_moves_only_when_the_status_changes(
    previous: object, wanted: Condition, time: str
) -> None:
    (result,) = written(previous, [wanted], NOW)
    assert result["lastTransitionTime"] == time
    assert result["status"] == wanted.status.value


def test_reason_and_message_are_those_of_now() -> None:
    previous = [entry("A", "False", reason="Old", message="old", severity="Info")]
    assert written(previous, [false("A", "New", "new")], NOW) == [
        entry("A", "False", reason="New", message="new")
    ]
    assert written(previous, [true("A")], NOW) == [
        {"type": "A", "status": "True", "lastTransitionTime": NOW}
    ]


def test_conditions_of_others_stay() -> None:
    other = entry("Z", "False", reason="R", extra={"x": 1})
    result = written([other, entry("A", "True")], [true("A"), true("B")], NOW)
    assert [each["type"] for each in result] == ["A", "B", "Z"]
    assert result[2] == other


def test_the_same_again_is_equal() -> None:
    first = written([], [true("B"), false("A", "R", "m")], NOW)
    assert written(first, [true("B"), false("A", "R", "m")], "later") == first


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, False),
        ("text", False),
        ({}, False),
        ({"conditions": {}}, False),
        ({"conditions": [entry("Ready", "False")]}, False),
        ({"conditions": [entry("Ready", "Unknown")]}, False),
        ({"conditions": [entry("A", "True")]}, False),
        ({"conditions": [entry("A", "False"), entry("Ready", "True")]}, True),
    ],
)
def test_reading_ready(status: object, expected: bool) -> None:
    assert is_true(status, "Ready") is expected
