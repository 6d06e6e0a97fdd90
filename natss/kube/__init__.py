"""What the programs need of the Kubernetes API.

A thin layer: requests over aiohttp, which kopf depends on, with the credentials that kopf finds;
objects are the documents of the API, as dicts. Nothing here knows of channels.

``follow`` follows objects, not kopf's operator, which hands out changes one object at a time: it
does not tell when a list is complete, nor which objects were deleted while the API was away. It
also ends for good when a token is refused before a newer one is available, and at any error in a
watch but 410.
"""

from natss.kube.client import KubeClient, Listing
from natss.kube.errors import (
    AlreadyExists,
    ApiRefusal,
    Conflict,
    Forbidden,
    Invalid,
    InvalidName,
    KubeError,
    LoginFailed,
    NotFound,
    ServerFailed,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from natss.kube.following import Changed, Failed, follow
from natss.kube.login import connection_info
from natss.kube.recorder import EventRecorder, EventType
from natss.kube.resources import CONFIG_MAPS, EVENTS, LEASES, SERVICES, Resource

__all__ = [
    "CONFIG_MAPS",
    "EVENTS",
    "LEASES",
    "SERVICES",
    "AlreadyExists",
    "ApiRefusal",
    "Changed",
    "Conflict",
    "EventRecorder",
    "EventType",
    "Failed",
    "Forbidden",
    "Invalid",
    "InvalidName",
    "KubeClient",
    "KubeError",
    "Listing",
    "LoginFailed",
    "NotFound",
    "Resource",
    "ServerFailed",
    "TooManyRequests",
    "Unauthorized",
    "Unreachable",
    "connection_info",
    "follow",
]
