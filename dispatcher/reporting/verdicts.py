"""Whether the events of a subscription get through, in terms that help a person.

Pure. A single failure says nothing: it is retried, and subscribers restart. Only what lasts is
reported, and between "fails now" and "fails for long" the previous verdict stays.
"""

from dataclasses import dataclass

from dispatcher.delivery.subscription import rfc3339
from dispatcher.stores.interface import StoreError, TooManyChannels

SETTLE = 5.0
"""Seconds that a refusal must last, be it of NATS Streaming or of a subscriber that has accepted
nothing yet: a starting subscriber refuses at first.
"""

STUCK = "SubscriberStuck"
"""The reason of a subscriber that does not accept events."""

CHANNEL_LIMIT = (
    "NATS Streaming has reached its limit of channels: raise max_channels there (0 is unlimited);"
    " to delete Channels makes no room"
)


@dataclass(frozen=True, slots=True)
class SubscriberVerdict:
    """Whether events get through."""

    ready: bool | None
    """None if that is not known yet."""

    reason: str = ""
    """One word in CamelCase, for programs; empty if they do."""

    message: str = ""

    summary: str = ""
    """For the log: the message without the words of a subscriber; empty if it has none of them."""

    @property
    def is_bad(self) -> bool:
        return self.ready is False


READY = SubscriberVerdict(True)
_NO_TARGET = SubscriberVerdict(
    False, "NoUsableURI", "its URI cannot be used; its events are kept until that is put right"
)
NOT_SERVED = SubscriberVerdict(
    False,
    "TooManySubscribers",
    "its channel has more subscribers than are served of one (--max-subscribers of the dispatcher):"
    " it gets no events until others are removed",
)
_NOTHING = "nothing has been delivered to it since this dispatcher process started"
UNKNOWN = SubscriberVerdict(None, "NotKnownYet", _NOTHING)
UNPROVEN = SubscriberVerdict(None, "NotKnownYet", f"attempts fail, and {_NOTHING}")
"""For a subscription that was called ready while nothing had to be delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a subscription at one moment. All times are in seconds until now."""

    has_target: bool = True
    """There is a usable URI."""

    is_open: bool = True
    """NATS Streaming delivers to the durable."""

    refusal: StoreError | str | None = None
    """Why it does not."""

    refused_for: float = 0.0

    waits: bool = False
    """There are events that are not settled."""

    has_settled: bool = False
    """An event was settled by this process."""

    failing_for: float | None = None
    """How long every attempt has failed while an event was waiting; None if the last one did not
    fail, or nothing waits.
    """

    failed_event_for: float | None = None
    """Age of the oldest event that could not be delivered in a whole round."""

    last_failure: str = ""
    last_summary: str = ""
    """Without the words of the subscriber."""


def judge(facts: Facts, patience: float, now: float) -> SubscriberVerdict | None:
    """Return the verdict that the facts allow; None if the previous one stays.

    Args:
        facts: As they are now.
        patience: Seconds of failure after which a subscriber is stuck.
        now: In seconds since the epoch.
    """
    if not facts.has_target:
        return _NO_TARGET
    if facts.refusal is not None:
        return _refused(facts.refusal) if facts.refused_for >= SETTLE else None
    if not facts.is_open:
        return None
    failing, one = facts.failing_for, facts.failed_event_for
    if failing is not None and failing >= patience:
        first = "" if facts.has_settled else ", the first attempt of this dispatcher process"
        return _stuck("no event has got through", now - failing, facts, first)
    if one is not None and one >= patience:
        return _stuck(
            "at least one event has not got through", now - one, facts, " (others may have)"
        )
    if failing is not None and failing >= SETTLE and not facts.has_settled:
        return UNPROVEN
    if failing is not None or one is not None or (facts.waits and not facts.has_settled):
        return None
    return READY


def _refused(refusal: StoreError | str) -> SubscriberVerdict:
    if isinstance(refusal, TooManyChannels):
        return SubscriberVerdict(False, "ChannelLimitReached", CHANNEL_LIMIT)
    return SubscriberVerdict(
        False, "DurableRefused", f"NATS Streaming refuses its durable: {refusal}"
    )


def _stuck(what: str, since: float, facts: Facts, but: str = "") -> SubscriberVerdict:
    message = f"{what} since {rfc3339(since)}{but}: "
    told, summary = facts.last_failure, facts.last_summary
    return SubscriberVerdict(False, STUCK, message + told, message + (summary or told))
