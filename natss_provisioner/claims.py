"""The Service that each Channel has published: two with one host would get each other's events.

Pure. Notes what was seen; the owner of a Service is decided with what the API says of it.
"""

from dataclasses import dataclass

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.resources import ResourceName
from natss.document import Document
from natss.knative import channel_id, name_of
from natss_provisioner.children import is_owned, known_service


@dataclass(frozen=True, slots=True)
class Claim:
    """The Service that a Channel has published in ``status.address``."""

    service: ResourceName
    since: str
    """When the Channel was created, as the API writes it."""


class Claims:
    """The claims of all Channels, of any provisioner, as last seen."""

    def __init__(self) -> None:
        self._claims: dict[ChannelId, Claim] = {}
        self._claimants: dict[ResourceName, set[ChannelId]] = {}

    def forget(self, kind: ChannelKind) -> None:
        """Forget all channels of a kind."""
        for name in [each for each in self._claims if each.kind == kind]:
            self.drop(name)

    def put(self, channel: Document) -> None:
        """Note what a Channel claims."""
        name = channel_id(channel)
        self.drop(name)
        claim = _claim_of(channel)
        if claim is not None:
            self._claims[name] = claim
            self._claimants.setdefault(claim.service, set()).add(name)

    def drop(self, name: ChannelId) -> None:
        """Forget a Channel."""
        claim = self._claims.pop(name, None)
        if claim is not None:
            claimants = self._claimants[claim.service]
            claimants.discard(name)
            if not claimants:
                del self._claimants[claim.service]

    def rival(self, channel: Document, service: Document) -> ChannelId | None:
        """Return another Channel that has a better right to a Service; None if there is none.

        The owner has the best right; among the Channels that claim it, the oldest.
        """
        if is_owned(service, channel):
            return None
        name, own = channel_id(channel), _claim_of(channel)
        place = name_of(service)
        rivals = {each: self._claims[each] for each in self._claimants.get(place, ())}
        rivals.pop(name, None)
        if own is not None and own.service == place:
            rivals[name] = own
        first = min(rivals, key=lambda each: (rivals[each].since, each), default=name)
        return None if first == name else first


def _claim_of(channel: Document) -> Claim | None:
    service = known_service(channel)
    if service is None:
        return None
    metadata = channel["metadata"]
    since = metadata.get("creationTimestamp") or ""
    return Claim(ResourceName(metadata["namespace"], service), since)
