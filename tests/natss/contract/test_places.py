"""Which subscribers of a channel are served if it has more than allowed."""

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from natss.contract.documents import desired_state
from natss.contract.places import MOST_TOLD, PlaceClaim, choose
from natss.contract.resources import Defaults, DesiredState, ResourceName
from tests.support.channel_ids import channel_id

ORDERS = channel_id("shop", "orders")


@dataclass(frozen=True, slots=True)
class Recorded:
    ref: ResourceName
    durable: str
    since: float | None = None


def claim(name: str, durable: str | None = None) -> PlaceClaim:
    return PlaceClaim(durable or f"uid-of-{name}", "shop", name)


def claims(names: str) -> list[PlaceClaim]:
    return [claim(name) for name in names]


def recorded(name: str, durable: str | None = None, since: float | None = None) -> Recorded:
    return Recorded(ResourceName("shop", name), durable or f"uid-of-{name}", since)


def served(
    wanted: list[PlaceClaim], most: int, before: str = "", known: list[Recorded] | None = None
) -> str:
    choice = choose(wanted, most, claims(before), known or [])
    assert sorted([*choice.served, *choice.held, *choice.waiting]) == list(range(len(wanted)))
    return "".join(wanted[index].name for index in choice.served)


@pytest.mark.parametrize(
    ("wanted", "before", "opened", "expected"),
    [
        ("abc", "", "", "abc"),
        ("abcd", "", "", "abc"),  # no subscriber has anything to lose: the order of the list
        ("dcba", "abc", "abc", "cba"),  # another order
        ("xabc", "abc", "abc", "abc"),  # one that comes before them
        ("xabc", "abc", "", "abc"),  # not on record yet
        ("xabc", "", "abc", "abc"),  # after a restart
        ("xyab", "", "ab", "xab"),
        ("abcde", "", "abcde", "abc"),  # the limit was lowered
        ("edcba", "", "abcde", "cba"),  # ... and the same ones the next time
        ("edcba", "cde", "abcde", "edc"),  # ... whoever they are
        ("xbc", "abc", "abc", "bc"),  # a is in its grace: it may come back
        ("xab", "ab", "abc", "ab"),
        ("xabc", "xab", "abc", "abc"),  # a durable that was never open has the least to lose
    ],
)
def test_who_has_a_place_keeps_it(wanted: str, before: str, opened: str, expected: str) -> None:
    known = [recorded(name) for name in opened]
    assert served(claims(wanted), 3, before, known) == expected


def test_a_subscriber_that_is_made_anew_keeps_its_place() -> None:
    anew = [claim("x"), claim("a", "another-uid"), claim("b"), claim("c")]
    known = [recorded(name) for name in "abc"]
    assert served(anew, 3, "abc", known) == "abc"
    assert served(anew, 3, "", known) == "abc"


def test_a_subscriber_that_gets_another_name_keeps_its_place() -> None:
    renamed = [claim("x"), claim("z", "uid-of-a"), claim("b"), claim("c")]
    known = [recorded(name) for name in "abc"]
    assert served(renamed, 3, "abc", known) == "zbc"


def test_what_was_wanted_and_never_open_goes_behind_what_was_open() -> None:
    known = [recorded("a", since=5.0), recorded("b", since=5.0), recorded("c"), recorded("d")]
    assert served(claims("abcd"), 3, "", known) == "acd"


def test_two_durables_of_one_subscriber_take_one_place() -> None:
    """Its position is being handed over from one to the other."""
    known = [recorded("a", "old"), recorded("a", "new"), recorded("b")]
    assert served(claims("bc"), 2, "b", known) == "b"
    assert served([claim("a", "new"), claim("b"), claim("c")], 3, "ab", known) == "abc"


NAMES = "abcdefghij"


def test_no_order_and_no_newcomer_takes_a_place() -> None:
    for seed in range(2000):
        random = Random(seed)
        most = random.randint(1, 12)
        wanted = random.sample(NAMES, random.randint(0, len(NAMES)))
        opened = random.sample(NAMES, random.randint(0, len(NAMES)))
        known = [recorded(name) for name in opened]
        first = served(claims("".join(wanted)), most, "", known)
        known += [recorded(name) for name in first if name not in opened]  # they are opened
        again = [*wanted, "x", "y"]
        random.shuffle(again)
        second = served(claims("".join(again)), most, first, known)
        restarted = served(claims("".join(again)), most, "", known)
        assert set(first) <= set(second), seed
        assert len(second) <= most, seed
        assert len({each.ref for each in known}) > most or set(first) <= set(restarted), seed


# --- in documents ---------------------------------------------------------------------------------


def channel(*names: str, **more: Any) -> dict[str, Any]:
    entries = [
        {"uid": f"uid-of-{name}", "ref": {"name": name}, "subscriberURI": f"http://{name}/"}
        for name in names
    ]
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {
            "provisioner": {"name": "natss"},
            "subscribable": {"subscribers": [*entries, *more.get("entries", ())]},
        },
    }


def read(
    *documents: dict[str, Any], before: DesiredState | None = None, known: str = ""
) -> DesiredState:
    return desired_state(
        [("", document) for document in documents],
        Defaults(max_subscribers=3),
        before or DesiredState({}),
        lambda name: [recorded(each) for each in known] if name == ORDERS else [],
    )


def names(state: DesiredState) -> str:
    return "".join(each.ref.name for each in state.channels[ORDERS].subscribers)


def test_a_channel_is_read_with_as_many_as_may_be_served() -> None:
    state = read(channel(*"abcde"))
    assert names(state) == "abc"
    unserved = state.channels[ORDERS].unserved
    assert unserved.number == 2
    assert unserved.durables == {
        ResourceName("shop", "d"): "uid-of-d", ResourceName("shop", "e"): "uid-of-e",
    }  # fmt: skip
    (problem,) = state.problems
    assert problem.refused
    assert (problem.resource, problem.path) == (
        "Channel shop/orders", "spec.subscribable.subscribers",
    )  # fmt: skip
    assert "3" in problem.message
    assert "--max-subscribers" in problem.consequence


def test_what_is_told_does_not_change_with_the_number() -> None:
    """Each change would cause an Event."""
    assert read(channel(*"abcde")).problems == read(channel(*"abcdefgh")).problems


def test_who_is_served_now_is_known_from_the_state_before() -> None:
    before = read(channel(*"bcd"))
    assert names(read(channel(*"abcd"), before=before)) == "bcd"


def test_subscriptions_count_like_entries_of_the_list() -> None:
    subscription = {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Subscription",
        "metadata": {"name": "s", "namespace": "shop", "uid": "uid-of-s"},
        "spec": {"channel": {"name": "orders"}, "subscriber": {"uri": "http://s/"}},
    }
    state = read(channel(*"abc"), subscription)
    assert names(state) == "abc"
    assert state.channels[ORDERS].unserved.number == 1
    assert names(read(channel(*"abc"), subscription, known="s")) == "abs"
    listed = read(channel(*"abcds"), subscription, known="s")
    assert names(listed) == "abs"
    assert listed.channels[ORDERS].unserved.number == 2
    assert ResourceName("shop", "s") not in listed.channels[ORDERS].unserved.durables


def test_without_a_bound_all_are_served() -> None:
    state = desired_state([("", channel(*"abcdef"))], Defaults())
    assert names(state) == "abcdef"
    assert state.problems == ()


@pytest.mark.parametrize(
    "entry",
    [
        5, None, {}, {"ref": 5}, {"ref": {}}, {"uid": 5}, {"uid": "u v"}, {"ref": {"name": [1]}},
        {"uid": "x" * 300}, {"ref": {"name": "a b"}}, {"ref": {"name": "n", "namespace": {}}},
        {"uid": "uid-of-a", "ref": {"name": "a"}},
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_told_apart_keeps_what_is_there(entry: object) -> None:
    """It may mean any subscriber that is not in the list."""
    state = read(channel(*"abcd", entries=[entry]))
    assert names(state) == "abc"
    assert state.may_want(ORDERS, ResourceName("shop", "gone"))
    assert not read(channel(*"abcd")).may_want(ORDERS, ResourceName("shop", "gone"))


def test_the_durable_of_one_without_a_place_is_wanted() -> None:
    state = read(channel(*"abcde"))
    assert state.may_want(ORDERS, ResourceName("shop", "e"))
    assert not state.may_want(ORDERS, ResourceName("shop", "a"))


def test_of_very_many_only_some_are_known_by_name() -> None:
    state = read(channel(*(f"n{number}" for number in range(MOST_TOLD + 500))))
    unserved = state.channels[ORDERS].unserved
    assert unserved.number == MOST_TOLD + 497
    assert len(unserved.durables) == MOST_TOLD
