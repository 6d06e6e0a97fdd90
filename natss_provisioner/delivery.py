"""``Delivering`` of a Subscription: what the dispatcher has told in ``status`` of its Channel.

Pure. The dispatcher knows whether events get through, and writes on Channels alone; this program
writes ``status`` of Subscriptions alone. So each has one writer.
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
"""Characters of a message; whoever may write ``status`` of a Channel chooses it."""


def delivering(channel: Document, subscription: Document) -> Condition | None:
    """What is to be told on a Subscription to a Channel; None as long as no dispatcher tells."""
    return condition(told(channel).get(_durable(subscription, channel), {}))


def told(channel: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a dispatcher has told in ``status``, by durable."""
    status = api_of(channel_id(channel).kind).status
    return {str(each.get("uid")): each for each in status.subscribers(channel)}


def condition(entry: Mapping[str, Any]) -> Condition | None:
    """An entry as a condition; None if it says nothing that can be read."""
    try:
        status = Status(entry.get("ready"))
    except ValueError:
        return None
    if status is Status.TRUE:
        return Condition(DELIVERING, status, severity=WARNING)
    reason, message = entry.get("reason"), text_at(entry, "message") or ""
    if not isinstance(reason, str) or not _REASON.fullmatch(reason):
        reason = "NotDelivered"  # of a dispatcher that tells no reason
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
