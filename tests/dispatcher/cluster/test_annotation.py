"""The durable records of a Channel as text, and the time of a list's change from the API."""

import json
from typing import Any

import pytest

from dispatcher.cluster.annotation import (
    DURABLES,
    MAX_BYTES,
    is_complete,
    list_changed_at,
    parse,
    render,
)
from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.durables.ledger import DurableRecord
from natss.contract.eventing import CHANNEL
from natss.contract.resources import Defaults, ResourceName
from tests.support.channel_ids import channel_id

ORDERS = channel_id("shop", "orders")
NINE, TEN = "2026-01-01T09:00:00Z", "2026-01-01T10:00:00Z"
NINE_O_CLOCK, TEN_O_CLOCK = 1767258000.0, 1767261600.0


def record(durable: str, since: float | None = None, namespace: str = "shop") -> DurableRecord:
    return DurableRecord(ORDERS, ResourceName(namespace, "mail"), durable, since)


def test_what_is_rendered_can_be_parsed() -> None:
    records = [record("u1"), record("u2", since=1767258000.123), record("u3", namespace="other")]
    text = render(records)
    assert list((parse(ORDERS, text) or {}).values()) == records
    assert json.loads(text)["u2"] == {"subscription": "mail", "since": "2026-01-01T09:00:00.123Z"}
    assert parse(ORDERS, render([])) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"u1": 7}',
        '{"u1": {}}',
        '{"u1": {"subscription": 7}}',
        '{"u1": {"subscription": "a", "since": "noon"}}',
        '{"u1": {"subscription": "a", "since": "9999-12-31T23:59:59-12:00"}}',
        '{"u1": {"subscription": "a", "since": "0001-01-01T00:00:00+12:00"}}',
        '{"u1": {"subscription": "\\ud800"}}',
        '{"u1": {"subscription": ""}}',
        '{"u1": {"subscription": "a b/c"}}',
        '{"u\\ud800": {"subscription": "a"}}',
        '{"": {"subscription": "a"}}',
        "[" * 100_000,
        '{"a":' * 50_000,
    ],
    ids=lambda text: text[:60],
)
def test_what_somebody_else_wrote_is_none(text: str) -> None:
    """Nothing that users can write there may harm any Channel but their own."""
    assert parse(ORDERS, text) is None


def test_the_api_takes_the_record_of_any_number_of_subscribers() -> None:
    records = [record(f"{n:0200}", since=1.0 if n % 10 == 0 else None) for n in range(2000)]
    text = render(records)
    assert len(text) <= MAX_BYTES
    kept = parse(ORDERS, text) or {}
    assert len(kept) > 500
    assert sum(each.since is not None for each in kept.values()) == 200, "nobody else knows those"


def test_replicas_leave_out_the_same_if_there_is_no_room_for_all() -> None:
    records = [record(f"{n:036}", since=1.0 if n % 100 == 0 else None) for n in range(4000)]
    text = render(records)
    assert render(reversed(records)) == text
    assert render(records[:-1]) == text, "who does not know one that is left out"


def test_whether_any_was_left_out_can_be_told() -> None:
    records = [record(f"{n:036}") for n in range(4000)]
    assert not is_complete(render(records))
    assert is_complete(render(records[:2000]))


def managed(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}}


def changed(time: object, fields: Any, **more: Any) -> dict[str, Any]:
    return {"manager": "m", "time": time, "fieldsV1": fields, **more}


def test_the_latest_change_of_the_list_counts_and_no_other() -> None:
    ours: Any = {"f:spec": {"f:subscribable": {"f:subscribers": {}}}}
    document = managed(
        changed(NINE, ours),
        changed(TEN, {"f:spec": {"f:arguments": {}}}),
        changed(TEN, {"f:metadata": {}}),
        changed(TEN, ours, subresource="status"),
        changed(None, ours),
        changed("noon", ours),
        changed(TEN, None),
    )
    assert list_changed_at(document, "subscribable") == NINE_O_CLOCK
    assert (
        list_changed_at(managed(changed(TEN, ours), changed(NINE, ours)), "subscribable")
        == TEN_O_CLOCK
    )
    assert list_changed_at(managed(), "subscribable") is None
    assert list_changed_at(managed(changed("0001-01-01T00:00:00Z", ours)), "subscribable") is None
    assert list_changed_at({"metadata": {}}, "subscribable") is None


def channel(version: int, *uids: str, annotation: str | None = "{}") -> dict[str, Any]:
    entries = [{"uid": uid, "subscriberURI": "http://mail/"} for uid in uids]
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {
            "name": "orders",
            "namespace": "shop",
            "uid": "u",
            "resourceVersion": str(version),
            "annotations": {"other": "x"} | ({DURABLES: annotation} if annotation else {}),
            "managedFields": [changed(NINE, {"f:spec": {"f:subscribable": {}}})],
        },
        "spec": {"provisioner": {"name": "natss"}, "subscribable": {"subscribers": entries}},
    }


def subscribed_at(table: ChannelTable) -> float | None:
    (entry,) = table
    assert entry.channel is not None
    return entry.channel.subscribed_at


def test_a_new_subscriber_is_owed_events_since_the_list_was_changed() -> None:
    table = ChannelTable(Defaults())
    table.put(channel(1, "u1"))
    assert subscribed_at(table) == NINE_O_CLOCK


def test_a_channel_that_nobody_has_served_owes_nothing() -> None:
    """It may be one of the Go dispatcher, whose durables are on the server."""
    table = ChannelTable(Defaults())
    table.put(channel(1, "u1", annotation=None))
    assert subscribed_at(table) is None


def test_after_a_time_without_the_api_all_of_it_is_owed() -> None:
    """There may have been an earlier change than the one that the API reports."""
    table = ChannelTable(Defaults())
    table.put(channel(1))
    table.blind_since[CHANNEL] = NINE_O_CLOCK - 60.0
    table.put(channel(2, "u1", "u2"))
    assert subscribed_at(table) == NINE_O_CLOCK - 60.0


def test_a_record_that_is_the_same_is_the_same_object() -> None:
    table = ChannelTable(Defaults())
    text = render([record("u1")])
    table.put(channel(1, "u1", annotation=text))
    (before,) = table
    assert not table.put(channel(2, "u1", annotation=text))
    (after,) = table
    assert after.recorded is before.recorded
    assert table.put(channel(3, "u1"))
    (after,) = table
    assert after.recorded == {}


def test_why_a_channel_went_is_told_once() -> None:
    table = ChannelTable(Defaults())
    table.put(channel(1))
    deleted = channel(2)
    deleted["metadata"]["deletionTimestamp"] = TEN
    table.discard(deleted)
    assert table.take_forgotten() == {ORDERS: True}
    assert table.take_forgotten() == {}
    table.put(channel(3))
    table.drop_missing(CHANNEL, set(), "4", empty_is_true=True)
    assert table.take_forgotten() == {ORDERS: False}
