"""Reads off the parts of a subscription what ``verdicts.judge`` has to know."""

import time
from collections.abc import Mapping

from dispatcher.attempts import Health, Plan
from dispatcher.durable import DurableName, DurableState
from dispatcher.member import Member
from dispatcher.reporting.verdicts import Facts
from nats_streaming import NatsStreamingError


def refusal_of(
    member: Member, not_restored: Mapping[DurableName, str]
) -> NatsStreamingError | str | None:
    """Why NATS Streaming does not deliver to a durable; None if it does, or says nothing."""
    durable = member.durable
    if durable.state is DurableState.OPEN:
        return not_restored.get(durable.name)
    return durable.failure


def facts_of(member: Member, now: float) -> Facts:
    """All but the refusal; ``now`` is in seconds of a clock that does not jump."""
    subscription = member.subscription
    plan, window, health = subscription.plan, subscription.window, subscription.health
    failing_for = failed_event_for = None
    if health.last_failure is not None:  # else there is no need to search the window
        oldest, failed = window.oldest(now), window.oldest(now, failed=True)
        if health.failing_since is not None and oldest is not None:
            failing_for = min(time.time() - health.failing_since, now - oldest)
        if failed is not None:
            failed_event_for = now - failed
    return Facts(
        has_target=plan.subscriber is not None or plan.reply is not None,
        is_open=member.durable.state is DurableState.OPEN,
        waits=window.unsettled > 0,
        has_settled=subscription.metrics.settled > 0,
        failing_for=failing_for,
        failed_event_for=failed_event_for,
        last_failure=_last_failure(health, plan),
    )


def _last_failure(health: Health, plan: Plan) -> str:
    """Without the URL, which may have a token in its query."""
    failure = health.last_failure
    if failure is None:
        return ""
    for name, target in (("dead letter sink", plan.dead_letter), ("reply", plan.reply)):
        if failure.destination == str(target) != str(plan.subscriber):
            return f"{name}: {failure.text}"
    return failure.text
