"""Things break while events flow: none that was answered 202 is lost, to any subscriber.

Each test leaves everything running, and what it broke has recovered.
"""

import time

import pytest

from natss.document import Document
from tests.end_to_end.cluster import Cluster, CommandFailed, until
from tests.end_to_end.installation import BROKER, DEPLOYMENTS, HERE, LOAD, SYSTEM
from tests.end_to_end.load import Load

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]

DISPATCHERS = "clusterChannelProvisioner=natss,role=dispatcher"
KUBELET_AWAY = 10.0
"""Seconds: less than it takes Kubernetes to give up the node and all its pods."""


def name_of(pod: Document) -> str:
    return str(pod["metadata"]["name"])


def kill_in_node(cluster: Cluster, node: str, *what: str) -> None:
    """Send SIGKILL to processes of a node, as ``pods/kill.py`` does; do not wait."""
    cluster.kubectl("delete", f"--namespace={LOAD}", "pod", "killer", "--ignore-not-found")
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "killer", "namespace": LOAD},
            "spec": {
                "nodeName": node,
                "hostPID": True,
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "killer",
                        "image": cluster.images.natss_channel,
                        "command": ["python", "/programs/kill.py", *what],
                        "securityContext": {"privileged": True, "runAsUser": 0},
                        "volumeMounts": [{"name": "programs", "mountPath": "/programs"}],
                    }
                ],
                "volumes": [{"name": "programs", "configMap": {"name": "programs"}}],
            },
        }
    )


def restarts(cluster: Cluster, namespace: str, pod: str) -> int:
    (container,) = cluster.get(namespace, "pod", pod)["status"]["containerStatuses"]
    return int(container["restartCount"])


def await_restart(cluster: Cluster, namespace: str, pod: str, count: int) -> None:
    """Wait until its container was restarted more often than that."""
    until(lambda: restarts(cluster, namespace, pod) > count)


def is_kubelet_there(cluster: Cluster, node: str) -> bool:
    try:
        return cluster.kubectl("get", f"--raw=/api/v1/nodes/{node}/proxy/healthz") == "ok"
    except CommandFailed:
        return False


def test_events_come_to_every_subscriber(cluster: Cluster, channels: Load) -> None:
    hostname = channels.hostname_of("orders")
    service, namespace, *_ = hostname.split(".")
    assert namespace == LOAD
    spec = cluster.get(LOAD, "service", service)["spec"]
    assert spec["type"] == "ExternalName"
    with channels.flowing("calm") as run:
        until(lambda: channels.accepted(run) >= 100)
    assert run.refused == {}
    assert run.more_than_once["quick"] == 0


def test_a_rolling_update_loses_nothing_and_refuses_nobody(
    cluster: Cluster, channels: Load
) -> None:
    workloads = [f"deployment/{name}" for name in DEPLOYMENTS]
    before = {name_of(pod) for pod in cluster.pods(SYSTEM, "app.kubernetes.io/name")}
    with channels.flowing("rolling") as run:
        cluster.kubectl("rollout", "restart", f"--namespace={SYSTEM}", *workloads)
        cluster.await_rollout(SYSTEM, *workloads)
        # The old ones still have connections until they are gone.
        every = f"--selector=app.kubernetes.io/name in ({', '.join(DEPLOYMENTS)})"
        until(lambda: before.isdisjoint(map(name_of, cluster.get(SYSTEM, "pods", every)["items"])))
    assert run.refused == {}


def test_a_killed_dispatcher_loses_nothing(cluster: Cluster, channels: Load) -> None:
    pods = cluster.pods(SYSTEM, DISPATCHERS)
    counts = {name_of(pod): restarts(cluster, SYSTEM, name_of(pod)) for pod in pods}
    with channels.flowing("killed-dispatcher") as run:
        for pod in pods:
            kill_in_node(cluster, pod["spec"]["nodeName"], "natss-dispatcher", name_of(pod))
            await_restart(cluster, SYSTEM, name_of(pod), counts[name_of(pod)])
        cluster.await_rollout(SYSTEM, "deployment/natss-dispatcher")
    assert len(run.accepted) > 100


def test_a_deleted_dispatcher_pod_loses_nothing(cluster: Cluster, channels: Load) -> None:
    pod, *_ = cluster.pods(SYSTEM, DISPATCHERS)
    with channels.flowing("deleted-pod"):
        at_once = ["--grace-period=0", "--force"]
        cluster.kubectl("delete", f"--namespace={SYSTEM}", "pod", name_of(pod), *at_once)
        cluster.await_rollout(SYSTEM, "deployment/natss-dispatcher")


def test_nats_streaming_comes_back_with_its_store(cluster: Cluster, channels: Load) -> None:
    (pod,) = cluster.pods(BROKER, "app=nats-streaming")
    with channels.flowing("new-nats-streaming-pod"):
        cluster.kubectl("delete", f"--namespace={BROKER}", "pod", name_of(pod), "--timeout=90s")
        cluster.await_rollout(BROKER, "statefulset/nats-streaming")


def test_a_killed_nats_streaming_loses_nothing(cluster: Cluster, channels: Load) -> None:
    (pod,) = cluster.pods(BROKER, "app=nats-streaming")
    count = restarts(cluster, BROKER, name_of(pod))
    with channels.flowing("killed-nats-streaming"):
        kill_in_node(cluster, pod["spec"]["nodeName"], "nats-streaming-server", name_of(pod))
        await_restart(cluster, BROKER, name_of(pod), count)
        cluster.await_rollout(BROKER, "statefulset/nats-streaming")


def test_a_killed_kubelet_loses_nothing(cluster: Cluster, channels: Load) -> None:
    pod, *_ = cluster.pods(SYSTEM, DISPATCHERS)
    node = pod["spec"]["nodeName"]
    with channels.flowing("killed-kubelet"):
        kill_in_node(cluster, node, "kubelet")
        until(lambda: not is_kubelet_there(cluster, node) or not cluster.revive)
        time.sleep(KUBELET_AWAY)  # nothing is to happen meanwhile
        cluster.revive_node()
        until(lambda: is_kubelet_there(cluster, node))
        cluster.await_rollout(SYSTEM, *(f"deployment/{name}" for name in DEPLOYMENTS))


def test_what_is_deleted_is_gone(cluster: Cluster, channels: Load) -> None:
    """The last one: there are no channels after it."""
    hostname = channels.hostname_of("orders")
    file = f"--filename={HERE / 'channels.yaml'}"
    cluster.kubectl("delete", file, "--timeout=60s", seconds=90)
    until(lambda: not cluster.exists(LOAD, "service", hostname.partition(".")[0]))
