"""What the table believes of the Channels that an API reports, without an API."""

import json
from typing import Any

import pytest

from dispatcher.cluster import channel_table
from dispatcher.cluster.annotation import DURABLES
from dispatcher.cluster.channel_table import Belief, ChannelTable
from natss.contract.documents import desired_state
from natss.contract.eventing import CHANNEL
from natss.contract.names import DISPATCHER_FINALIZER, EPOCH_ANNOTATION
from natss.contract.resources import Defaults, ResourceName
from natss.knative import channel_id as id_of
from tests.support.channel_ids import channel_id

ORDERS = channel_id("shop", "orders")


def document(name: str = "orders", version: int = 10, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-of-{name}",
            "resourceVersion": str(version),
            "finalizers": [DISPATCHER_FINALIZER],
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"provisioner": {"name": "natss"}, **spec},
        "status": {"address": {"hostname": f"{name}.example"}, "conditions": [{"type": "Ready"}]},
    }


def subscribers(*uids: str) -> dict[str, Any]:
    entries = [{"uid": uid, "subscriberURI": f"http://{uid}/"} for uid in uids]
    return {"subscribers": entries}


def with_metadata(changed: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {**changed, "metadata": {**changed["metadata"], **metadata}}


def table(*documents: dict[str, Any]) -> ChannelTable:
    made = ChannelTable(Defaults())
    for each in documents:
        made.put(each)
    return made


def listed(
    known: ChannelTable, *documents: dict[str, Any], version: int, empty_is_true: bool = False
) -> Belief:
    is_behind = known.is_behind(CHANNEL, str(version))
    for each in documents:
        known.put(each, even_if_older=is_behind)
    names = {id_of(each) for each in documents}
    return known.drop_missing(CHANNEL, names, str(version), empty_is_true=empty_is_true)


def test_a_channel_is_wanted_once_it_has_the_finalizer() -> None:
    bare = with_metadata(document(), finalizers=[])
    known = table(bare)
    (entry,) = known
    assert entry.wants_finalizer
    assert known.state().channels == {}
    known.put(document(version=11))
    assert set(known.state().channels) == {ORDERS}
    known.put(with_metadata(document(version=12), finalizers=[]))
    assert set(known.state().channels) == {ORDERS}, "who is served goes on to be"


def test_a_deleted_channel_is_told_with_its_subscribers() -> None:
    deleted = with_metadata(
        document(subscribable=subscribers("u1")), deletionTimestamp="2026-01-01T00:00:00Z"
    )
    known = table(deleted)
    state = known.state()
    assert state.channels == {}
    assert [each.durable for each in state.deleted[ORDERS].subscribers] == ["u1"]
    (entry,) = known
    assert entry.wants_release
    assert not entry.wants_finalizer


def test_a_deleted_channel_that_cannot_be_read_is_released_all_the_same() -> None:
    broken = with_metadata(document(subscribable=7), deletionTimestamp="2026-01-01T00:00:00Z")
    (entry,) = table(broken)
    assert entry.channel is None
    assert entry.wants_release
    assert not table(broken).state().may_want(ORDERS, ResourceName("shop", "orders"))


def test_a_channel_that_was_never_readable_may_want_whom_it_had() -> None:
    for spec in ({"subscribable": 7}, {"subscribable": {"subscribers": [{"uid": 5}]}}):
        known = table(document(**spec))
        assert known.state().may_want(ORDERS, ResourceName("shop", "mail"))
        known.put(document(version=11, subscribable=subscribers("u1")))
        assert not known.state().may_want(ORDERS, ResourceName("shop", "mail"))


def test_channels_of_others_want_nothing() -> None:
    other = with_metadata(document(provisioner={"name": "kafka"}), finalizers=["kafka"])
    deleted = with_metadata(other, deletionTimestamp="2026-01-01T00:00:00Z")
    for each in (other, deleted, with_metadata(other, finalizers=[])):
        (entry,) = table(each)
        assert not entry.wants_finalizer
        assert not entry.wants_release
        assert table(each).state().channels == {}
        assert not table(each).state().may_want(ORDERS, ResourceName("shop", "orders"))


def test_a_channel_cannot_get_another_provisioner() -> None:
    known = table(document(subscribable=subscribers("u1")))
    before = known.state().channels[ORDERS]
    changed = document(
        version=11, provisioner={"name": "kafka"}, subscribable=subscribers("u1", "u2")
    )
    known.put(changed)
    after = known.state().channels[ORDERS]
    assert [each.durable for each in after.subscribers] == ["u1", "u2"]
    assert after.hosts == before.hosts
    assert [each.path for each in known.state().problems] == ["spec.provisioner"]
    known.put(
        with_metadata(changed, resourceVersion="12", deletionTimestamp="2026-01-01T00:00:00Z")
    )
    (entry,) = known
    assert entry.wants_release


def test_a_channel_that_is_broken_now_stays_as_it_was() -> None:
    known = table(document(subscribable=subscribers("u1")))
    before = known.state().channels[ORDERS]
    known.put(document(version=11, subscribable=7))
    state = known.state()
    assert state.channels[ORDERS] == before
    assert state.problems


def test_a_change_of_status_changes_nothing_here() -> None:
    known = table(document())
    before = known.state().channels[ORDERS]
    changed = {**document(version=11), "status": document()["status"] | {"conditions": []}}
    assert not known.put(changed)
    assert known.state().channels[ORDERS] is before


def test_an_answer_is_not_undone_by_an_earlier_event() -> None:
    known = table(document(version=12))
    assert not known.put(with_metadata(document(version=11), finalizers=[]))
    (entry,) = known
    assert entry.is_held


def test_another_channel_of_the_same_name_has_no_versions_in_common() -> None:
    known = table(document(version=12))
    assert known.put(with_metadata(document(version=5), uid="another", finalizers=[]))
    assert not known.discard(document(version=13)), "it was the former one that went"
    assert len(known) == 1


def test_what_was_missed_is_seen_in_a_list() -> None:
    known = table(document(), document("other", 11))
    assert listed(known, document("other", 11), version=20) is Belief.TAKEN
    assert set(known.state().channels) == {channel_id("shop", "other")}


def test_a_list_that_is_empty_by_fault_takes_nothing_away() -> None:
    known = table(document())
    assert listed(known, version=20) is Belief.EMPTY
    assert set(known.state().channels) == {ORDERS}
    assert listed(known, version=21, empty_is_true=True) is Belief.TAKEN
    assert known.state().channels == {}


def test_a_list_of_a_store_that_was_restored_takes_nothing_away() -> None:
    known = table(document(version=100), document("other", 90))
    assert listed(known, document("other", 3), version=5, empty_is_true=True) is Belief.BEHIND
    assert set(known.state().channels) == {ORDERS, channel_id("shop", "other")}
    assert known.put(document("other", 4, subscribable=subscribers("u1"))), "and it goes on there"


def test_the_first_list_may_be_empty() -> None:
    assert listed(table(), version=1) is Belief.TAKEN


def test_what_is_kept_is_all_that_is_needed() -> None:
    known = table(
        document(subscribable=subscribers("u1"), arguments={"retry": 2}),
        with_metadata(document("foreign", provisioner={"name": "kafka"}), finalizers=["kafka"]),
        with_metadata(document("new", 15), finalizers=[]),
    )
    loaded = ChannelTable(Defaults())
    list(loaded.load(known.dump()))
    channels = loaded.state().channels
    assert channels[ORDERS] == known.state().channels[ORDERS]
    assert set(channels) == {ORDERS, channel_id("shop", "new")}
    assert loaded.is_behind(CHANNEL, "14")
    assert "managedFields" not in str(loaded.dump())


def new(**metadata: Any) -> dict[str, Any]:
    return with_metadata(document(), finalizers=[], **metadata)


def with_epoch(epoch: str | None, version: int = 10, uid: str = "u", **spec: Any) -> dict[str, Any]:
    annotations = {EPOCH_ANNOTATION: epoch}
    return with_metadata(document(version=version, **spec), annotations=annotations, uid=uid)


@pytest.mark.parametrize(
    ("given", "wants"),
    [
        (new(), True),
        (new(annotations={"other": "x"}), True),
        (document(), False),  # served by Go, or before epochs were given
        (new(annotations={DURABLES: "{}"}), False),  # restored, or its finalizer was taken off
        (new(annotations={EPOCH_ANNOTATION: "e1"}), False),  # restored, with the one it had
        (new() | {"status": {"dispatcher": {"host": "a.b"}}}, False),
        (new() | {"status": {"subscribableStatus": {"subscribers": [{}]}}}, False),
        (new(deletionTimestamp="2026-01-01T00:00:00Z"), False),
        (new() | {"spec": {"provisioner": {"name": "kafka"}}}, False),
    ],
)
def test_which_channels_are_given_an_epoch(given: dict[str, Any], wants: bool) -> None:
    for gives_epochs in (True, False):
        known = ChannelTable(Defaults(), gives_epochs=gives_epochs)
        known.put(given)
        (entry,) = known
        assert known.wants_epoch(entry) == (wants and gives_epochs)


def test_what_was_known_at_a_start_is_given_none() -> None:
    """A former process served it, although it could not record that on the Channel."""
    known = ChannelTable(Defaults(), gives_epochs=True)
    assert list(known.load({"version": "10", "channels": [new()]}))
    (entry,) = known
    assert not known.wants_epoch(entry)


def test_one_whose_predecessor_was_not_seen_to_go_is_new() -> None:
    known = ChannelTable(Defaults(), gives_epochs=True)
    known.put(with_epoch("e1"))
    assert set(known.state().channels) == {ORDERS}
    known.put(new(uid="another-life", resourceVersion="11"))
    (entry,) = known
    assert known.wants_epoch(entry)
    assert known.state().channels == {}


def test_an_epoch_is_a_part_of_the_subject_of_events_and_durables() -> None:
    record = '{"u1": {"subscription": "mail"}}'
    annotations = {EPOCH_ANNOTATION: "e1", DURABLES: record}
    known = table(with_metadata(document(), annotations=annotations))
    (entry,) = known
    assert known.state().channels[ORDERS].subject == "orders.shop._e1"
    assert entry.recorded is not None
    assert entry.recorded["u1"].subject == "orders.shop._e1"
    again = ChannelTable(Defaults())
    assert list(again.load(known.dump()))
    assert again.state() == known.state()


@pytest.mark.parametrize("written", ["e2", None, "", "E2", "a.b", "x" * 33])
def test_who_is_served_keeps_the_epoch_whatever_is_written(written: str | None) -> None:
    known = table(with_epoch("e1"))
    before = known.state().channels[ORDERS]
    known.put(with_epoch(written, version=11))
    assert known.state().channels[ORDERS] == before
    (entry,) = known
    assert entry.written_epoch != entry.epoch == "e1"
    known.put(with_epoch(written, version=12, uid="another-life"))
    (entry,) = known
    if written in {"e2", None, ""}:
        assert entry.epoch == (written or "")


@pytest.mark.parametrize("written", ["E2", "a.b", "x" * 33, "../x"])
def test_an_epoch_that_is_none_is_told_and_nothing_is_served(written: str) -> None:
    annotations = {EPOCH_ANNOTATION: written, DURABLES: '{"u1": {"subscription": "mail"}}'}
    known = table(with_metadata(document(), annotations=annotations))
    (entry,) = known
    assert known.state().channels == {}
    assert EPOCH_ANNOTATION in entry.problems[0].path
    assert entry.recorded is None, "nobody knows on which subject these are"


# --- more subscribers than are served -------------------------------------------------------------


def served(known: ChannelTable) -> list[str]:
    return [each.durable for each in known.state().channels[ORDERS].subscribers]


def bounded(*documents: dict[str, Any]) -> ChannelTable:
    made = ChannelTable(Defaults(max_subscribers=2))
    for each in documents:
        made.put(each)
    return made


def recorded(**since: str | None) -> dict[str, str]:
    """Return the annotation of a Channel: when each durable was wanted, None for opened ones."""
    entries = {
        uid: {"subscription": uid} | ({} if at is None else {"since": at})
        for uid, at in since.items()
    }
    return {DURABLES: json.dumps(entries)}


def test_another_pod_serves_those_that_are_on_record() -> None:
    first = bounded(document(subscribable=subscribers("b", "c")))
    assert served(first) == ["b", "c"]
    crowded = document(subscribable=subscribers("a", "b", "c", "d"))
    known = bounded(with_metadata(crowded, annotations=recorded(c=None, b=None)))
    assert served(known) == ["b", "c"]
    assert known.state().channels[ORDERS].unserved.number == 2


def test_a_replica_that_stands_by_follows_who_was_served() -> None:
    """It saw another list first, and would give their places to others when it takes over."""
    crowded = document(subscribable=subscribers("a", "b", "c", "d"))
    known = bounded(crowded)
    assert served(known) == ["a", "b"]
    known.put(
        with_metadata(
            document(version=11, subscribable=crowded["spec"]["subscribable"]),
            annotations=recorded(c=None, d=None, a="2026-01-01T00:00:00Z"),
        )
    )  # fmt: skip
    assert served(known) == ["c", "d"]


def test_a_place_is_given_when_the_record_of_a_removed_one_goes() -> None:
    full = document(subscribable=subscribers("b", "c"))
    known = bounded(
        with_metadata(full, annotations=recorded(a=None, b=None)),
    )
    assert served(known) == ["b"], "a may come back in its grace"
    known.put(with_metadata(full, resourceVersion="11", annotations=recorded(b=None)))
    assert served(known) == ["b", "c"]


def test_what_is_written_on_a_channel_by_us_does_not_have_it_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading a large one takes 20 ms, and each reading used to cause another."""
    known = table(document(subscribable=subscribers("a", "b")))
    readings = []

    def count(*args: Any) -> Any:
        readings.append(args)
        return desired_state(*args)

    monkeypatch.setattr(channel_table, "desired_state", count)
    (before,) = known
    same = document(version=11, subscribable=subscribers("a", "b"))
    same["status"]["subscribableStatus"] = {"subscribers": [{"uid": "a", "ready": "True"}]}
    known.put(with_metadata(same, annotations=recorded(a=None)))
    (after,) = known
    assert readings == []
    assert after.channel is before.channel
    assert set(after.recorded or ()) == {"a"}
    assert after.reported_subscribers == [{"uid": "a", "ready": "True"}]
    known.put(document(version=12, subscribable=subscribers("a")))
    assert len(readings) == 1
