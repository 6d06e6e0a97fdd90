"""Channels of one name and of different kinds in the table of a cluster's channels."""

from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.cluster.channel_table import Belief, ChannelTable
from natss.contract.eventing import CHANNEL
from natss.contract.names import DISPATCHER_FINALIZER
from natss.contract.resources import Defaults
from tests.support.channel_ids import channel_id
from tests.support.other_kind import OTHER, document, known, other_id

ONE, TWO = channel_id("shop", "orders"), other_id("shop", "orders")
HELD: dict[str, Any] = {"finalizers": [DISPATCHER_FINALIZER]}


@pytest.fixture(autouse=True)
def _other_kind() -> Iterator[None]:
    with known(OTHER):
        yield


def both() -> ChannelTable:
    table = ChannelTable(Defaults())
    table.put(document(CHANNEL, **HELD))
    table.put(document(OTHER, **HELD))
    return table


def test_both_are_known_and_wanted() -> None:
    table = both()
    assert {entry.name for entry in table} == {ONE, TWO}
    assert set(table.state().channels) == {ONE, TWO}
    assert table.state().problems == ()
    changed = document(OTHER, **HELD, resourceVersion="11")
    changed["spec"]["subscribable"]["subscribers"] = []
    assert table.put(changed)
    assert len(table.state().channels[ONE].subscribers) == 1
    assert table.state().channels[TWO].subscribers == ()


def test_one_goes_without_the_other() -> None:
    table = both()
    assert table.discard(document(OTHER, **HELD))
    assert set(table.state().channels) == {ONE}
    assert table.take_forgotten() == {TWO: False}


def test_a_list_says_nothing_of_another_kind() -> None:
    table = both()
    assert table.drop_missing(OTHER, {TWO}, "11") is Belief.TAKEN
    assert table.get(ONE) is not None
    assert table.drop_missing(OTHER, set(), "12") is Belief.EMPTY
    assert table.drop_missing(OTHER, set(), "13", empty_is_true=True) is Belief.TAKEN
    assert [entry.name for entry in table] == [ONE]


def test_versions_of_kinds_are_not_compared() -> None:
    table = both()
    table.put(document(OTHER, "other", **{**HELD, "resourceVersion": "99"}))
    assert table.is_behind(OTHER, "98")
    assert not table.is_behind(CHANNEL, "98")


def test_both_are_kept_for_a_start_without_the_api() -> None:
    table, again = both(), ChannelTable(Defaults())
    table.put(document(OTHER, "other", **{**HELD, "resourceVersion": "99"}))
    list(again.load(table.dump()))
    assert again.state() == table.state()
    assert again.is_behind(OTHER, "98")
    assert not again.is_behind(CHANNEL, "98")


def test_of_one_kind_it_is_kept_as_before_there_were_others() -> None:
    table = ChannelTable(Defaults())
    table.put(document(CHANNEL, **HELD))
    dumped = table.dump()
    assert set(dumped) == {"version", "channels"}
    assert dumped["version"] == "10"
