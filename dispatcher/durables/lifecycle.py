"""The life of a subscriber's durables: what comes next, decided from what is known. Pure.

Whatever acts on durables asks here first, so that there is one place which says when one is kept
and when it is unsubscribed.
"""

import enum
from dataclasses import dataclass

from natss.contract.channel_id import ChannelId
from natss.contract.resources import DesiredState, ResourceName


class Life(enum.Enum):
    """Where the durables of a subscriber are in their life. ``RELEASED`` is final."""

    SERVED = "served"  # events are delivered
    HELD = "held"  # a document that cannot be read may want it
    SET_ASIDE = "set aside"  # it is wanted, but its channel has too many subscribers
    RETAINED = "retained"  # its subscriber is gone, and may come back within the grace
    RELEASING = "releasing"  # it is unsubscribed as soon as that is possible
    RELEASED = "released"  # the server has forgotten it


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a subscriber that has durables."""

    is_wanted: bool = False
    """Whether its channel wants it, and it has a place there."""

    is_set_aside: bool = False
    """Whether its channel wants it, and others have the places."""

    may_be_wanted: bool = False
    """Whether it may stand in a document that cannot be read."""

    is_channel_deleted: bool = False
    """Whether its channel was deleted for good: then nobody comes back."""

    is_grace_over: bool = False
    is_unsubscribed: bool = False
    """Whether the server has forgotten its durables, by this process or another."""

    @classmethod
    def of(cls, state: DesiredState, channel: ChannelId, ref: ResourceName) -> "Facts":
        """What a desired state says of a subscriber that it does not want served."""
        return cls(
            is_set_aside=state.has_no_place(channel, ref),
            may_be_wanted=state.may_want(channel, ref),
            is_channel_deleted=channel in state.deleted,
        )


def next_life(before: Life, facts: Facts) -> Life:
    """Decide where durables are from now on."""
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
    if facts.may_be_wanted:  # what is served goes on, for nobody has said that it is gone
        return before if before is Life.SERVED else Life.HELD
    is_over = before is Life.RETAINED and facts.is_grace_over
    return Life.RELEASING if is_over else Life.RETAINED
