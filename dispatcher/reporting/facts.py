"""Collects from the parts of a subscription what ``verdicts.judge`` has to know."""

import time
from collections.abc import Mapping
from typing import Literal

from dispatcher.delivery.attempts import Plan, SubscriberHealth
from dispatcher.delivery.window import COPIES_UNTIL_GONE
from dispatcher.durables.member import Member
from dispatcher.reporting.verdicts import Facts
from dispatcher.stores.interface import Durable, DurableName, DurableState, StoreError

_PENDING_COMES_WITHIN = 2.0
"""Seconds after opening a durable. Before that, an empty queue does not mean that all is well."""


def refusal_of(member: Member, not_restored: Mapping[DurableName, str]) -> StoreError | str | None:
    """Return why NATS Streaming does not deliver to a durable; None if it does, or says nothing."""
    durable = member.durable
    if durable.state is DurableState.OPEN:
        return not_restored.get(durable.name)
    return durable.failure


def is_fine(member: Member, not_restored: Mapping[DurableName, str]) -> bool:
    """Return whether there is nothing to judge; fast, and true for nearly every subscription.

    What has failed fails again soon, or else has expired in the store.
    """
    subscription, durable = member.subscription, member.durable
    health, plan = subscription.health, subscription.plan
    return (
        durable.state is DurableState.OPEN
        and health.failing_since is None
        and time.time() - health.last_failure_at > 2 * COPIES_UNTIL_GONE * plan.policy.ack_wait
        and not (not_restored and durable.name in not_restored)
        and (plan.subscriber is not None or plan.reply is not None)
    )


def facts_of(member: Member, now: float) -> Facts:
    """Return all but the refusal; ``now`` is in seconds of a clock that does not jump."""
    subscription = member.subscription
    plan, window, health = subscription.plan, subscription.window, subscription.health
    failing_for = failed_event_for = None
    if health.last_failure is not None:  # otherwise the window need not be searched
        oldest, failed = window.oldest(now), window.oldest(now, failed=True)
        if health.failing_since is not None and oldest is not None:
            failing_for = min(time.time() - health.failing_since, now - oldest)
        if failed is not None:
            failed_event_for = now - failed
    return Facts(
        has_target=plan.subscriber is not None or plan.reply is not None,
        is_open=_is_open(member.durable, now),
        waits=window.unsettled > 0,
        has_settled=subscription.metrics.settled > 0,
        failing_for=failing_for,
        failed_event_for=failed_event_for,
        last_failure=_last_failure(health, plan, "text"),
        last_summary=_last_failure(health, plan, "summary"),
    )


def _is_open(durable: Durable, now: float) -> bool:
    """Return whether a durable is open and what was pending on it has arrived too."""
    is_open, opened_at = durable.state is DurableState.OPEN, durable.opened_at
    return is_open and opened_at is not None and now - opened_at >= _PENDING_COMES_WITHIN


def _last_failure(health: SubscriberHealth, plan: Plan, form: Literal["text", "summary"]) -> str:
    """Return the last failure without the URL, which may have a token in its query."""
    failure = health.last_failure
    if failure is None:
        return ""
    told: str = getattr(failure, form)
    for name, target in (("dead letter sink", plan.dead_letter), ("reply", plan.reply)):
        if failure.destination == str(target) != str(plan.subscriber):
            return f"{name}: {told}"
    return told
