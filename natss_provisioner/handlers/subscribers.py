"""Changes the list of subscribers in a Channel, unless it has changed since it was read.

The whole list is written, because the API cannot change a part of it; the ``resourceVersion`` goes
with it, so that a change by somebody else is never undone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from natss.contract.channel_id import ChannelId
from natss.contract.fields import Refused
from natss.document import Document
from natss.knative import SUBSCRIPTIONS, channel_id, channel_resource, name_of
from natss.kube import Conflict, EventType, NotFound
from natss_provisioner import channels, subscribers
from natss_provisioner.handlers.context import Context
from natss_provisioner.subscribers import Physical

_ATTEMPTS = 5

_REMOVED = "SubscriberRemoved"

Change = Callable[[Document], list[Document] | None]
"""Returns the wanted list of a Channel, or None if it has that already."""


@dataclass(frozen=True, slots=True)
class _Told:
    """The Event that reports a change."""

    reason: str
    message: str


async def reconcile(context: Context, name: ChannelId, known: Mapping[str, ChannelId]) -> None:
    """Remove the entries whose Subscription is gone, or is for another channel by now.

    Entries without uid or reference stay, because somebody may have written them by hand.

    Args:
        context: The context of all handlers.
        name: The name of the Channel. Channels of other provisioners are not touched.
        known: The channel of each Subscription that was seen, by uid; saves requests.

    Raises:
        KubeError: The work has to be retried.
    """
    channel = await get(context, name)
    if channel is None or not channels.is_for_us(channel):
        return
    stale = {
        uid
        for entry in subscribers.entries(channel)
        if (uid := subscribers.uid_of(entry)) is not None
        and known.get(uid) != name
        and await _is_left_over(context, channel, entry)
    }
    if stale:
        message = "Removed subscribers whose Subscription is gone or is for another channel"
        await _update(
            context, name, lambda channel: _without(channel, stale), _Told(_REMOVED, message)
        )


async def add(
    context: Context, channel: Document, subscription: Document, physical: Physical
) -> None:
    """Add or correct the entry of a Subscription in the list. Raises KubeError."""

    def change(channel: Document) -> list[Document] | None:
        return subscribers.with_entry(channel, subscription, physical)

    if change(channel) is not None:
        message = f"Events go to the subscriber of {name_of(subscription)}"
        told = _Told("SubscriberAdded", message)
        await _update(context, channel_id(channel), change, told)


async def remove(context: Context, channel: Document, subscription: Document) -> None:
    """Remove the entry of a Subscription from the list. Raises KubeError."""

    def change(channel: Document) -> list[Document] | None:
        return subscribers.without_entry(channel, subscription)

    if change(channel) is not None:
        name = name_of(subscription)
        told = _Told(_REMOVED, f"{name} was deleted: no more events go to its subscriber")
        await _update(context, channel_id(channel), change, told)


async def get(context: Context, name: ChannelId) -> Document | None:
    """Return a Channel, or None if it does not exist. Raises KubeError."""
    try:
        return await context.channel(name)
    except NotFound:
        return None


async def _update(context: Context, name: ChannelId, change: Change, told: _Told) -> None:
    """Write the list that ``change`` returns for the present one, and record an Event.

    Raises:
        Conflict: Others have been faster in every attempt.
        KubeError: Another failure.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with context.locks.of(name):  # so that conflicts are with other programs only
                changed = await _write(context, name, change)
        except Conflict:
            if attempt == _ATTEMPTS:
                raise
        else:
            break
    if changed is not None:
        await context.events.record(changed, EventType.NORMAL, told.reason, told.message)


async def _write(context: Context, name: ChannelId, change: Change) -> Document | None:
    """Attempt to write once; return the Channel if it was changed."""
    channel = await get(context, name)
    if channel is None or channel["metadata"].get("deletionTimestamp"):
        return None  # a dispatcher reads in the list of a deleted one which durables to remove
    wanted = change(channel)
    if wanted is None:
        return None
    body = {
        "metadata": {"resourceVersion": channel["metadata"]["resourceVersion"]},
        "spec": {"subscribable": {"subscribers": wanted}},
    }
    try:
        resource = channel_resource(name.kind)
        return await context.writer.patch(resource, name.name, body, name.namespace)
    except NotFound:
        return None


async def _is_left_over(context: Context, channel: Document, entry: Document) -> bool:
    """Return whether the Subscription of an entry is certainly not for this channel (any more)."""
    name = subscribers.claimant(entry, channel)
    if name is None:
        return False
    try:
        found = await context.client.get(SUBSCRIPTIONS, name.name, name.namespace)
    except NotFound:
        # The API may not know Subscriptions at all; then this raises an error.
        await context.client.list(SUBSCRIPTIONS, name.namespace)
        return True
    try:
        named = subscribers.read_channel_name(found)
    except Refused:
        return False
    return channel_id(channel) not in {named, subscribers.held_by(found)}


def _without(channel: Document, stale: set[str]) -> list[Document] | None:
    before = subscribers.entries(channel)
    after = [entry for entry in before if subscribers.uid_of(entry) not in stale]
    return None if after == before else after
