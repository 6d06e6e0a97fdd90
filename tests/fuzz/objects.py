"""Objects of the Kubernetes API of any shape: good ones with something wrong in them.

The API server validates ``metadata`` of every object, and by Knative's own definitions little else:
``spec`` and ``status`` may be anything. Files hold what somebody wrote, whole objects and parts of
them.
"""

import copy
from collections.abc import Iterable
from typing import Any

from dispatcher.cluster.annotation import DURABLES
from natss.contract.eventing import API_VERSION
from natss.contract.names import DISPATCHER_FINALIZER
from natss.document import Document
from natss.kube.nesting import cut
from tests.fuzz.drawing import Draws

Path = tuple[str | int, ...]

_CHANNEL: Document = {
    "apiVersion": API_VERSION,
    "kind": "Channel",
    "metadata": {
        "name": "orders",
        "namespace": "shop",
        "uid": "u-orders",
        "resourceVersion": "7",
        "generation": 2,
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "finalizers": [DISPATCHER_FINALIZER],
        "annotations": {DURABLES: '{"u-mail":{"subscription":"mail"}}'},
    },
    "spec": {
        "provisioner": {
            "apiVersion": API_VERSION,
            "kind": "ClusterChannelProvisioner",
            "name": "natss",
        },
        "arguments": {
            "ackWait": "PT1M",
            "retry": 3,
            "deadLetterURI": "http://dead/",
            "start": "first",
        },
        "subscribable": {
            "subscribers": [
                {
                    "uid": "u-mail",
                    "ref": {"name": "mail", "namespace": "shop", "uid": "u-mail"},
                    "subscriberURI": "http://mail.shop.svc.cluster.local/",
                    "replyURI": "http://orders.shop.channels.cluster.local/",
                },
                {"ref": {"name": "old"}, "subscriberURI": "http://old/"},
            ]
        },
    },
    "status": {
        "address": {"hostname": "orders-channel-abcdefgh.shop.svc.cluster.local"},
        "dispatcher": {"host": "orders-channel-abcdefgh.shop.svc.cluster.local"},
        "subscribableStatus": {"subscribers": [{"uid": "u-mail", "ready": "True"}]},
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:06Z"},
            {"type": "Provisioned", "status": "False", "reason": "DispatcherNotReady"},
        ],
    },
}

_SUBSCRIPTION: Document = {
    "apiVersion": API_VERSION,
    "kind": "Subscription",
    "metadata": {
        "name": "mail",
        "namespace": "shop",
        "uid": "u-mail",
        "resourceVersion": "8",
        "generation": 1,
        "finalizers": ["subscription-controller"],
    },
    "spec": {
        "channel": {"apiVersion": API_VERSION, "kind": "Channel", "name": "orders"},
        "subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "mail"}},
        "reply": {"channel": {"apiVersion": API_VERSION, "kind": "Channel", "name": "orders"}},
    },
    "status": {
        "channelName": "orders",
        "physicalSubscription": {"subscriberURI": "http://mail.shop.svc.cluster.local/"},
        "conditions": [{"type": "Resolved", "status": "False", "reason": "Malformed"}],
    },
}

WORDS = (
    "natss",
    "orders",
    "mail",
    "shop",
    "u-mail",
    "http://user:secret@mail.shop:8080/in?token=secret#x",
    "mail:99999",
    "http://[::1]:80/",
    "PT1.5S",
    "1m30s",
    "1h ago",
    "2026-01-02T03:04:05Z",
    "9999-12-31T23:59:59-23:59",
    "exponential",
    "channel",
    "uid",
    "ref",
    "name",
    "Ready",
    "True",
    "Channel",
    "Subscription",
    "ChannelList",
    "a" * 300,
    "A.b..c",
    "\0\x1b[31m",
    API_VERSION,
    "serving.knative.dev/v1alpha1",
    '{"d":{"subscription":"a/b","since":"0001-01-01T00:00:00"}}',
    "9" * 30,
    "\u2028\ud7ff\U0001f600",
)
"""Texts that mean something somewhere, or nearly do."""


def channel() -> Document:
    """Return a good Channel, with subscribers and a status."""
    return copy.deepcopy(_CHANNEL)


def subscription() -> Document:
    """Return a good Subscription to that channel."""
    return copy.deepcopy(_SUBSCRIPTION)


def of_the_api(draws: Draws, document: Document) -> Document:
    """Return the object as the API may send it, with anything in ``spec`` and ``status``."""
    metadata = document["metadata"]
    for _ in range(draws.below(5)):
        where = draws.choice(("spec", "status", "status", "spec", "metadata"))
        if where == "metadata":
            metadata["annotations"] = {DURABLES: draws.text(200)}
            metadata["resourceVersion"] = str(draws.below(20))
        elif draws.below(8) == 0:
            document[where] = draws.json()
        else:
            _put_wrong(draws, document, where)
    if draws.below(8) == 1:
        metadata["deletionTimestamp"] = "2026-01-02T03:04:07Z"
    cut(document)  # as everything that comes from the API is
    return document


def of_a_file(draws: Draws) -> object:
    """Return what somebody may have written: an object with mistakes, a list, or anything."""
    kind = draws.below(8)
    if kind == 7:
        return draws.json()
    if kind == 6:
        items = [of_a_file(draws) for _ in range(draws.below(3))]
        return {"apiVersion": "v1", "kind": draws.choice(("List", "ChannelList")), "items": items}
    document = channel() if kind < 4 else subscription()
    for _ in range(draws.below(5)):
        _put_wrong(draws, document, draws.choice(("", "metadata", "spec", "spec")))
    return document


def _put_wrong(draws: Draws, document: Document, part: str) -> None:
    """Change, remove or add something below a part of it."""
    places = [path for path in _places(document) if path and (not part or path[0] == part)]
    if not places:
        return
    *above, last = draws.choice(places)
    parent: Any = document
    for key in above:
        parent = parent[key]
    how = draws.below(4)
    if how == 0:
        del parent[last]
    elif how == 1 and isinstance(parent, dict):
        parent[draws.key()] = parent.pop(last)
    else:
        parent[last] = draws.json()


def _places(value: object, path: Path = ()) -> Iterable[Path]:
    """Yield the paths of everything in a document that is not nested too deeply to matter."""
    yield path
    if len(path) > 8:
        return
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _places(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _places(child, (*path, index))
