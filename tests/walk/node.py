"""What Kubernetes does with Deployments, as far as ``kubectl`` waits for it."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from natss.document import Document
from tests.support.kubernetes import KubernetesServer

_PATHS = (
    "/apis/apps/v1/namespaces/knative-eventing/deployments",
    "/apis/apps/v1/namespaces/natss/statefulsets",
)


class Node:
    """Has each workload that is applied started, and then tells so in its status.

    ``with`` begins and ends it; an error of ``start`` is raised at the end.

    Args:
        kubernetes: The cluster; it has no controllers of workloads.
        start: What starting a workload means, and lasts until it is ready.
    """

    def __init__(
        self, kubernetes: KubernetesServer, start: Callable[[Document], None] | None = None
    ) -> None:
        self._kubernetes = kubernetes
        self._start = start
        self._started: set[str] = set()
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="node")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._ended.wait(0.1):
                for path in _PATHS:
                    for workload in self._kubernetes.get(path)["items"]:
                        self._see_to(path, workload)
        except Exception as error:
            self._failure = error

    def _see_to(self, path: str, workload: Document) -> None:
        metadata = workload["metadata"]
        if (workload.get("status") or {}).get("observedGeneration") == metadata["generation"]:
            return
        if self._start is not None and metadata["uid"] not in self._started:
            self._started.add(metadata["uid"])
            self._start(workload)
        count = workload["spec"]["replicas"]
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        status = {
            "observedGeneration": metadata["generation"],
            **dict.fromkeys(counts, count),
            "conditions": [{"type": "Available", "status": "True"}],
        }
        self._kubernetes.patch(f"{path}/{metadata['name']}/status", {"status": status})
