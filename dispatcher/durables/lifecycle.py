"""The life of a subscriber's durables: decides the next state from the known facts. Pure.

All code that acts on durables asks here first: one place says when a durable is kept and when it is
unsubscribed.
"""

import enum
from dataclasses import dataclass

from natss.contract.channel_id import ChannelId
from natss.contract.resources import DesiredState, ResourceName


class Life(enum.Enum):
    """The states of a subscriber's durables. ``RELEASED`` is final."""

    SERVED = "served"  # events are delivered
    HELD = "held"  # an unreadable document may want the subscriber
    SET_ASIDE = "set aside"  # the subscriber is wanted, but its channel has too many
    RETAINED = "retained"  # the subscriber is gone, and may come back within the grace
    RELEASING = "releasing"  # the durables are unsubscribed as soon as possible
    RELEASED = "released"  # the server has forgotten the durables


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a subscriber that has durables."""

    is_wanted: bool = False
    """Whether its channel wants it and has a place for it."""

    is_set_aside: bool = False
    """Whether its channel wants it but has no place for it: other subscribers have them."""

    may_be_wanted: bool = False
    """Whether a document that cannot be read may contain it."""

    is_channel_deleted: bool = False
    """Whether its channel was deleted for good: then the subscriber does not come back."""

    is_grace_over: bool = False
    is_unsubscribed: bool = False
    """Whether the server has forgotten its durables, by this process or another."""

    @classmethod
    def of(cls, state: DesiredState, channel: ChannelId, ref: ResourceName) -> "Facts":
        """Return what a desired state says of a subscriber that it does not want served."""
        return cls(
            is_set_aside=state.has_no_place(channel, ref),
            may_be_wanted=state.may_want(channel, ref),
            is_channel_deleted=channel in state.deleted,
        )


def next_life(before: Life, facts: Facts) -> Life:
    """Return the state of durables from now on."""
    if before is Life.RELEASED:
        return before
    if facts.is_wanted:
        return Life.SERVED
    if facts.is_unsubscribed:
        return Life.RELEASED
    if before is Life.RELEASING or facts.is_channel_deleted:
        return Life.RELEASING
    if facts.is_set_aside:
        return Life.SET_ASIDE
    if facts.may_be_wanted:  # a served one stays served: no document says that it is gone
        return before if before is Life.SERVED else Life.HELD
    is_over = before is Life.RETAINED and facts.is_grace_over
    return Life.RELEASING if is_over else Life.RETAINED
