"""The Channels of a cluster as the API reported them; each is parsed when it changes.

Pure. Decides what to believe when Channels are missing from a list; ``follower.py`` lists and
watches them.
"""

import enum
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from dispatcher.cluster.annotation import DURABLES, is_complete, list_changed_at, parse
from dispatcher.durables.ledger import DurableRecord
from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.channel_kinds import api_of, kind_marked
from natss.contract.channel_status import ChannelStatusForm
from natss.contract.documents import desired_state
from natss.contract.names import DISPATCHER_FINALIZER, EPOCH_ANNOTATION, is_epoch
from natss.contract.resources import (
    Channel,
    Defaults,
    DesiredState,
    Problem,
    Unread,
)
from natss.contract.subjects import losers
from natss.document import Document
from natss.knative import channel_id

_ANNOTATIONS = (DURABLES, EPOCH_ANNOTATION)
_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp",
    "finalizers",
)  # fmt: skip


class Belief(enum.Enum):
    """Whether a list of all Channels is believed."""

    TAKEN = "taken"
    BEHIND = "behind"  # Channels are missing, but the list is older than what was seen before
    EMPTY = "empty"  # all Channels are missing, which has to be confirmed


@dataclass(frozen=True, slots=True)
class Entry:
    """One Channel."""

    name: ChannelId
    document: Document
    """The parts of it that a start without the API needs."""

    channel: Channel | None
    """None for a Channel of another provisioner, and for one that cannot be read."""

    problems: tuple[Problem, ...]
    recorded: Mapping[str, DurableRecord] | None = None
    """Its durables as all replicas have recorded them; None if no replica ever has."""

    unread: bool = False
    """Whether the Channel or one of its subscribers cannot be read."""

    @property
    def uid(self) -> str:
        return str(self.document["metadata"]["uid"])

    @property
    def version(self) -> str:
        return str(self.document["metadata"]["resourceVersion"])

    @property
    def finalizers(self) -> list[str]:
        return list(self.document["metadata"].get("finalizers") or ())

    @property
    def annotation(self) -> str | None:
        """The text of ``recorded``."""
        text = (self.document["metadata"].get("annotations") or {}).get(DURABLES)
        return text if isinstance(text, str) else None

    @property
    def written_epoch(self) -> str:
        """The epoch as written on the Channel; empty if there is none."""
        annotations = self.document["metadata"].get("annotations") or {}
        return _text(annotations.get(EPOCH_ANNOTATION)) or ""

    @property
    def epoch(self) -> str:
        """The epoch of the subject of its events; empty if there is none, or it is unknown."""
        if self.channel is not None:
            return self.channel.epoch
        return self.written_epoch if is_epoch(self.written_epoch) else ""

    @property
    def was_served(self) -> bool:
        """Whether anything on it shows that a dispatcher has served it, this one or that in Go."""
        return (
            self.is_held
            or self.annotation is not None
            or self.reported_host is not None
            or bool(self.reported_subscribers)
        )

    @property
    def is_record_complete(self) -> bool:
        """Whether ``recorded`` has room for all durables."""
        return is_complete(self.annotation or "")

    @property
    def is_held(self) -> bool:
        """Whether the finalizer of this program keeps the Channel from vanishing."""
        return DISPATCHER_FINALIZER in self.finalizers

    @property
    def is_deleted(self) -> bool:
        """Whether it has been deleted and only waits for finalizers."""
        return "deletionTimestamp" in self.document["metadata"]

    @property
    def wants_finalizer(self) -> bool:
        return self.channel is not None and not self.is_deleted and not self.is_held

    @property
    def wants_release(self) -> bool:
        return self.is_deleted and self.is_held

    @property
    def address(self) -> str | None:
        """The host that its controller has published; None if there is none yet."""
        return self._status.host(self.document)

    @property
    def reported_host(self) -> str | None:
        """The host that a dispatcher has reported as served."""
        return self._status.served_host(self.document)

    @property
    def reported_subscribers(self) -> list[Mapping[str, Any]]:
        """What a dispatcher has reported of the delivery to each subscriber."""
        return self._status.subscribers(self.document)

    @property
    def _status(self) -> ChannelStatusForm:
        return api_of(self.name.kind).status

    def means_the_same_as(self, other: "Entry") -> bool:
        """Return whether the entries differ in nothing that any code acts on."""
        return (
            self.channel is other.channel
            and self.problems == other.problems
            and self.is_deleted == other.is_deleted
            and self.finalizers == other.finalizers
            and self.recorded is other.recorded
            and self.written_epoch == other.written_epoch
        )


class ChannelTable:
    """All Channels by name.

    Args:
        defaults: The values that documents omit.
        gives_epochs: Whether new Channels get an epoch. Existing Channels stay with or without one.
    """

    def __init__(self, defaults: Defaults, *, gives_epochs: bool = False) -> None:
        self._defaults = defaults
        self._gives_epochs = gives_epochs
        self._entries: dict[ChannelId, Entry] = {}
        self._served: set[ChannelId] = set()
        self._highest: dict[ChannelKind, int] = {}
        self._forgotten: dict[ChannelId, bool] = {}
        self.blind_since: dict[ChannelKind, float] = {}
        """By kind, the time from which changes may have been missed (seconds since the epoch)."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def get(self, name: ChannelId) -> Entry | None:
        return self._entries.get(name)

    def put(self, document: Mapping[str, Any], *, even_if_older: bool = False) -> bool:
        """Store a Channel as it is now; return whether anything has changed that matters here.

        A version older than the known one of the same object is ignored: the answer to a request
        may arrive before the watch reports earlier changes.
        """
        name = channel_id(document)
        before = self._entries.get(name)
        if before is not None:
            if before.version == _version(document):
                return False
            if before.uid == document["metadata"]["uid"] and not even_if_older:
                known, new = _number(before.version), _number(_version(document))
                if known is not None and new is not None and new < known:
                    return False
            if before.uid != document["metadata"]["uid"]:
                self._served.discard(name)  # another Channel, whose deletion was not observed
        self._note(name.kind, _version(document))
        changed_at = list_changed_at(document, api_of(name.kind).subscribers_field)
        if changed_at is not None:
            changed_at = min(changed_at, self.blind_since.get(name.kind, changed_at))
        entry = self._read(_trimmed(document), before, changed_at)
        self._entries[name] = entry
        return before is None or not entry.means_the_same_as(before)

    def discard(self, document: Mapping[str, Any]) -> bool:
        """Forget a Channel that the API no longer has; return whether it was known."""
        name = channel_id(document)
        self._note(name.kind, _version(document))
        entry = self._entries.get(name)
        if entry is None or entry.uid != document["metadata"]["uid"]:
            return False
        self._forget(name, in_order="deletionTimestamp" in document["metadata"])
        return True

    def is_behind(self, kind: ChannelKind, version: str) -> bool:
        """Return whether a list of a kind is older than what was seen of that kind before."""
        number = _number(version)
        return number is not None and number < self._highest.get(kind, 0)

    def drop_missing(
        self,
        kind: ChannelKind,
        listed: AbstractSet[ChannelId],
        version: str,
        *,
        empty_is_true: bool = False,
    ) -> Belief:
        """Forget the channels that are missing from a list of their kind.

        If the deletion of a missing Channel was not observed, the fault may be that of an API
        server on an empty or old store. The Channel stays then: its subscribers would lose their
        backlog with it. A list is not believed if it is older than what was seen before, or if it
        is empty, unless ``empty_is_true``.
        """
        missing = {name for name in self._entries if name.kind == kind} - listed
        if missing and self.is_behind(kind, version):
            return Belief.BEHIND
        if missing and not listed and not empty_is_true:
            return Belief.EMPTY
        for name in missing:
            self._forget(name, in_order=False)
        self._note(kind, version)
        return Belief.TAKEN

    def take_forgotten(self) -> Mapping[ChannelId, bool]:
        """Return the Channels forgotten since the last call, and whether each had been deleted.

        Clear them.
        """
        forgotten, self._forgotten = self._forgotten, {}
        return forgotten

    def wants_epoch(self, entry: Entry) -> bool:
        """Return whether a Channel is new and must get an epoch before it is served."""
        return (
            self._gives_epochs
            and entry.wants_finalizer
            and not entry.was_served
            and not entry.written_epoch
            and entry.name not in self._served
        )

    def serve(self, name: ChannelId) -> None:
        """Serve a Channel although it has no finalizer."""
        self._served.add(name)

    def state(self) -> DesiredState:
        """Return the desired state, without Channels that have no finalizer yet."""
        channels: dict[ChannelId, Channel] = {}
        deleted: dict[ChannelId, Channel] = {}
        problems: list[Problem] = []
        for name, entry in self._entries.items():
            problems += entry.problems
            if entry.channel is None:
                continue
            if entry.is_deleted:
                deleted[name] = entry.channel
            elif entry.is_held or name in self._served:
                self._served.add(name)
                channels[name] = entry.channel
        unread = frozenset(
            name
            for name, entry in self._entries.items()
            if entry.unread and not entry.is_deleted  # a deleted one wants nothing
        )
        rivals = losers({**deleted, **channels})
        return DesiredState(
            {name: channel for name, channel in channels.items() if name not in rivals},
            (*problems, *(rivals[name] for name in channels if name in rivals)),
            deleted,
            Unread(channels=unread),
            frozenset(rivals),
        )

    def dump(self) -> Document:
        """Return all that ``load`` needs, as JSON values."""
        entries = [entry.document for entry in self._entries.values() if entry.channel is not None]
        versions = {kind.mark: str(number) for kind, number in self._highest.items()}
        unmarked = versions.pop("", "0")
        dumped: Document = {"version": unmarked, "channels": entries}
        return {**dumped, "versions": versions} if versions else dumped

    def load(self, dumped: object) -> Iterator[None]:
        """Load the Channels that a former process knew and serve them, one at each step.

        It does not matter whether that process had put its finalizer on each: a Channel that has
        vanished meanwhile is missing from the next list.

        Raises:
            LookupError, TypeError, ValueError: The value is not one that ``dump`` returned.
        """
        if not isinstance(dumped, dict):
            raise TypeError(f"is {type(dumped).__name__}, not an object")
        for document in dumped["channels"]:
            self.put(document)
            self._served.add(channel_id(document))
            yield
        for mark, version in {"": dumped["version"], **dumped.get("versions", {})}.items():
            self._note(kind_marked(mark), str(version))

    def _read(self, document: Document, before: Entry | None, changed_at: float | None) -> Entry:
        """Parse a document; reuse the Channel from before if it is equal, for quick comparison."""
        is_same = before is not None and before.uid == document["metadata"]["uid"]
        known = before.channel if before is not None and is_same else None
        served = known if known is not None and known.name in self._served else None
        entry = Entry(channel_id(document), document, served, ())
        recorded = _recorded(entry, before)
        if before is not None and _reads_as(entry, recorded, before):
            return replace(before, document=document, recorded=recorded)
        metadata = {k: v for k, v in document["metadata"].items() if k != "deletionTimestamp"}
        state = desired_state(
            [("", {**document, "metadata": metadata})],
            self._defaults,
            DesiredState({known.name: known} if known is not None else {}),
            lambda _: (recorded or {}).values(),
        )
        channel = next(iter(state.channels.values()), None)
        if channel is not None and served is not None:
            # Another epoch is another subject, and would leave the stored events behind.
            channel = replace(channel, epoch=served.epoch)
        read_under = entry.epoch
        unread = state.unread != Unread()
        entry = replace(entry, channel=channel, problems=state.problems, unread=unread)
        if entry.epoch != read_under or channel is None:
            recorded = _recorded(entry, before)
        if channel is not None and channel == known:
            channel = known
        elif channel is not None and recorded is not None:
            # No event is owed to subscribers of a Channel that has not been served yet.
            channel = replace(channel, subscribed_at=changed_at)
        return replace(entry, channel=channel, recorded=recorded)

    def _forget(self, name: ChannelId, *, in_order: bool) -> None:
        self._forgotten[name] = in_order or self._entries[name].is_deleted
        del self._entries[name]
        self._served.discard(name)

    def _note(self, kind: ChannelKind, version: str) -> None:
        self._highest[kind] = max(self._highest.get(kind, 0), _number(version) or 0)


def _version(document: Mapping[str, Any]) -> str:
    return str(document["metadata"]["resourceVersion"])


def _recorded(entry: Entry, before: Entry | None) -> Mapping[str, DurableRecord] | None:
    """Parse the records; reuse the object from before if the text is equal."""
    text = entry.annotation
    is_known = before is not None and before.annotation == text and before.uid == entry.uid
    if before is not None and is_known and before.epoch == entry.epoch:
        return before.recorded
    if text is None or (entry.channel is None and entry.epoch != entry.written_epoch):
        return None
    return parse(entry.name, text, entry.epoch)


def _reads_as(entry: Entry, recorded: Mapping[str, DurableRecord] | None, before: Entry) -> bool:
    """Return whether no part has changed that is parsed: parsing a large Channel takes time."""
    channel = before.channel
    if before.unread or (
        recorded is not before.recorded and channel is not None and channel.unserved.number
    ):
        return False
    return _read_parts(entry.document) == _read_parts(before.document)


def _read_parts(document: Document) -> tuple[object, ...]:
    address = document.get("status", {}).get("address")
    metadata = document["metadata"]
    epoch = (metadata.get("annotations") or {}).get(EPOCH_ANNOTATION)
    return metadata["uid"], metadata.get("finalizers"), epoch, address, document["spec"]


def _number(version: str) -> int | None:
    """Return a version as a number to compare with others of its kind; None if it is none."""
    return int(version) if version.isascii() and version.isdigit() else None


def _trimmed(document: Mapping[str, Any]) -> Document:
    """Return only the parts of a document that are used here, to save memory."""
    told = document.get("status")
    told = told if isinstance(told, Mapping) else {}
    parts = api_of(channel_id(document).kind).status.parts
    status = {key: told[key] for key in parts if told.get(key)}
    spec = document.get("spec")
    metadata = {
        key: document["metadata"][key]
        for key in _METADATA
        if document["metadata"].get(key) is not None
    }
    annotations = document["metadata"].get("annotations") or {}
    kept = {key: annotations[key] for key in _ANNOTATIONS if key in annotations}
    if kept:
        metadata["annotations"] = kept
    return {
        "apiVersion": document["apiVersion"],
        "kind": document["kind"],
        "metadata": metadata,
        "spec": spec if isinstance(spec, Mapping) else {},
        **({"status": status} if status else {}),
    }


def _text(value: object) -> str | None:
    """Return a non-empty string from a document, or None: anybody may have written anything."""
    return value if isinstance(value, str) and value else None
