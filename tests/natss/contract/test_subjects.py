"""Two channels that want one subject: the older has it, and the other says so."""

from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.cluster.channel_table import ChannelTable
from natss.contract.channel_id import ChannelId
from natss.contract.documents import desired_state
from natss.contract.eventing import CHANNEL
from natss.contract.names import DISPATCHER_FINALIZER
from natss.contract.resources import Defaults, DesiredState, ResourceName
from tests.support.channel_ids import channel_id
from tests.support.other_kind import OTHER, RIVAL, document, known

ONE, TWO = channel_id("shop", "orders"), ChannelId(RIVAL, "shop", "orders")
OLD, NEW = "2019-01-01T00:00:00Z", "2024-01-01T00:00:00Z"
MAIL = ResourceName("shop", "u-RivalChannel")
WHY = (
    "metadata.name: its events would be stored under the subject orders.shop, which the older"
    " Channel shop/orders has: delete one of the two; until then it takes no events"
)


@pytest.fixture(autouse=True)
def _two_kinds() -> Iterator[None]:
    with known(RIVAL, OTHER):
        yield


def from_files(*documents: dict[str, Any]) -> DesiredState:
    return desired_state([("", each) for each in documents])


def from_a_cluster(*documents: dict[str, Any]) -> DesiredState:
    table = ChannelTable(Defaults())
    for each in documents:
        metadata = {**each["metadata"], "finalizers": [DISPATCHER_FINALIZER]}
        table.put({**each, "metadata": metadata})
    return table.state()


@pytest.fixture(params=[from_files, from_a_cluster])
def state_of(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_the_older_has_it_and_the_other_says_so(state_of: Any) -> None:
    state = state_of(
        document(RIVAL, creationTimestamp=NEW), document(CHANNEL, creationTimestamp=OLD)
    )
    assert set(state.channels) == {ONE}
    (problem,) = state.problems
    assert problem.resource == "RivalChannel shop/orders"
    assert problem.text == WHY
    assert problem.refused


def test_whichever_kind_the_older_is_of(state_of: Any) -> None:
    state = state_of(
        document(CHANNEL, creationTimestamp=NEW), document(RIVAL, creationTimestamp=OLD)
    )
    assert set(state.channels) == {TWO}
    assert [problem.resource for problem in state.problems] == ["Channel shop/orders"]


def test_of_two_of_one_age_it_is_the_same_each_time(state_of: Any) -> None:
    both = document(CHANNEL), document(RIVAL)
    assert set(state_of(*both).channels) == set(state_of(*reversed(both)).channels) == {ONE}


def test_subscribers_of_the_other_keep_their_durables_and_get_nothing(state_of: Any) -> None:
    """The events stored there are not theirs; and their channel may get its subject again."""
    state = state_of(
        document(CHANNEL, creationTimestamp=OLD), document(RIVAL, creationTimestamp=NEW)
    )
    assert state.has_no_place(TWO, MAIL)
    assert state.may_want(TWO, MAIL)
    assert not state.has_no_place(ONE, ResourceName("shop", "u-Channel"))


def test_when_the_older_is_gone_the_other_has_it(state_of: Any) -> None:
    state = state_of(document(RIVAL, creationTimestamp=NEW))
    assert set(state.channels) == {TWO}
    assert (state.problems, state.without_subject) == ((), frozenset())


def test_who_has_another_subject_is_not_concerned(state_of: Any) -> None:
    state = state_of(document(CHANNEL), document(OTHER), document(RIVAL, "other"))
    assert len(state.channels) == 3
    assert state.problems == ()


def test_one_that_is_being_deleted_has_it_until_it_is_gone() -> None:
    """Its durables still exist, and would get the events of the other."""
    deleted = document(CHANNEL, creationTimestamp=OLD, deletionTimestamp="2026-01-01T00:00:00Z")
    state = from_a_cluster(deleted, document(RIVAL, creationTimestamp=NEW))
    assert set(state.deleted) == {ONE}
    assert state.channels == {}
    assert [problem.text for problem in state.problems] == [WHY]


def test_channels_of_one_kind_never_want_the_same() -> None:
    """``a.b`` in ``c`` and ``a`` in ``b.c``: no namespace has a dot."""
    state = from_files(document(CHANNEL, "a.b"), document(CHANNEL, "a", namespace="b"))
    assert sorted(each.subject for each in state.channels.values()) == ["a.b", "a.b.shop"]
    broken = from_files(document(CHANNEL, "a", namespace="b.c"))
    assert broken.channels == {}
    assert "small letters, digits and '-'" in broken.problems[0].message
