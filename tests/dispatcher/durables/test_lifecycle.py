"""Every row of the life of a subscriber's durables."""

from itertools import product

import pytest

from dispatcher.durables.lifecycle import Facts, Life, next_life
from natss.contract.resources import Channel, DesiredState, ResourceName, Unread, Unserved
from tests.support.channel_ids import channel_id

WANTED = Facts(is_wanted=True)
GONE = Facts()
GRACE_OVER = Facts(is_grace_over=True)
SET_ASIDE = Facts(is_set_aside=True, may_be_wanted=True)
UNREADABLE = Facts(may_be_wanted=True)
DELETED = Facts(is_channel_deleted=True)
UNSUBSCRIBED = Facts(is_unsubscribed=True)

S, H, A, R, X, Z = (
    Life.SERVED,
    Life.HELD,
    Life.SET_ASIDE,
    Life.RETAINED,
    Life.RELEASING,
    Life.RELEASED,
)
TABLE = {
    #              served held aside retained releasing released
    "WANTED": (WANTED, (S, S, S, S, S, Z)),
    "GONE": (GONE, (R, R, R, R, X, Z)),
    "GRACE_OVER": (GRACE_OVER, (R, R, R, X, X, Z)),
    "SET_ASIDE": (SET_ASIDE, (A, A, A, A, X, Z)),
    "UNREADABLE": (UNREADABLE, (S, H, H, H, X, Z)),
    "DELETED": (DELETED, (X, X, X, X, X, Z)),
    "UNSUBSCRIBED": (UNSUBSCRIBED, (Z, Z, Z, Z, Z, Z)),
}


@pytest.mark.parametrize(
    ("facts", "before", "after"),
    [
        pytest.param(facts, before, after, id=f"{before.name} {name}")
        for name, (facts, row) in TABLE.items()
        for before, after in zip((S, H, A, R, X, Z), row, strict=True)
    ],
)
def test_each_row(facts: Facts, before: Life, after: Life) -> None:
    assert next_life(before, facts) is after


FLAGS = tuple(Facts.__dataclass_fields__)


def every_facts() -> list[Facts]:
    values = product((False, True), repeat=len(FLAGS))
    return [Facts(**dict(zip(FLAGS, each, strict=True))) for each in values]


@pytest.mark.parametrize("facts", every_facts(), ids=str)
def test_whatever_is_known(facts: Facts) -> None:
    """What must hold for any facts together."""
    assert next_life(Life.RELEASED, facts) is Life.RELEASED, "what is final is final"
    for before in set(Life) - {Life.RELEASED}:
        after = next_life(before, facts)
        assert (after is Life.SERVED) >= facts.is_wanted, "who is wanted is served"
        ends = after in {Life.RELEASING, Life.RELEASED}
        has_reason = (
            before is Life.RELEASING
            or facts.is_channel_deleted
            or facts.is_unsubscribed
            or (before is Life.RETAINED and facts.is_grace_over)
        )
        assert not ends or has_reason, "nothing is unsubscribed without a reason"
        if facts.may_be_wanted and not facts.is_channel_deleted and not facts.is_unsubscribed:
            assert not ends or before is Life.RELEASING, "nor while somebody may want it"


CHANNEL, REF = channel_id("default", "orders"), ResourceName("default", "mail")
WITHOUT_A_PLACE = Channel(CHANNEL, (), unserved=Unserved(1, {REF: "u1"}))


@pytest.mark.parametrize(
    ("state", "facts"),
    [
        (DesiredState({}), GONE),
        (DesiredState({CHANNEL: Channel(CHANNEL, ())}), GONE),
        (DesiredState({CHANNEL: WITHOUT_A_PLACE}), SET_ASIDE),
        (DesiredState({}, without_subject=frozenset({CHANNEL})), SET_ASIDE),
        (DesiredState({}, unread=Unread(anything=True)), UNREADABLE),
        (DesiredState({}, unread=Unread(channels=frozenset({CHANNEL}))), UNREADABLE),
        (DesiredState({}, unread=Unread(subscriptions=frozenset({REF}))), GONE),
        (
            DesiredState(
                {CHANNEL: Channel(CHANNEL, ())}, unread=Unread(subscriptions=frozenset({REF}))
            ),
            UNREADABLE,
        ),
        (DesiredState({}, deleted={CHANNEL: Channel(CHANNEL, ())}), DELETED),
    ],
)
def test_what_a_desired_state_says_of_who_is_not_served(state: DesiredState, facts: Facts) -> None:
    assert Facts.of(state, CHANNEL, REF) == facts
