"""The kinds of Knative as the Kubernetes API has them, and the object that a document is. Pure."""

from collections.abc import Mapping
from typing import Any

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.channel_kinds import kind_of
from natss.contract.eventing import GROUP, VERSION
from natss.contract.resources import ResourceName
from natss.kube.resources import Resource

PROVISIONERS = Resource(
    GROUP, VERSION, "clusterchannelprovisioners", "ClusterChannelProvisioner", namespaced=False
)
SUBSCRIPTIONS = Resource(GROUP, VERSION, "subscriptions", "Subscription")


def channel_resource(kind: ChannelKind) -> Resource:
    """Return where the API serves channels of a kind."""
    return Resource(kind.group, kind.version, kind.plural, kind.kind)


def name_of(document: Mapping[str, Any]) -> ResourceName:
    """Return the name of a namespaced object."""
    metadata = document["metadata"]
    return ResourceName(metadata["namespace"], metadata["name"])


def channel_id(document: Mapping[str, Any]) -> ChannelId:
    """Return which channel a document is.

    Raises:
        LookupError, ValueError: it is not of a known kind.
    """
    kind = kind_of(document["apiVersion"], document["kind"])
    if kind is None:
        raise ValueError(f"{document['apiVersion']} {document['kind']} is no kind of channel")
    metadata = document["metadata"]
    return ChannelId(kind, metadata["namespace"], metadata["name"])
