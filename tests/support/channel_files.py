"""Files with Channels and Subscriptions, as a user writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

API = "eventing.knative.dev/v1alpha1"


def channel(name: str, arguments: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return a Channel in the namespace ``default``, as you would give it to kubectl."""
    return {
        "apiVersion": API,
        "kind": "Channel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"provisioner": {"name": "natss"}, "arguments": dict(arguments or {})},
    }


def subscription(name: str, channel_name: str, url: str, uid: str | None = None) -> dict[str, Any]:
    """Return a Subscription in the namespace ``default``."""
    document: dict[str, Any] = {
        "apiVersion": API,
        "kind": "Subscription",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "channel": {"apiVersion": API, "kind": "Channel", "name": channel_name},
            "subscriber": {"uri": url},
        },
    }
    if uid is not None:
        document["metadata"]["uid"] = uid
    return document


def write_documents(path: Path, *documents: Mapping[str, Any]) -> Path:
    """Write all documents at once, so that a watcher never sees half a file."""
    staged = path.with_suffix(".staged")
    staged.write_text(yaml.safe_dump_all(documents))
    staged.replace(path)
    return path


def host(channel_name: str) -> str:
    return f"{channel_name}.default.channels.cluster.local"
