"""What the tests install in the cluster that they were given, and how it is taken away again."""

import json
import os
from pathlib import Path

from natss.document import Document
from tests.conftest import CONFIG
from tests.end_to_end.cluster import SECONDS, Cluster, until

HERE = Path(__file__).resolve().parent
SYSTEM = "knative-eventing"
BROKER = "natss"
LOAD = "natss-e2e"
SUBSCRIBERS = {"quick": "", "flaky": "", "closed": "", "audit": "answer-"}
"""Pods, and what stands before the id of an event when it comes there."""

NAMESPACES = (LOAD, SYSTEM, BROKER)
DEPLOYMENTS = ("natss-controller", "natss-dispatcher")
_MARK = "natss-channel.test/end-to-end"
_VOLUME = "natss-e2e-store"
_STORE = "/tmp/natss-e2e-store"
"""Folder of the node that keeps the store where the cluster provides no volumes by itself."""


class NotOurs(Exception):
    """The cluster has an installation that these tests did not make."""


class Installation:
    """``config/default`` and NATS Streaming, and pods that publish and subscribe.

    Args:
        cluster: Where to.
        folder: For the manifests, with the images as the cluster has them.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder

    def install(self) -> None:
        """Install everything and wait until it is ready.

        Raises:
            NotOurs: it is there already, and not from an earlier run.
        """
        cluster = self._cluster
        self._make_room()
        for name in NAMESPACES:
            cluster.kubectl("create", "namespace", name)
            cluster.kubectl("label", "namespace", name, f"{_MARK}=true")
        self._apply("crds", CONFIG / "crds")
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        self._apply("pods", HERE / "pods")
        self._apply("nats-streaming", CONFIG / "nats-streaming")
        self._give_volume()
        self._apply("default", CONFIG / "default")
        cluster.await_rollout(BROKER, "statefulset/nats-streaming")
        cluster.await_rollout(SYSTEM, *(f"deployment/{name}" for name in DEPLOYMENTS))
        where = [f"--namespace={LOAD}", f"--timeout={SECONDS:.0f}s"]
        ready = ["--for=condition=Ready", "pod", "publisher", *SUBSCRIBERS]
        cluster.kubectl("wait", *where, *ready, seconds=SECONDS + 30)

    def uninstall(self) -> None:
        """Uninstall, channels first: their finalizers need the dispatcher."""
        cluster = self._cluster
        for kind in ("subscriptions", "channels"):
            resource = f"{kind}.eventing.knative.dev"
            if cluster.exists(SYSTEM, "crd", resource):
                cluster.kubectl("delete", resource, "--all", f"--namespace={LOAD}", "--timeout=60s")
        for name in ("default", "nats-streaming", "pods"):
            where = ["--ignore-not-found", "--wait=false"]
            cluster.kubectl("delete", f"--kustomize={self._folder / name}", *where)
        for name in NAMESPACES:
            gone = ["--ignore-not-found", f"--timeout={SECONDS:.0f}s"]
            cluster.kubectl("delete", "namespace", name, *gone, seconds=SECONDS + 30)
        cluster.kubectl("delete", "persistentvolume", _VOLUME, "--ignore-not-found")

    def _make_room(self) -> None:
        """Remove what an earlier run has left; nothing else."""
        left = [name for name in NAMESPACES if self._cluster.exists("default", "namespace", name)]
        for name in left:
            labels = self._cluster.get("default", "namespace", name)["metadata"]["labels"]
            if _MARK not in labels:
                raise NotOurs(
                    f"the cluster of {self._cluster.context} has the namespace {name}, which is "
                    "not from these tests: they take it for a cluster that somebody uses"
                )
        if left:
            for name in ("default", "nats-streaming", "pods"):
                self._overlay(name, HERE / name if name == "pods" else CONFIG / name)
            self.uninstall()

    def _apply(self, name: str, manifests: Path) -> None:
        self._overlay(name, manifests)
        where = ["--server-side", "--force-conflicts", f"--kustomize={self._folder / name}"]
        self._cluster.kubectl("apply", *where)

    def _overlay(self, name: str, manifests: Path) -> None:
        """Write a folder that is these manifests with other names of images."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(manifests, folder)],
            "images": self._images(),
        }
        (folder / "kustomization.yaml").write_text(json.dumps(kustomization))

    def _images(self) -> list[dict[str, str]]:
        images = self._cluster.images
        named = [_image("natss-channel", images.natss_channel)]
        if images.nats_streaming:
            named.append(_image("nats-streaming", images.nats_streaming))
        return named

    def _give_volume(self) -> None:
        """Use a folder of the node where nothing provides volumes."""
        cluster = self._cluster
        if json.loads(cluster.kubectl("get", "storageclasses", "--output=json"))["items"]:
            return
        (claim,) = until(lambda: cluster.get(BROKER, "persistentvolumeclaims")["items"])
        node, *_ = cluster.get(BROKER, "nodes")["items"]
        cluster.apply(_empty_folder(node["metadata"]["name"], cluster.images.natss_channel))
        until(lambda: cluster.get(LOAD, "pod", "folder")["status"]["phase"] == "Succeeded")
        cluster.apply(_volume(node["metadata"]["name"], claim["metadata"]["name"]))


def _image(name: str, wanted: str) -> dict[str, str]:
    new_name, _, tag = wanted.rpartition(":")
    return {"name": name, "newName": new_name, "newTag": tag}


def _volume(node: str, claim: str) -> Document:
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": _VOLUME},
        "spec": {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": BROKER, "name": claim},
            "local": {"path": _STORE},  # unlike a hostPath it is given to the group of the pod
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
        },
    }


def _empty_folder(node: str, image: str) -> Document:
    """Return a pod that creates or empties the folder of the volume, and ends."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "folder", "namespace": LOAD},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "securityContext": {"runAsUser": 0},
            "containers": [
                {
                    "name": "folder",
                    "image": image,
                    "command": ["sh", "-c", "rm -rf /store/*"],
                    "volumeMounts": [{"name": "store", "mountPath": "/store"}],
                }
            ],
            "volumes": [
                {"name": "store", "hostPath": {"path": _STORE, "type": "DirectoryOrCreate"}}
            ],
        },
    }
