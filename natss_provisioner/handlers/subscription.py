"""A Subscription to a Channel of ``natss``: its URIs, its entry in the Channel, its conditions.

What cannot be resolved (any more) leaves the entry as it was, and a Subscription that now names
another Channel stays with the first: removing a subscriber would abandon its events.
"""

from typing import Any

from natss.contract.channel_id import ChannelId
from natss.contract.fields import Refused
from natss.contract.resources import ResourceName
from natss.contract.uris import redact_value
from natss.document import Document
from natss.knative import SUBSCRIPTIONS
from natss.kube import EventType, NotFound
from natss_provisioner import admission, channels, delivery, subscribers
from natss_provisioner.conditions import (
    CHANNEL_READY,
    READY,
    RESOLVED,
    Condition,
    false,
    is_true,
    reason_of,
    seconds_since,
    true,
    with_ready,
)
from natss_provisioner.handlers import subscribers as entries
from natss_provisioner.handlers import targets
from natss_provisioner.handlers.context import LOOK_AGAIN, Context
from natss_provisioner.subscribers import FINALIZER, HELD_BY, Physical

_NO_CHANNEL = "ChannelNotFound"
_NOT_READY = "ChannelNotReady"
_LOOK_AGAIN_AT_MOST = 30.0


async def reconcile(context: Context, name: ResourceName) -> float | None:
    """Write the subscriber into the Channel, and report in ``status`` whether it is there.

    Subscriptions to channels of other provisioners and of other kinds are not touched.

    Returns:
        The seconds until it must be reconciled again for changes that no watch reports.

    Raises:
        KubeError: The work has to be retried.
    """
    try:
        subscription = await context.subscription(name)
        if subscription["metadata"].get("deletionTimestamp"):
            await _release(context, subscription)
            return None
        return await _subscribe(context, subscription)
    except NotFound:  # perhaps deleted meanwhile
        return None


async def _subscribe(context: Context, subscription: Document) -> float | None:
    try:
        channel_name = subscribers.read_channel_name(subscription)
    except Refused as refused:
        resolved = false(RESOLVED, "Malformed", str(refused))
        unknown = false(CHANNEL_READY, _NO_CHANNEL, str(refused))
        return await _write(context, subscription, (resolved, unknown), {})
    if channel_name is None:
        return None
    former = await _former_channel(context, subscription, channel_name)
    channel_name = former or channel_name
    channel = await entries.get(context, channel_name)
    if channel is not None and not channels.is_for_us(channel):
        await _leave(context, subscription)
        return None
    physical, resolved = await _resolve(context, subscription)
    if channel is not None and physical is not None and not _is_deleted(channel):
        subscription = await _with_finalizer(context, subscription)
        await entries.add(context, channel, subscription, physical)
        fields = {"physicalSubscription": physical.fields, HELD_BY: channel_name.name}
    elif physical is not None:
        fields = {"physicalSubscription": physical.fields}
    else:
        fields = {}
    if former is None:
        channel_ready = _channel_ready(channel_name, channel, subscribed=physical is not None)
    else:
        changed = admission.channel_changed(subscription, former)
        channel_ready = false(CHANNEL_READY, "Immutable", f"{changed.path}: {changed.message}")
    advice = _hints(context, subscription)
    delivers = delivery.delivering(channel, subscription) if channel is not None else None
    if delivers is not None:
        advice = (*advice, delivers)
    return await _write(context, subscription, (resolved, channel_ready, *advice), fields)


async def _former_channel(
    context: Context, subscription: Document, named: ChannelId
) -> ChannelId | None:
    """Return the Channel that has the entry, if the Subscription now names another Channel."""
    name = subscribers.held_by(subscription)
    if name is None or name == named:
        return None
    channel = await entries.get(context, name)
    if channel is None or _is_deleted(channel) or not channels.is_for_us(channel):
        return None
    is_there = any(subscribers.is_of(each, subscription) for each in subscribers.entries(channel))
    return name if is_there else None


def _hints(context: Context, subscription: Document) -> tuple[Condition, ...]:
    """Return the hints about ignored parts of a Subscription; ``Resolved`` reports its mistakes."""
    problems = subscribers.problems_of(subscription, context.place.cluster_domain)
    told = admission.told([problem for problem in problems if not problem.refused])
    return (told,) if told else ()


async def _resolve(context: Context, subscription: Document) -> tuple[Physical | None, Condition]:
    """Return the URIs, if they are known, and ``Resolved``."""
    namespace = subscription["metadata"]["namespace"]
    try:
        wish = subscribers.read_wish(subscription, context.place.cluster_domain)
        physical = await targets.resolve(context, wish, namespace)
    except Refused as refused:
        return None, false(RESOLVED, "Malformed", str(refused))
    except targets.Unresolved as error:
        is_reply = error.target.path.startswith("spec.reply")
        reason = "ReplyResolveFailed" if is_reply else "SubscriberResolveFailed"
        return None, false(RESOLVED, reason, str(error))
    return physical, true(RESOLVED)


def _channel_ready(name: ChannelId, channel: Document | None, *, subscribed: bool) -> Condition:
    if channel is None:
        return false(CHANNEL_READY, _NO_CHANNEL, f"There is no {name.title}")
    if _is_deleted(channel):
        return false(CHANNEL_READY, _NOT_READY, f"The {name.title} is being deleted")
    if not is_true(channel.get("status"), READY):
        message = f"The {name.title} is not ready: see its conditions"
        return false(CHANNEL_READY, _NOT_READY, message)
    if not subscribed:
        message = f"The {name.title} waits until subscriber and reply are resolved"
        return false(CHANNEL_READY, "NotResolved", message)
    return true(CHANNEL_READY)


async def _with_finalizer(context: Context, subscription: Document) -> Document:
    """Add the finalizer, so that its deletion waits for us; return the Subscription with it."""
    metadata = subscription["metadata"]
    finalizers = metadata.get("finalizers") or []
    if FINALIZER in finalizers:
        return subscription
    return await _patch_finalizers(context, subscription, [*finalizers, FINALIZER])


async def _release(context: Context, subscription: Document) -> None:
    """Remove the entry, then the finalizer of the Subscription, whatever the provisioner.

    The finalizer means that the deletion waits for this controller.
    """
    finalizers = subscription["metadata"].get("finalizers") or []
    if FINALIZER not in finalizers:
        return
    try:
        named = subscribers.read_channel_name(subscription)
    except Refused:
        named = None
    for name in {named, subscribers.held_by(subscription)}:
        channel = await entries.get(context, name) if name else None
        if channel is not None:
            await entries.remove(context, channel, subscription)
    await _patch_finalizers(
        context, subscription, [each for each in finalizers if each != FINALIZER]
    )


async def _patch_finalizers(
    context: Context, subscription: Document, finalizers: list[str]
) -> Document:
    metadata = subscription["metadata"]
    change: dict[str, Any] = {
        "finalizers": finalizers,
        "resourceVersion": metadata["resourceVersion"],
    }
    return await context.writer.patch(
        SUBSCRIPTIONS, metadata["name"], {"metadata": change}, metadata["namespace"]
    )


async def _leave(context: Context, subscription: Document) -> None:
    """Clear the status about a missing channel that has turned out to be another provisioner's."""
    metadata = subscription["metadata"]
    if reason_of(subscription.get("status"), CHANNEL_READY) != _NO_CHANNEL:
        return
    body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": None}
    await context.writer.patch_status(SUBSCRIPTIONS, metadata["name"], body, metadata["namespace"])


async def _write(
    context: Context,
    subscription: Document,
    found: tuple[Condition, ...],
    fields: dict[str, Any],
) -> float | None:
    conditions = with_ready(found)
    status = subscription.get("status")
    told = (is_true(status, READY), reason_of(status, READY))
    if await context.write_status(SUBSCRIPTIONS, subscription, conditions, fields):
        await _tell(context, subscription, told, conditions[-1], _where(fields))
    return None if found[0].is_true else _look_again(context, status)


async def _tell(
    context: Context, subscription: Document, told: tuple[bool, str], ready: Condition, where: str
) -> None:
    """Record Events about changes, but not that a new channel is not ready for a moment.

    The dispatcher reports whether events get through.
    """
    if ready.is_true and not told[0]:
        message = f"Resolved; the channel delivers to {where}"
        await context.events.record(subscription, EventType.NORMAL, "Ready", message)
    elif not ready.is_true and told != (False, ready.reason) and ready.reason != _NOT_READY:
        await context.events.record(subscription, EventType.WARNING, ready.reason, ready.message)


def _where(fields: dict[str, Any]) -> str:
    """Return the destination of events, without possible secrets."""
    uris = fields.get("physicalSubscription") or {}
    subscriber, reply = uris.get("subscriberURI"), uris.get("replyURI")
    if subscriber is None:
        return redact_value(str(reply))
    answers = f", and answers to {redact_value(reply)}" if reply else ""
    return f"{redact_value(subscriber)}{answers}"


def _look_again(context: Context, status: object) -> float:
    """Return the seconds until the next attempt: the longer a target is missing, the more."""
    age = seconds_since(status, RESOLVED, context.now()) or 0.0
    return min(max(LOOK_AGAIN, age / 4), _LOOK_AGAIN_AT_MOST)


def _is_deleted(channel: Document) -> bool:
    return bool(channel["metadata"].get("deletionTimestamp"))
