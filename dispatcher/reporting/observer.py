"""Looks at the data plane every second, and tells what has changed for people.

Looking costs the way of an event nothing. What is found out is kept for ``/status``, for metrics
and for ``status`` of the Channels; what has changed is told as an occurrence.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import structlog

from dispatcher.member import Member, MemberKey
from dispatcher.reporting.facts import facts_of, refusal_of
from dispatcher.reporting.losses import Losses
from dispatcher.reporting.observed import Observed
from dispatcher.reporting.occurrences import Tell, news, warning
from dispatcher.reporting.sessions import SessionState, SessionWatch, state_of
from dispatcher.reporting.verdicts import READY, UNKNOWN, Facts, Verdict, judge
from dispatcher.subscription import SubscriptionState

log = structlog.get_logger(__name__)

_EVERY = 1.0
_AT_ONCE = 200
"""Subscriptions that are judged before others get their turn: about a millisecond."""

_UNDECIDED = 5.0
"""Seconds after which it is said that nothing can be said."""


class Observer:
    """Finds out how things are.

    Args:
        observed: What is looked at.
        patience: Seconds of failure after which a subscriber is stuck.
        tell: Gets what has changed.
    """

    def __init__(self, observed: Observed, patience: float, tell: Tell) -> None:
        self._observed = observed
        self._patience = patience
        self._tell = tell
        broker = observed.broker
        self._sessions = (
            SessionWatch(broker.publishing, "publishers are answered 503"),
            SessionWatch(broker.delivering, "no event is delivered"),
        )
        self._losses = Losses(observed.metrics, tell)
        self._verdicts: dict[MemberKey, Verdict] = {}
        self._undecided: dict[MemberKey, float] = {}
        self._refused: dict[MemberKey, float] = {}

    @property
    def verdicts(self) -> Mapping[MemberKey, Verdict]:
        """Of the subscriptions that this process delivers to; the others are not its business."""
        return self._verdicts

    async def run(self) -> None:
        """Look until cancelled."""
        broken = ""
        while True:
            try:
                await self.look()
            except Exception as error:  # a fault of ours must not end all reports
                if repr(error) != broken:
                    log.exception("a look broke, looking on")
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
        members = dict(self._observed.fanout.members)
        delivering = self._observed.broker.delivering
        if state_of(delivering) is SessionState.STANDBY:
            self._verdicts.clear()
        for number, (key, member) in enumerate(members.items(), start=1):
            if delivering.is_open and member.subscription.state is SubscriptionState.ACTIVE:
                self._judge(key, member, now)
            else:
                member.subscription.metrics.stuck = False
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        for kept in (self._verdicts, self._undecided, self._refused):
            for key in kept.keys() - members.keys():
                del kept[key]

    def _judge(self, key: MemberKey, member: Member, now: float) -> None:
        before = self._verdicts.get(key)
        verdict = judge(self._facts(key, member, now), self._patience, time.time())
        if verdict is None and before is None:
            if now - self._undecided.setdefault(key, now) >= _UNDECIDED:
                self._verdicts[key] = UNKNOWN
            return
        self._undecided.pop(key, None)
        if verdict is None or (before is not None and verdict.reason == before.reason):
            verdict = before or UNKNOWN  # its message stays: it says since when
        self._verdicts[key] = verdict
        member.subscription.metrics.stuck = verdict.is_bad
        if verdict.is_bad and verdict is not before:
            message = f"Subscription {key.ref}: {verdict.message}"
            self._tell(warning(key.channel, verdict.reason, message))
        elif verdict is READY and before is not None and before.is_bad:
            message = f"Subscription {key.ref}: events get through again"
            self._tell(news(key.channel, "SubscriberRecovered", message))

    def _facts(self, key: MemberKey, member: Member, now: float) -> Facts:
        refusal = refusal_of(member, self._observed.broker.delivering.not_restored)
        if refusal is None:
            self._refused.pop(key, None)
            return facts_of(member, now)
        refused_for = now - self._refused.setdefault(key, now)
        return replace(facts_of(member, now), refusal=refusal, refused_for=refused_for)
