"""The kinds of Knative that this program works on. Pure."""

from natss.contract.metadata import API_VERSION
from natss.kube.resources import Resource

_GROUP, _, _VERSION = API_VERSION.partition("/")

CHANNELS = Resource(_GROUP, _VERSION, "channels", "Channel")
PROVISIONERS = Resource(
    _GROUP, _VERSION, "clusterchannelprovisioners", "ClusterChannelProvisioner", namespaced=False
)
SUBSCRIPTIONS = Resource(_GROUP, _VERSION, "subscriptions", "Subscription")
