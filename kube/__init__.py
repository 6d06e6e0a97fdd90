"""What the programs need of the Kubernetes API beyond what kopf does for the provisioner.

Thin: requests over aiohttp, which kopf brings along, with the credentials that kopf uses; objects
are the documents that the API speaks, as dicts. Nothing here knows of channels.

The dispatcher follows its objects by ``follow`` and not by kopf, which hands out changes one
object at a time: it does not tell when a list is complete, nor which objects have gone while the
API was away, and a table of channels needs both.
"""

from kube.client import Document, KubeClient, Listing
from kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    LoginFailed,
    NotFound,
    Refusal,
    ServerFailed,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from kube.following import Changed, Failed, follow
from kube.login import connection_info
from kube.recorder import EventRecorder, EventType
from kube.resources import EVENTS, SERVICES, Resource

__all__ = [
    "EVENTS",
    "SERVICES",
    "AlreadyExists",
    "Changed",
    "Conflict",
    "Document",
    "EventRecorder",
    "EventType",
    "Failed",
    "Forbidden",
    "Invalid",
    "KubeClient",
    "KubeError",
    "Listing",
    "LoginFailed",
    "NotFound",
    "Refusal",
    "Resource",
    "ServerFailed",
    "TooManyRequests",
    "Unauthorized",
    "Unreachable",
    "connection_info",
    "follow",
]
