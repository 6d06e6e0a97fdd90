"""The state wanted after any fault: no Service twice, no stale finalizer, everything ready."""

from natss.document import Document
from tests.natss_provisioner.conftest import Shop


def is_whole(shop: Shop, channels: set[str], subscriptions: set[str]) -> bool:
    """Return whether all wanted objects exist and are ready, and nothing else exists."""
    found, subscribed, services = (
        shop.kubernetes.get(path)["items"]
        for path in (shop.channels, shop.subscriptions, shop.services)
    )
    entries = [each for channel in found for each in _entries(channel)]
    return (
        {_name(each) for each in found} == channels
        and {_name(each) for each in subscribed} == subscriptions
        and sorted(each["metadata"]["labels"]["channel"] for each in services) == sorted(channels)
        and sorted(each["ref"]["name"] for each in entries) == sorted(subscriptions)
        and all(_is_ready(each) for each in [*found, *subscribed])
    )


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _entries(channel: Document) -> list[Document]:
    listed: list[Document] = channel["spec"].get("subscribable", {}).get("subscribers", [])
    return listed


def _is_ready(document: Document) -> bool:
    """Return whether an object is ready in its latest generation."""
    status, generation = document["status"], document["metadata"]["generation"]
    ready = {each["type"]: each["status"] for each in status["conditions"]}["Ready"]
    return bool(status["observedGeneration"] == generation and ready == "True")
