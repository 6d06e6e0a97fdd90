"""The Services of a provisioner and of its channels: wanted, recognised, repaired.

Pure: documents in, documents out. Names, labels and ports are those of Knative eventing v0.6, so
that Services of the Go controller are still used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from natss.contract.channel_kinds import api_of
from natss.contract.names import (
    CHANNEL_LABEL,
    OLD_CHANNEL_LABEL,
    OLD_PROVISIONER_LABEL,
    PROVISIONER,
    PROVISIONER_LABEL,
    channel_label_value,
    dispatcher_service_name,
    is_dns_label,
    service_host,
)
from natss.document import Document
from natss.knative import channel_id

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "natss-provisioner"
"""The value of this program alone; shows people what created a Service."""


@dataclass(frozen=True, slots=True)
class DispatcherPlace:
    """The place of the dispatcher."""

    system_namespace: str
    cluster_domain: str


@dataclass(frozen=True, slots=True)
class Repair:
    """The repair of a Service."""

    patch: Document
    """The patch to merge; the API refuses it if the Service has been changed meanwhile."""

    changes: tuple[str, ...]
    """The repaired fields, for people, such as ``spec.externalName``."""

    adopts: bool
    """Whether the Service gets an owner that it did not have."""


@dataclass(frozen=True, slots=True)
class Found:
    """The Services of a channel: the one to use, if any, and the surplus ones."""

    service: Document | None
    duplicates: tuple[Document, ...]


def dispatcher_service(provisioner: Document, place: DispatcherPlace) -> Document:
    """Return the Service through which the dispatcher receives events.

    Its port has no name: with one, Istio would block events that come through an ExternalName
    Service.
    """
    name = provisioner["metadata"]["name"]
    labels = dispatcher_labels(name)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": dispatcher_service_name(name),
            "namespace": place.system_namespace,
            "labels": {**labels, MANAGED_BY: MANAGER},
            "ownerReferences": [_owner(provisioner)],
        },
        "spec": {
            "type": "ClusterIP",
            "selector": labels,
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    }


def dispatcher_labels(provisioner: str) -> dict[str, str]:
    """Return the labels of a dispatcher's Service and of its pods."""
    return {"clusterChannelProvisioner": provisioner, "role": "dispatcher"}


def channel_service(channel: Document, place: DispatcherPlace) -> Document:
    """Return the Service whose name is the address of a channel; it leads to the dispatcher."""
    channel_name = channel_id(channel)
    value = channel_label_value(channel_name.name)
    target = service_host(
        place.system_namespace, dispatcher_service_name(PROVISIONER), place.cluster_domain
    )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": channel_name.service,
            "namespace": channel_name.namespace,
            "labels": {
                CHANNEL_LABEL: value,
                PROVISIONER_LABEL: PROVISIONER,
                OLD_CHANNEL_LABEL: value,
                OLD_PROVISIONER_LABEL: PROVISIONER,
                MANAGED_BY: MANAGER,
            },
            "ownerReferences": [_owner(channel)],
        },
        "spec": {
            "type": "ExternalName",
            "externalName": target,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


def channel_selector(channel: Document) -> dict[str, str]:
    """Return the labels that select the Services of a channel, whatever created them."""
    return {
        OLD_CHANNEL_LABEL: channel_label_value(channel["metadata"]["name"]),
        OLD_PROVISIONER_LABEL: PROVISIONER,
    }


def find(channel: Document, services: Sequence[Document]) -> Found:
    """Find the Service that is the channel's address among those with its labels.

    The one in ``status.address``, which publishers know, comes first, then one that the channel
    owns, then the oldest. A Service with another controller is not the channel's.
    """
    address = known_service(channel)
    own = [service for service in services if may_be_owned(service, channel)]

    def rank(service: Document) -> tuple[bool, bool, str, str]:
        metadata = service["metadata"]
        known = metadata["name"] == address
        owned = is_owned(service, channel)
        return (not known, not owned, metadata.get("creationTimestamp", ""), metadata["name"])

    own.sort(key=rank)
    return Found(own[0] if own else None, tuple(own[1:]))


def may_be_owned(service: Document, owner: Document) -> bool:
    """Return whether a Service with the right labels is the owner's, or has no owner yet.

    A reference to an earlier object of the same name counts as none: restoring a backup gives
    everything new uids.
    """
    return all(_is_same_object(ref, owner) for ref in _references(service) if ref.get("controller"))


def belongs_to(service: Document, owner: Document, wanted: Document) -> bool:
    """Return whether a Service of the wanted name was created for the owner, by us or by Go.

    It has the labels, or the owner is its controller: either can be lost, but hardly both.
    """
    if is_owned(service, owner):
        return True
    labels = service["metadata"].get("labels") or {}
    expected = wanted["metadata"]["labels"]
    labelled = all(labels.get(key) == expected[key] for key in expected if key != MANAGED_BY)
    return labelled and may_be_owned(service, owner)


def is_owned(service: Document, owner: Document) -> bool:
    """Return whether the owner, with its present uid, is the controller of a Service."""
    uid = owner["metadata"]["uid"]
    return any(ref["uid"] == uid and ref.get("controller") for ref in _references(service))


def is_abandoned(service: Document, wanted: Document) -> bool:
    """Return whether a Service has lost its owner and leads to the same place as the wanted one."""
    return (
        not any(reference.get("controller") for reference in _references(service))
        and (service.get("spec") or {}).get("externalName") == wanted["spec"]["externalName"]
    )


def known_service(channel: Document) -> str | None:
    """Return the name of the Service that ``status.address`` publishes, if it is one."""
    hostname = api_of(channel_id(channel).kind).status.host(channel) or ""
    name, _, rest = hostname.partition(".")
    is_own = rest.startswith(f"{channel['metadata']['namespace']}.") and is_dns_label(name)
    return name if is_own else None


def repair(existing: Document, wanted: Document) -> Repair | None:
    """Return the repair that makes a Service the wanted one; None if it needs none.

    Labels, annotations and other owners that somebody added stay.
    """
    patch: Document = {"metadata": {}}
    changes: list[str] = []
    labels = _differing(existing["metadata"].get("labels") or {}, wanted["metadata"]["labels"])
    if labels:
        patch["metadata"]["labels"] = labels
        changes += (f"metadata.labels[{key}]" for key in labels)
    owner = wanted["metadata"]["ownerReferences"][0]
    references = _owned_by(owner, _references(existing))
    if references != _references(existing):
        patch["metadata"]["ownerReferences"] = references
        changes.append("metadata.ownerReferences")
    spec = _repaired_spec(existing.get("spec") or {}, wanted["spec"])
    if spec:
        patch["spec"] = spec
        changes += (f"spec.{key}" for key in spec)
    if not changes:
        return None
    patch["metadata"]["resourceVersion"] = existing["metadata"]["resourceVersion"]
    return Repair(patch, tuple(changes), adopts="ownerReferences" in patch["metadata"])


def _repaired_spec(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> Document:
    spec = _differing({**existing, "ports": None}, {**wanted, "ports": None})
    if _ports(existing.get("ports")) != _ports(wanted["ports"]):
        spec["ports"] = wanted["ports"]
    for key in ("selector", "externalName"):
        if key not in wanted and existing.get(key):
            spec[key] = None
    if "selector" in wanted and "selector" in spec:
        surplus = dict.fromkeys(existing.get("selector") or {})
        spec["selector"] = {**surplus, **wanted["selector"]}
    return spec


def _differing(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> Document:
    return {key: value for key, value in wanted.items() if existing.get(key) != value}


def _ports(ports: object) -> list[tuple[object, ...]]:
    """Return the fields of ports that this program sets, with the defaults of the API."""
    if not isinstance(ports, list):
        return []
    return [
        (
            port.get("name") or "",
            port.get("port"),
            port.get("targetPort") or port.get("port"),
            port.get("protocol") or "TCP",
        )
        for port in ports
    ]


def _owner(document: Document) -> Document:
    return {
        "apiVersion": document["apiVersion"],
        "kind": document["kind"],
        "name": document["metadata"]["name"],
        "uid": document["metadata"]["uid"],
        "controller": True,
    }


def _references(service: Document) -> list[Document]:
    return list(service["metadata"].get("ownerReferences") or [])


def _is_same_object(reference: Mapping[str, Any], owner: Document) -> bool:
    """Return whether group, kind and name are equal, whatever the version and uid."""
    return _identity(reference) == (
        owner["apiVersion"].partition("/")[0],
        owner["kind"],
        owner["metadata"]["name"],
    )


def _identity(reference: Mapping[str, Any]) -> tuple[object, object, object]:
    group = str(reference.get("apiVersion", "")).partition("/")[0]
    return group, reference.get("kind"), reference.get("name")


def _owned_by(owner: Document, references: Sequence[Document]) -> list[Document]:
    """Return the references with the owner as controller, without its former uids."""
    kept: list[Document] = []
    for reference in references:
        if reference["uid"] == owner["uid"]:
            kept.append({**reference, "controller": True})
        elif _identity(reference) != _identity(owner):
            kept.append(reference)
    if not any(reference["uid"] == owner["uid"] for reference in kept):
        kept.append(owner)
    return kept
