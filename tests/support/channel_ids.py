"""Identities of channels, for tests."""

from natss.contract.channel_id import ChannelId
from natss.contract.eventing import CHANNEL
from natss.knative import channel_resource

CHANNELS = channel_resource(CHANNEL)


def channel_id(namespace: str, name: str) -> ChannelId:
    """Return the identity of a Channel of ``eventing.knative.dev/v1alpha1``."""
    return ChannelId(CHANNEL, namespace, name)
