"""The Services of channels as last seen, so that they need not be listed for each channel.

To list Services by label, the API server reads all of the namespace: with 1,000 channels that would
be a million Services after every start. What was seen may be outdated; the API refuses a write that
is based on it, and the write is retried.
"""

from collections.abc import Sequence

from natss.contract.channel_id import ChannelId
from natss.contract.names import (
    OLD_CHANNEL_LABEL,
    OLD_PROVISIONER_LABEL,
    PROVISIONER,
    channel_label_value,
)
from natss.contract.resources import ResourceName
from natss.document import Document
from natss.knative import name_of

_Place = tuple[str, str]
"""Namespace and value of the label."""

LABELS = {OLD_PROVISIONER_LABEL: PROVISIONER}
"""The labels of the Services to watch; those that the Go controller created have them too."""


class SeenServices:
    """The Services by the channel in their label."""

    def __init__(self) -> None:
        self._are_all = False
        self._by_place: dict[_Place, dict[str, Document]] = {}
        self._place_of: dict[ResourceName, _Place] = {}

    def put_all(self, services: Sequence[Document]) -> None:
        """Note that these Services exist, and no others."""
        self.forget()
        for service in services:
            self.put(service)
        self._are_all = True

    def put(self, service: Document) -> None:
        """Note a Service that was created or changed."""
        self.drop(service)
        metadata = service["metadata"]
        place = metadata["namespace"], (metadata.get("labels") or {}).get(OLD_CHANNEL_LABEL, "")
        self._by_place.setdefault(place, {})[metadata["name"]] = service
        self._place_of[name_of(service)] = place

    def drop(self, service: Document) -> None:
        """Note that a Service is gone, or has lost its label."""
        metadata = service["metadata"]
        place = self._place_of.pop(name_of(service), None)
        if place is not None:
            del self._by_place[place][metadata["name"]]
            if not self._by_place[place]:
                del self._by_place[place]

    def forget(self) -> None:
        """Note that Services are not watched, and forget all."""
        self._are_all = False
        self._by_place.clear()
        self._place_of.clear()

    def of(self, channel: ChannelId) -> list[Document] | None:
        """Return the Services with the labels of a channel; None if they are unknown."""
        if not self._are_all:
            return None
        place = channel.namespace, channel_label_value(channel.name)
        return list(self._by_place.get(place, {}).values())
