"""The durable records of a Channel, as an annotation on the Channel. Pure.

They are on the Channel because it outlives every pod, is visible to every replica, and disappears
when the durables have no more meaning. They are in ``metadata`` and not in ``status`` because
backups keep ``metadata``.
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
"""``{"<durable>": {"subscription": "<name>", "since": "<time>"}}``; ``since`` is when the durable
was first wanted, and is omitted once it has been opened. A Subscription of another namespace than
the Channel's is ``<namespace>/<name>``.
"""

MAX_BYTES = 192 * 1024
"""The API accepts 256 KiB of annotations; there is room here for some 2,000 subscribers."""

_MAX_TIME = 2**33
"""In seconds since the epoch: the year 2242."""

_LONGEST_ENTRY = 2 * 1024
"""Names and a uid that the API accepts, and a time, are shorter."""


def parse(channel: ChannelId, text: str, epoch: str = "") -> dict[str, DurableRecord] | None:
    """Return the records; None if ``render`` did not write the text.

    In that case it is written anew with what is known here. Everybody who may write the Channel may
    write anything into it, and the result goes into requests, metrics and this annotation again.
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
    """Return the text for a Channel; if there are too many records, their order does not matter.

    In that case some durables that were open are left out: the server knows them.
    """
    entries = [(record.durable, _entry(record)) for record in records]
    text = _text(entries)
    if len(text) <= MAX_BYTES:
        return text
    entries.sort(key=lambda entry: ("since" not in entry[1], entry[0]))
    ends = accumulate(len(_text([entry])) - 1 for entry in entries)  # a comma, but no braces
    return _text(entries[: sum(end < MAX_BYTES for end in ends)])


def is_complete(text: str) -> bool:
    """Return whether ``render`` certainly left nothing out of a text: there is room for more."""
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
    """Return the name if documents may have it; otherwise raise ValueError."""
    if not name or not is_uid(name):
        raise ValueError("is no name")
    return name


def _time(text: str) -> float:
    """Return seconds since the epoch that NATS Streaming accepts; otherwise raise ValueError."""
    seconds = datetime.fromisoformat(text).timestamp()
    if not 0 <= seconds < _MAX_TIME:
        raise ValueError("is no time in which anything was subscribed")
    return seconds


def list_changed_at(document: Mapping[str, Any], field: str) -> float | None:
    """Return when a Channel's list of subscribers was last changed (epoch seconds).

    Return None if the API does not say. A subscriber was added at this time or earlier, so no event
    is delivered to it that was stored before it was added.

    Args:
        document: The Channel.
        field: The field of ``spec`` that has the list.
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
