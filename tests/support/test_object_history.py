"""A check is worth what it catches: a fall of a condition that polling could miss."""

from natss.document import Document
from tests.support.kubernetes import KubernetesServer
from tests.support.object_history import ObjectHistory

CHANNELS = "/apis/eventing.knative.dev/v1alpha1/namespaces/{}/channels"
OF_NOBODY = {
    "apiVersion": "eventing.knative.dev/v1alpha1",
    "kind": "Channel",
    "metadata": {"name": "one"},
    "spec": {"provisioner": {"name": "of-nobody"}},
}


def ready(status: str) -> Document:
    return {"status": {"conditions": [{"type": "Ready", "status": status, "reason": "Because"}]}}


async def test_a_condition_that_falls_for_a_moment_is_seen(
    kubernetes: KubernetesServer, namespace: str
) -> None:
    path = CHANNELS.format(namespace)
    async with ObjectHistory(kubernetes, path) as history:
        kubernetes.create(path, OF_NOBODY)
        for status in ("False", "Unknown", "True"):  # not a fall
            kubernetes.patch(f"{path}/one/status", ready(status))
        await history.wait_until(lambda: len(history.of("one")) == 4)
        assert history.falls() == []
        for status in ("False", "True"):
            kubernetes.patch(f"{path}/one/status", ready(status))
        await history.wait_until(lambda: len(history.of("one")) == 6)
        (fall,) = history.falls()
        assert "Because" in fall
        kubernetes.patch(f"{path}/one/status", {"status": None})
        await history.wait_until(lambda: len(history.falls()) == 2)
        kubernetes.delete(f"{path}/one")
        kubernetes.create(path, OF_NOBODY)  # another life, which was not ready yet
        await history.wait_until(lambda: len(history.of("one")) == 9)
        assert len(history.falls()) == 2
