"""An identified Kubernetes document: a channel or a Subscription. Pure."""

from dataclasses import dataclass

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.fields import Fields
from natss.contract.reports import Report
from natss.contract.resources import ResourceName


@dataclass(frozen=True, slots=True)
class ResourceDocument:
    """A channel or a Subscription with a valid name."""

    channel_kind: ChannelKind | None
    """None for a Subscription."""

    name: ResourceName
    uid: str | None
    deleted: bool
    """Whether it has been deleted and the API server only waits for finalizers."""

    root: Fields

    @property
    def report(self) -> Report:
        return self.root.report

    @property
    def channel(self) -> ChannelId:
        """The identity of the channel; raises TypeError for a Subscription."""
        if self.channel_kind is None:
            raise TypeError(f"Subscription {self.name} is no channel")
        return ChannelId(self.channel_kind, self.name.namespace, self.name.name)
