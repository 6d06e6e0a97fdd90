"""A whole Kubernetes cluster that was given for tests, by way of kubectl.

It must be named: no test looks at ``KUBECONFIG``, ``~/.kube/config`` or a current context.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natss.document import Document
from tests.support.kubernetes import KUBECTL
from tests.support.waiting import poll

SECONDS = 90.0
"""For anything to become so: pods start meanwhile, and the machine may be busy."""


class NotGiven(Exception):
    """No cluster was named for these tests, or not completely."""


class CommandFailed(Exception):
    """kubectl refused; has what it said."""


@dataclass(frozen=True, slots=True)
class Images:
    """Names under which the nodes of the cluster have the images, or can pull them."""

    natss_channel: str
    nats_streaming: str | None
    """None for that of the manifests."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """kubectl with one kubeconfig and one context of it."""

    kubeconfig: Path
    context: str
    images: Images
    revive: list[str]
    """Command that starts a node's kubelet again; empty where the node does so itself."""

    @classmethod
    def given(cls, environ: Mapping[str, str]) -> "Cluster":
        """Return the cluster that the variables ``NATSS_E2E_*`` name.

        Raises:
            NotGiven: a variable is missing, or the kubeconfig has no such context.
        """
        names = ("NATSS_E2E_KUBECONFIG", "NATSS_E2E_CONTEXT", "NATSS_E2E_IMAGE")
        missing = [name for name in names if not environ.get(name)]
        if missing:
            raise NotGiven(
                f"{' and '.join(missing)} must say which cluster these tests may change: they "
                "install, break and delete things in it (`make e2e` makes one for them)"
            )
        kubeconfig, context, image = (environ[name] for name in names)
        images = Images(image, environ.get("NATSS_E2E_NATS_STREAMING_IMAGE"))
        revive = shlex.split(environ.get("NATSS_E2E_REVIVE", ""))
        cluster = cls(Path(kubeconfig).absolute(), context, images, revive)
        contexts = cluster.kubectl("config", "get-contexts", "--output=name").split()
        if context not in contexts:
            raise NotGiven(f"{kubeconfig} has no context {context}, but: {', '.join(contexts)}")
        return cluster

    def kubectl(self, *arguments: str | Path, text: str | None = None, seconds: float = 60) -> str:
        """Return the output of kubectl. Raises CommandFailed."""
        command = [KUBECTL, f"--context={self.context}", *arguments]
        if arguments[0] == "config":
            command = [KUBECTL, *arguments]
        result = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
        if result.returncode:
            raise CommandFailed(f"kubectl {shlex.join(map(str, arguments))}: {result.stderr}")
        return result.stdout

    def get(self, namespace: str, kind: str, *which: str) -> Document:
        """Return an object by its name, or a list by ``--selector``."""
        text = self.kubectl("get", f"--namespace={namespace}", kind, *which, "--output=json")
        answer = json.loads(text)
        assert isinstance(answer, dict)
        return answer

    def exists(self, namespace: str, kind: str, name: str) -> bool:
        which = [f"--namespace={namespace}", kind, name, "--ignore-not-found", "--output=name"]
        return bool(self.kubectl("get", *which).strip())

    def pods(self, namespace: str, selector: str) -> list[Document]:
        """Return the pods that are not being deleted."""
        found: list[Document] = self.get(namespace, "pods", f"--selector={selector}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def apply(self, *objects: Document) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "--filename=-", text=text)

    def await_rollout(self, namespace: str, *workloads: str) -> None:
        """Wait until all pods of Deployments and StatefulSets are new and ready."""
        for workload in workloads:
            where = [f"--namespace={namespace}", f"--timeout={SECONDS:.0f}s"]
            self.kubectl("rollout", "status", workload, *where, seconds=SECONDS + 30)

    def revive_node(self) -> None:
        """Start a kubelet that was killed, where the node does not do so itself."""
        if self.revive:
            subprocess.run(self.revive, check=True, capture_output=True, timeout=SECONDS)

    def get_from_pod(self, namespace: str, pod: str, path: str) -> Any:
        """Return the JSON that a pod answers on port 9000."""
        return json.loads(self.kubectl("get", f"--raw={_proxied(namespace, pod, path)}"))

    def post_to_pod(self, namespace: str, pod: str, path: str) -> Any:
        raw = f"--raw={_proxied(namespace, pod, path)}"
        return json.loads(self.kubectl("create", raw, "--filename=-", text=""))


def _proxied(namespace: str, pod: str, path: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}:9000/proxy{path}"


def until(look: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return what ``look`` gives once that is true; what kubectl refuses counts as not yet.

    Raises:
        AssertionError: It is not true in time; the text has what was seen last.
    """
    return poll(look, seconds, is_not_yet=_is_not_yet, every=0.3)


def _is_not_yet(error: Exception) -> bool:
    return isinstance(error, CommandFailed | KeyError)
