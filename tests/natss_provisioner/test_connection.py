"""What the ClusterChannelProvisioner reports of the connections of all dispatcher replicas."""

from typing import Any

import pytest

from natss_provisioner.connection import connection

NOW = "2024-05-01T12:00:00Z"
LATELY = "2024-05-01T11:59:00Z"
LONG_AGO = "2024-05-01T11:50:00Z"
GOOD = {"connected": "True", "time": LATELY}
LOST = {"connected": "False", "reason": "ConnectionLost", "message": "no route", "time": LATELY}


def told(**entries: Any) -> tuple[str, str, str] | None:
    """Return status, reason and message."""
    found = connection({"status": {"dispatchers": entries}}, NOW, "knative-eventing").condition
    return None if found is None else (found.status.value, found.reason, found.message)


def test_without_a_word_of_any_nothing_is_told() -> None:
    """A dispatcher of an older release reports nothing."""
    statuses: list[Any] = [{}, {"dispatchers": None}, {"dispatchers": {}}, {"dispatchers": [1]}]
    for status in statuses:
        assert connection({"status": status}, NOW, "x").condition is None
    assert connection({}, NOW, "x").condition is None


def test_one_that_is_cut_off_is_told_though_others_are_not() -> None:
    """Half of the publishers get 503 then."""
    assert told(a=GOOD) == ("True", "", "")
    assert told(a=GOOD, b=GOOD) == ("True", "", "")
    assert told(a=GOOD, b=LOST) == ("False", "ConnectionLost", "b: no route")
    both = told(b=LOST, a={**LOST, "reason": "Refused"})
    assert both == ("False", "Refused", "a: no route; b: no route")


def test_what_was_not_renewed_is_not_believed() -> None:
    old = {**LOST, "time": LONG_AGO}
    assert told(a=GOOD, b=old) == ("True", "", "")
    status, reason, message = told(a=old, b={**GOOD, "time": LONG_AGO}) or ("", "", "")
    assert (status, reason) == ("Unknown", "NoDispatcher")
    assert "knative-eventing" in message
    found = connection({"status": {"dispatchers": {"a": GOOD, "b": old}}}, NOW, "x")
    assert found.expired == {"b"}
    assert found.again_in == 121.0
    assert connection({"status": {"dispatchers": {"b": old}}}, NOW, "x").expired == frozenset()


@pytest.mark.parametrize(
    "entry",
    [{}, {"connected": "False"}, {"connected": "True", "time": 7}, {"time": "noon"}],
)
def test_what_has_no_time_is_not_believed(entry: Any) -> None:
    assert (told(a=entry) or ("",))[0] == "Unknown"
    assert told(a=entry, b=GOOD) == ("True", "", "")


def test_a_clock_that_is_ahead_counts_as_now() -> None:
    assert told(a={**LOST, "time": "2024-05-01T12:30:00Z"}) == (
        "False",
        "ConnectionLost",
        "a: no route",
    )


def test_a_message_without_end_is_cut() -> None:
    (_, _, message) = told(a={**LOST, "message": "x" * 5000}) or ("", "", "")
    assert len(message) == 1000
