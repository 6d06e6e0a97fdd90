"""Looks at the data plane every second, and reports what has changed for people.

Looking costs nothing on the way of an event. The results are kept for ``/status``, for metrics and
for ``status`` of the Channels; changes are reported as occurrences.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from dispatcher.delivery.subscription import DeliveryState
from dispatcher.durables.member import Member, MemberKey
from dispatcher.reporting.facts import facts_of, is_fine, refusal_of
from dispatcher.reporting.losses import Losses
from dispatcher.reporting.observed import Observed
from dispatcher.reporting.occurrences import Tell, about, logged, news, warning
from dispatcher.reporting.recorded import RecordedVerdicts
from dispatcher.reporting.sessions import (
    DELIVER_EFFECT,
    PUBLISH_EFFECT,
    SessionState,
    SessionWatch,
    state_of,
)
from dispatcher.reporting.verdicts import READY, STUCK, UNKNOWN, SubscriberVerdict, judge
from dispatcher.runtime.turns import Turns
from natss.contract.channel_id import ChannelId
from natss.contract.resources import ResourceName, Subscriber

log = structlog.get_logger(__name__)

_EVERY = 1.0
_UNDECIDED = 5.0
"""Seconds after which the state is reported as unknown."""


@dataclass(slots=True)
class _Seen:
    """What is known of one subscription. Times are of a clock that does not jump."""

    verdict: SubscriberVerdict | None = None
    is_current: bool = False
    """Whether the verdict is of the session that is open. One of an earlier session only shows
    whether a subscriber has recovered: others may have delivered since.
    """

    undecided_since: float | None = None
    refused_since: float | None = None


class Observer:
    """Determines the state of subscriptions and sessions.

    Args:
        observed: The parts to look at.
        patience: Seconds of failure after which a subscriber is stuck.
        tell: Receives what has happened.
        changed: Called when a verdict has changed.
        recorded: The verdicts from before this process delivered; receives the new ones.
    """

    def __init__(
        self,
        observed: Observed,
        patience: float,
        tell: Tell,
        changed: Callable[[], None],
        recorded: RecordedVerdicts,
    ) -> None:
        self._recorded = recorded
        self._observed = observed
        self._patience = patience
        self._tell = tell
        self._changed = changed
        store = observed.store
        self._not_restored = store.not_restored
        self._sessions = (
            SessionWatch(store.publishing, PUBLISH_EFFECT),
            SessionWatch(store.delivering, DELIVER_EFFECT),
        )
        self._losses = Losses(observed.metrics, tell, self._subscriber)
        self._seen: dict[Member, _Seen] = {}
        self._has_news = False

    def verdict(self, key: MemberKey) -> SubscriberVerdict | None:
        """Return the verdict of a subscription that this process delivers to; None if it has none.

        Without a session it has none: another replica may deliver by now, and know better.
        """
        member = self._observed.reconciler.members.get(key)
        if member is None or not self._observed.store.delivering.is_open:
            return None
        seen = self._seen.get(member)
        return seen.verdict if seen is not None and seen.is_current else None

    async def run(self) -> None:
        """Look until cancelled."""
        broken = ""
        while True:
            try:
                await self.look()
            except Exception as error:  # a bug must not end all reports
                if repr(error) != broken:
                    log.exception("looking at the data plane failed, retrying")
                broken = repr(error)
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Look once at everything."""
        now = time.monotonic()
        for session in self._sessions:
            if (occurrence := session.look(now)) is not None:
                self._tell(occurrence)
        self._losses.look(now)
        await self._look_at_members(now)

    async def _look_at_members(self, now: float) -> None:
        delivering = self._observed.store.delivering
        before = {} if state_of(delivering) is SessionState.STANDBY else self._seen
        seen: dict[Member, _Seen] = {}
        turns = Turns()
        for member in [*self._observed.reconciler.members.values()]:
            seen[member] = before.get(member) or _Seen()
            seen[member].is_current &= delivering.is_open
            if delivering.is_open and member.subscription.state is DeliveryState.ACTIVE:
                self._judge(member, seen[member], now)
            else:
                member.subscription.metrics.stuck = False
            await turns.piece_done()
        self._seen = seen
        if self._has_news:
            self._has_news = False
            known = ((each, of.verdict or self._recorded.of(each)) for each, of in seen.items())
            self._recorded.changed((each, of) for each, of in known if of is not None)

    def _judge(self, member: Member, seen: _Seen, now: float) -> None:
        if seen.verdict is None:
            seen.verdict = self._recorded.of(member)
            seen.is_current = seen.verdict is not None
        before = seen.verdict
        if before is READY and seen.is_current and is_fine(member, self._not_restored):
            return
        refusal = refusal_of(member, self._not_restored)
        seen.refused_since = (seen.refused_since or now) if refusal is not None else None
        facts = replace(
            facts_of(member, now), refusal=refusal, refused_for=now - (seen.refused_since or now)
        )
        verdict = judge(facts, self._patience, time.time())
        is_news = verdict is not None and not seen.is_current
        seen.is_current |= is_news
        if verdict is None and before is None:
            seen.undecided_since = seen.undecided_since or now
            verdict = UNKNOWN if now - seen.undecided_since >= _UNDECIDED else None
        elif verdict is None or (before is not None and verdict.reason == before.reason):
            verdict = before  # its message stays: it says since when
        member.subscription.metrics.stuck = verdict is not None and verdict.is_bad
        if verdict is not before and verdict is not None:
            seen.verdict, seen.is_current, is_news = verdict, True, True
            self._tell_change(member, before, verdict)
        if is_news:
            self._has_news = True
            self._changed()

    def _tell_change(
        self, member: Member, before: SubscriberVerdict | None, verdict: SubscriberVerdict
    ) -> None:
        channel, subscriber = member.key.channel, member.subscriber
        if verdict.is_bad:
            told = warning(channel, verdict.reason, verdict.message, verdict.summary)
            told = about(subscriber, told)
            self._tell(told if verdict.reason == STUCK else logged(told))  # logged by its finder
        elif verdict is READY and before is not None and before.is_bad:
            told = news(channel, "SubscriberRecovered", "events get through again")
            self._tell(about(subscriber, told))

    def _subscriber(self, channel: ChannelId, ref: ResourceName) -> Subscriber:
        member = self._observed.reconciler.members.get(MemberKey(channel, ref))
        return Subscriber(ref) if member is None else member.subscriber
