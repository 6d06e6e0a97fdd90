"""The identity of a Kubernetes document: apiVersion, kind, name and namespace.

Pure. ``documents.py`` then reads Channels and Subscriptions.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from natss.contract.channel_id import ChannelKind
from natss.contract.channel_kinds import kind_of
from natss.contract.eventing import API_VERSION
from natss.contract.fields import Fields, Refused, fields
from natss.contract.names import MAX_LABEL, MAX_NAME, is_dns_label, is_dns_name, is_uid
from natss.contract.reports import Report, did_you_mean, shown
from natss.contract.resource_document import ResourceDocument
from natss.contract.resources import ResourceName

_KINDS = ("Channel", "Subscription")
_OTHER_KINDS = ("ClusterChannelProvisioner", "Broker", "Trigger", "EventType")
_TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")
_METADATA = (
    "name", "namespace", "labels", "annotations", "uid", "generation", "resourceVersion",
    "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers",
    "ownerReferences", "managedFields", "selfLink", "generateName", "clusterName", "initializers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unusable:
    """A document that may be meant as one of ours but cannot be read as such."""

    report: Report
    name: ResourceName | None
    """None if not even the name is known."""

    ours: bool
    """Whether it is certainly a Channel or a Subscription."""

    written: ResourceName | None = None
    """The name as written, which may be invalid."""

    channel: tuple[ChannelKind, Fields] | None = None
    """A channel with nothing wrong but its metadata: it may be another provisioner's."""


def flatten(documents: Iterable[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    """Replace lists (``kind: List``, ``ChannelList``) by their items; drop empty documents."""
    for origin, document in documents:
        if document is None or document == {}:
            continue
        kind = document.get("kind") if isinstance(document, Mapping) else None
        if not isinstance(document, Mapping) or not isinstance(kind, str) or kind[-4:] != "List":
            yield origin, document
            continue
        if "items" in document and document["items"] is None:
            continue
        items = document.get("items")
        if not isinstance(items, list | tuple):
            yield origin, document
            continue
        inherited = _of_items(kind, document.get("apiVersion"))
        for number, item in enumerate(items, start=1):
            inside = {**inherited, **item} if isinstance(item, Mapping) else item
            yield f"{origin}, item {number}" if origin else f"item {number}", inside


def _of_items(list_kind: str, api_version: object) -> dict[str, object]:
    """Return the fields that the API server omits in the items of a typed list."""
    kind = list_kind.removesuffix("List")
    is_ours = kind in _KINDS or kind_of(api_version, kind) is not None
    return {"apiVersion": api_version, "kind": kind} if is_ours else {}


def identify(origin: str, value: object) -> ResourceDocument | Unusable | None:
    """Read the identity of a document; return None for other kinds of resources."""
    report = Report("document", origin)
    try:
        root = fields(value, "", report)
        api_version, kind = root.value.get("apiVersion"), root.value.get("kind")
        channel_kind = kind_of(api_version, kind)
        mistake = None if channel_kind is not None else _mistake(api_version, kind)
    except Refused as refused:
        report.refuse(refused.path, refused.message)
        return Unusable(report, None, ours=False)
    except _NotOurs:
        return None
    ours = channel_kind is not None or kind in _KINDS
    if ours:
        report.resource = channel_kind.title if channel_kind is not None else str(kind)
        root.tell_unknown(_TOP_LEVEL)
    name, written, uid, deleted = None, None, None, False
    try:
        metadata = root.nested("metadata")
        if (written := _written_name(metadata)) is not None:
            report.resource = f"{report.resource} {written}"
        name = _name(metadata)
        metadata.tell_unknown(_METADATA)
        uid, deleted = _uid(metadata), metadata.has("deletionTimestamp")
    except Refused as refused:
        mistake = mistake or refused
    if mistake is not None or name is None:
        mistake = mistake or Refused("metadata.name", "is missing")
        report.refuse(mistake.path, mistake.message)
        channel = (channel_kind, root) if channel_kind is not None else None
        return Unusable(report, name, ours=ours, written=written, channel=channel)
    return ResourceDocument(channel_kind, name, uid, deleted, root)


class _NotOurs(Exception):
    """A resource of another kind, which may well be in the same file."""


def _mistake(api_version: object, kind: object) -> Refused | None:
    """Return what is wrong with the type of a document that may be meant as one of ours."""
    if not isinstance(api_version, str) or not isinstance(kind, str):
        path, value = (
            ("kind", kind) if isinstance(api_version, str) else ("apiVersion", api_version)
        )
        return Refused(path, f"{shown(value)}; every document needs apiVersion and kind")
    if kind.endswith("List") and api_version in {"v1", API_VERSION}:
        return Refused("items", "must be a list of documents, without lists among them")
    if api_version == API_VERSION:
        if kind in _OTHER_KINDS:
            raise _NotOurs
        hint = did_you_mean(kind, _KINDS)
        wrong_kind = Refused("kind", f"{shown(kind)}; must be Channel or Subscription{hint}")
        return None if kind in _KINDS else wrong_kind
    group = api_version.partition("/")[0]
    if kind in _KINDS and (group.endswith("knative.dev") or did_you_mean(group, [API_VERSION])):
        return Refused("apiVersion", f"{shown(api_version)}; only {API_VERSION} is supported")
    raise _NotOurs


def _uid(metadata: Fields) -> str | None:
    uid = metadata.text("uid")
    if uid is not None and not is_uid(uid):
        raise Refused(metadata.path_of("uid"), f"{shown(uid)}; must be a UID")
    return uid


def _written_name(metadata: Fields) -> ResourceName | None:
    """Return the name that a person would search for, valid or not; None if it is no name."""
    namespace, name = metadata.text("namespace") or "default", metadata.text("name") or ""
    is_one = _NAME.fullmatch(namespace) and _NAME.fullmatch(name)
    return ResourceName(namespace, name) if is_one else None


_NAME = re.compile(rf"[A-Za-z0-9.-]{{1,{MAX_NAME}}}")


def _name(metadata: Fields) -> ResourceName:
    if metadata.has("generateName") and not metadata.has("name"):
        raise Refused("metadata.name", "is missing; generateName is not enough here")
    name = metadata.required_text("name")
    if len(name) > MAX_NAME:
        raise Refused("metadata.name", f"{shown(name)} {_too_long(name, MAX_NAME)}")
    for label in name.split("."):
        if len(label) > MAX_LABEL:
            what = f"{shown(label)} {_too_long(label, MAX_LABEL)} between two dots"
            raise Refused("metadata.name", what)
    if not is_dns_name(name):
        raise Refused(
            "metadata.name",
            f"{shown(name)}; must be small letters, digits, '-' and '.', as in orders.v1",
        )
    return ResourceName(_namespace(metadata), name)


def _namespace(metadata: Fields) -> str:
    namespace = metadata.text("namespace") or "default"
    if len(namespace) > MAX_LABEL:
        what = f"{shown(namespace)} {_too_long(namespace, MAX_LABEL)}"
        raise Refused("metadata.namespace", what)
    if not is_dns_label(namespace):
        raise Refused(
            "metadata.namespace", f"{shown(namespace)}; must be small letters, digits and '-'"
        )
    return namespace


def _too_long(text: str, longest: int) -> str:
    return f"has {len(text)} characters; at most {longest}"
