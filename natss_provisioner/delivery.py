"""``Delivering`` of a Subscription: what the dispatcher has reported in ``status`` of its Channel.

Pure. The dispatcher knows whether events get through, and only writes on Channels; only this
program writes ``status`` of Subscriptions. So each has one writer.
"""

import re
from collections.abc import Mapping
from typing import Any

from natss.contract.channel_kinds import api_of
from natss.contract.fields import text_at
from natss.document import Document
from natss.knative import channel_id
from natss_provisioner import subscribers
from natss_provisioner.conditions import DELIVERING, WARNING, Condition, Status

_REASON = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_LONGEST = 1000
"""The most characters of a message; everybody who may write ``status`` of a Channel chooses it."""


def delivering(channel: Document, subscription: Document) -> Condition | None:
    """Return the condition of a Subscription to a Channel; None if no dispatcher has reported."""
    return condition(told(channel).get(_durable(subscription, channel), {}))


def told(channel: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what a dispatcher has reported in ``status``, by durable."""
    status = api_of(channel_id(channel).kind).status
    return {str(each.get("uid")): each for each in status.subscribers(channel)}


def condition(entry: Mapping[str, Any]) -> Condition | None:
    """Return an entry as a condition; None if it cannot be read."""
    try:
        status = Status(entry.get("ready"))
    except ValueError:
        return None
    if status is Status.TRUE:
        return Condition(DELIVERING, status, severity=WARNING)
    reason, message = entry.get("reason"), text_at(entry, "message") or ""
    if not isinstance(reason, str) or not _REASON.fullmatch(reason):
        reason = "NotDelivered"  # from a dispatcher that reports no reason
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}..."
    return Condition(DELIVERING, status, reason, message, severity=WARNING)


def _durable(subscription: Document, channel: Document) -> str:
    metadata = subscription["metadata"]
    uid: str | None = metadata["uid"]
    for entry in subscribers.entries(channel):
        if subscribers.is_of(entry, subscription):
            uid = text_at(entry, "uid")
    durable = channel_id(channel).kind.names.durable
    return durable(uid, metadata["namespace"], metadata["name"])
