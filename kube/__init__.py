"""What both programs need of the Kubernetes API beyond watching, which kopf does for them.

Thin: requests over aiohttp, which kopf brings along, with the credentials that kopf uses; objects
are the documents that the API speaks, as dicts. Nothing here knows of channels.
"""

from kube.client import Document, KubeClient
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
from kube.login import connection_info
from kube.recorder import EventRecorder, EventType
from kube.resources import EVENTS, SERVICES, Resource

__all__ = [
    "EVENTS",
    "SERVICES",
    "AlreadyExists",
    "Conflict",
    "Document",
    "EventRecorder",
    "EventType",
    "Forbidden",
    "Invalid",
    "KubeClient",
    "KubeError",
    "LoginFailed",
    "NotFound",
    "Refusal",
    "Resource",
    "ServerFailed",
    "TooManyRequests",
    "Unauthorized",
    "Unreachable",
    "connection_info",
]
