"""The kinds of channels that there are, with the form of the documents of each. Pure.

To add a kind, write a module such as ``natss.contract.eventing`` and add a line to ``APIS``. What
the control plane tells of a kind is in ``natss_provisioner.channel_kinds``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from natss.contract import channel_documents, eventing
from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.channel_status import ChannelStatusForm, EventingStatus
from natss.contract.fields import Fields
from natss.contract.places import RecordedDurable
from natss.contract.resource_document import ResourceDocument
from natss.contract.resources import Channel, Defaults


@dataclass(frozen=True, slots=True)
class ChannelApi:
    """The form of the documents of one kind of channel."""

    kind: ChannelKind

    is_ours: Callable[[Fields], bool]
    """Whether NATS Streaming is to serve a channel. Raises Refused if that cannot be told."""

    address: Callable[[ResourceDocument], str | None]
    """The normalised host in the status of a channel, whoever serves it. May raise Refused."""

    read: Callable[
        [ResourceDocument, Defaults, Channel | None, Iterable[RecordedDurable]],
        tuple[Channel, bool],
    ]
    """A channel that is ours, and whether every subscriber in it could be read. The arguments are
    those of ``channel_documents.read_channel``. May raise Refused."""

    status: ChannelStatusForm
    subscribers_field: str
    """The field of ``spec`` in which the list of subscribers is kept."""


APIS: list[ChannelApi] = [
    ChannelApi(
        eventing.CHANNEL,
        channel_documents.is_ours,
        channel_documents.address,
        channel_documents.read_channel,
        EventingStatus(),
        subscribers_field="subscribable",
    ),
]
"""In the order in which two channels of one age have a right to a subject that both want."""


def kinds() -> Iterator[ChannelKind]:
    """All kinds of channels."""
    return (api.kind for api in APIS)


def api_of(kind: ChannelKind) -> ChannelApi:
    """The row of a kind in ``APIS``."""
    for api in APIS:  # a loop, for each change of a channel asks this several times
        if api.kind is kind or api.kind == kind:
            return api
    raise LookupError(f"there is no kind of channel {kind}")


def kind_of(api_version: object, kind: object) -> ChannelKind | None:
    """The kind that a document has by its own words; None if that is no channel."""
    for api in APIS:
        if api.kind.kind == kind and api.kind.api_version == api_version:
            return api.kind
    return None


def kind_called(title: str) -> ChannelKind | None:
    """The kind that has this title in texts for people; None if none has."""
    return next((each for each in kinds() if each.title == title), None)


def kind_marked(mark: object) -> ChannelKind:
    """The kind that has this mark in a record.

    Raises:
        ValueError: none has, as in the record of a later version.
    """
    for each in kinds():
        if each.mark == mark:
            return each
    raise ValueError(f"there is no kind of channel {mark!r}")


def channel_of_subject(subject: str) -> ChannelId | None:
    """The channel whose events are stored under a subject; None if it is none of ours.

    The kind without a mark takes any subject, and is asked last.
    """
    for kind in sorted(kinds(), key=lambda kind: not kind.mark):
        found = kind.names.of_subject(subject)
        if found is not None:
            return ChannelId(kind, *found)
    return None
