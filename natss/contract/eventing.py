"""The API ``eventing.knative.dev/v1alpha1``: its kind of channel, and the names of such channels.

Pure. The names are those of the Go implementation, so that its Services, durables and stored events
are still found.
"""

from natss.contract.channel_id import ChannelKind, ChannelNames
from natss.contract.names import (
    channel_host,
    channel_of_subject,
    channel_service_name,
    channel_subject,
    durable_name,
)

GROUP = "eventing.knative.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

CHANNEL = ChannelKind(
    group=GROUP,
    kind="Channel",
    version=VERSION,
    plural="channels",
    mark="",
    names=ChannelNames(
        channel_subject, channel_of_subject, channel_host, channel_service_name, durable_name
    ),
)
