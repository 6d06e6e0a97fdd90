"""All kinds of channels, with the form of the documents of each. Pure.

To add a kind, write a module such as ``natss.contract.eventing`` and add a line to ``APIS``.
``natss_provisioner.channel_kinds`` says what the control plane does for each kind.
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
    """Returns whether NATS Streaming serves a channel. Raises Refused if the channel does not say.
    """

    address: Callable[[ResourceDocument], str | None]
    """Returns the normalised host in a channel's status, whoever serves it. May raise Refused."""

    read: Callable[
        [ResourceDocument, Defaults, Channel | None, Iterable[RecordedDurable]],
        tuple[Channel, bool],
    ]
    """Returns a channel that is ours, and whether all its subscribers are readable. The arguments
    are those of ``channel_documents.read_channel``. May raise Refused.
    """

    status: ChannelStatusForm
    subscribers_field: str
    """The field of ``spec`` that has the list of subscribers."""


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
"""If two channels of one age want the same subject, the one whose kind comes first has it."""


def kinds() -> Iterator[ChannelKind]:
    """Return all kinds of channels."""
    return (api.kind for api in APIS)


def api_of(kind: ChannelKind) -> ChannelApi:
    """Return the row of a kind in ``APIS``."""
    for api in APIS:  # a loop, because each change of a channel calls this several times
        if api.kind is kind or api.kind == kind:
            return api
    raise LookupError(f"there is no kind of channel {kind}")


def kind_of(api_version: object, kind: object) -> ChannelKind | None:
    """Return the kind of a document from its ``apiVersion`` and ``kind``; None if no channel."""
    for api in APIS:
        if api.kind.kind == kind and api.kind.api_version == api_version:
            return api.kind
    return None


def kind_called(title: str) -> ChannelKind | None:
    """Return the kind that has this title in texts for people; None if there is none."""
    return next((each for each in kinds() if each.title == title), None)


def kind_marked(mark: object) -> ChannelKind:
    """Return the kind that has this mark in a record.

    Raises:
        ValueError: No kind has it; the record may be one of a later version.
    """
    for each in kinds():
        if each.mark == mark:
            return each
    raise ValueError(f"there is no kind of channel {mark!r}")


def channel_of_subject(subject: str) -> ChannelId | None:
    """Return the channel whose events have a subject; None if it is none of ours.

    The kind without a mark accepts any subject and is asked last.
    """
    for kind in sorted(kinds(), key=lambda kind: not kind.mark):
        found = kind.names.of_subject(subject)
        if found is not None:
            return ChannelId(kind, *found)
    return None
