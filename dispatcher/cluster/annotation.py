"""The record of a Channel's durables, as an annotation on the Channel. Pure.

It is on the Channel because that outlives every pod, is seen by every replica, and goes when the
durables have no more meaning. In ``metadata`` and not in ``status``, because a backup keeps it.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from dispatcher.durables.ledger import DurableRecord
from natss.contract.channel_id import ChannelId
from natss.contract.names import is_uid
from natss.contract.resources import ResourceName

DURABLES = "natss-dispatcher/durables"
"""``{"<durable>": {"subscription": "<name>", "since": "<time>"}}``; ``since`` is when it was first
wanted, and is left out once it has been open. A Subscription of another namespace than the
Channel's is ``<namespace>/<name>``."""

MAX_BYTES = 192 * 1024
"""The API takes 256 KiB of annotations; some 2,000 subscribers have room here."""

_MAX_TIME = 2**33
"""In seconds since the epoch: the year 2242."""

_LONGEST_ENTRY = 2 * 1024
"""Names and a uid as the API takes them, and a time, are shorter."""


def parse(channel: ChannelId, text: str, epoch: str = "") -> dict[str, DurableRecord] | None:
    """The records; None if the text is nothing that ``render`` gave.

    It is written anew then, with what is known here. Who may write the Channel may write anything
    into it: what comes out goes into requests, metrics and this annotation again.
    """
    subject = channel.subject(epoch)
    try:
        return {
            durable: DurableRecord(
                channel,
                _ref(channel, entry["subscription"]),
                _checked(durable),
                _time(entry["since"]) if "since" in entry else None,
                subject=subject,
            )
            for durable, entry in json.loads(text).items()
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def render(records: Iterable[DurableRecord]) -> str:
    """The text for a Channel; the same for the same records, in any order if there are too many.

    Some of those that were open are left out then: the server knows them.
    """
    entries = [(record.durable, _entry(record)) for record in records]
    text = _text(entries)
    if len(text) <= MAX_BYTES:
        return text
    entries.sort(key=lambda entry: ("since" not in entry[1], entry[0]))
    ends = accumulate(len(_text([entry])) - 1 for entry in entries)  # a comma, but no braces
    return _text(entries[: sum(end < MAX_BYTES for end in ends)])


def is_complete(text: str) -> bool:
    """Whether surely nothing was left out of a text of ``render``: there is room for more."""
    return len(text) <= MAX_BYTES - _LONGEST_ENTRY


def _text(entries: Iterable[tuple[str, dict[str, str]]]) -> str:
    return json.dumps(dict(entries), separators=(",", ":"))


def _entry(record: DurableRecord) -> dict[str, str]:
    ref = record.ref
    name = ref.name if ref.namespace == record.channel.namespace else str(ref)
    if record.since is None:
        return {"subscription": name}
    since = datetime.fromtimestamp(record.since, UTC).isoformat(timespec="milliseconds")
    return {"subscription": name, "since": since.replace("+00:00", "Z")}


def _ref(channel: ChannelId, text: str) -> ResourceName:
    namespace, _, name = text.rpartition("/")
    return ResourceName(_checked(namespace or channel.namespace), _checked(name))


def _checked(name: str) -> str:
    """A name as documents may have it. Raises ValueError."""
    if not name or not is_uid(name):
        raise ValueError("is no name")
    return name


def _time(text: str) -> float:
    """Seconds since the epoch, as NATS Streaming can be told them. Raises ValueError."""
    seconds = datetime.fromisoformat(text).timestamp()
    if not 0 <= seconds < _MAX_TIME:
        raise ValueError("is no time in which anything was subscribed")
    return seconds


def list_changed_at(document: Mapping[str, Any], field: str) -> float | None:
    """When whoever keeps a Channel's list of subscribers changed it last (epoch seconds).

    None if the API does not tell. That is the time at which a subscriber was added, or later: it
    never has an event delivered that was there before the subscriber.

    Args:
        document: The Channel.
        field: Of its ``spec``, in which the list is.
    """
    latest: float | None = None
    for entry in document["metadata"].get("managedFields") or ():
        try:
            spec = entry["fieldsV1"]["f:spec"]
            if entry.get("subresource") or f"f:{field}" not in spec:
                continue
            at = _time(entry["time"])
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            continue
        latest = at if latest is None else max(latest, at)
    return latest
