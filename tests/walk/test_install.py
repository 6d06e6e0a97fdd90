"""docs/install.md, but for the empty cluster, which is the walk: followed on the real API."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from natss.contract.names import DISPATCHER_FINALIZER
from natss.document import Document
from tests.conftest import CONFIG
from tests.support import go_installation
from tests.support.documents import examples, section
from tests.support.go_installation import Deployed
from tests.support.knative_definitions import definitions
from tests.support.kubernetes import KubernetesServer, running_kubernetes, until
from tests.walk.node import Node
from tests.walk.shell import Shell

DOCUMENT = "docs/install.md"
API = "eventing.knative.dev/v1alpha1"
DEPLOYMENTS = "/apis/apps/v1/namespaces/knative-eventing/deployments"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
CHANNELS = f"/apis/{API}/namespaces/kyma-system/channels"
OURS = ("natss-controller", "natss-dispatcher")
STATUS: Document = {
    "address": {"hostname": "orders-channel-x7k2p.kyma-system.svc.cluster.local"},
    "conditions": [{"type": "Ready", "status": "True"}],
}


@pytest.fixture(params=["kyma"])
def deployed(request: pytest.FixtureRequest) -> Deployed:
    """Return who deployed the Go programs; a test may ask for another."""
    name: Deployed = request.param
    return name


@pytest.fixture
def cluster(deployed: Deployed, tmp_path: Path) -> Iterator[KubernetesServer]:
    """Yield a cluster with Knative's core, Go's natss and a channel."""
    with running_kubernetes(tmp_path / "kubernetes") as server:
        for name in ("knative-eventing", "kyma-system"):
            server.create("/api/v1/namespaces", {"metadata": {"name": name}})
        create(server, definitions("v0.6"))
        server.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd", "--all")
        until(lambda: server.get(CHANNELS))
        create(server, go_installation.manifests(deployed))
        provisioner = {"apiVersion": API, "kind": "ClusterChannelProvisioner", "name": "natss"}
        channel = {
            "apiVersion": API,
            "kind": "Channel",
            "metadata": {"name": "orders"},
            "spec": {"provisioner": provisioner},
        }
        server.create(CHANNELS, channel)
        server.patch(f"{CHANNELS}/orders/status", {"status": STATUS})
        yield server


def create(server: KubernetesServer, objects: list[Document]) -> None:
    """Create objects as Helm does, which does not use ``kubectl apply``."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    server.kubectl("create", "-f", "-", text=text)


def images(server: KubernetesServer) -> set[str]:
    return {
        container["image"]
        for each in server.get(DEPLOYMENTS)["items"]
        for container in each["spec"]["template"]["spec"]["containers"]
    }


@pytest.mark.parametrize("deployed", ["knative"], indirect=True)
def test_beside_knative(cluster: KubernetesServer, tmp_path: Path) -> None:
    shell = Shell(cluster, tmp_path / "shell")
    before = {each["metadata"]["uid"] for each in cluster.get(DEPLOYMENTS)["items"]}
    channel = cluster.get(f"{CHANNELS}/orders")
    with Node(cluster):
        for script in examples("sh", section(DOCUMENT, "Beside Knative")):
            shell.run(script)
        assert images(cluster) == {"natss-channel:0.1.0"}
        # Once the core is gone:
        shell.run("kubectl apply --server-side --force-conflicts -k config/default")
    after = {each["metadata"]["uid"] for each in cluster.get(DEPLOYMENTS)["items"]}
    assert after == before
    assert cluster.get(f"{CHANNELS}/orders") == channel


def test_under_kyma_and_back(cluster: KubernetesServer, tmp_path: Path) -> None:
    shell = Shell(cluster, tmp_path / "shell")
    secret = {"metadata": {"name": "nats-user-eventbus"}, "stringData": {"username": "eventbus"}}
    cluster.create("/api/v1/namespaces/knative-eventing/secrets", secret)
    before = [cluster.get(f"{path}/{name}") for path in (DEPLOYMENTS, ROLES) for name in OURS]
    keep, swap, check, back = examples("sh", section(DOCUMENT, "Under Kyma"))
    with Node(cluster):
        shell.run(f"{keep}\n{swap}\n{check}")
        assert images(cluster) == {"natss-channel:0.1.0"}
        the_credentials_come_before_the_url(cluster)
        the_check_finds_an_address_that_has_changed(shell, keep, check)
        shell.run(back)
    after = [cluster.get(f"{path}/{name}") for path in (DEPLOYMENTS, ROLES) for name in OURS]
    for each, restored in zip(before, after, strict=True):
        assert restored["metadata"]["uid"] == each["metadata"]["uid"]
        assert restored.get("spec") == each.get("spec")
        assert restored.get("rules") == each.get("rules")


def test_from_one_server_to_three(cluster: KubernetesServer, tmp_path: Path) -> None:
    """The fields that differ cannot be changed, and the commands of the page do it otherwise."""
    shell = Shell(cluster, tmp_path / "shell")
    claim = {
        "metadata": {"name": "data-nats-streaming-0"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "10Gi"}},
        },
    }
    with Node(cluster):
        shell.run("kubectl apply -k config/nats-streaming")
        cluster.create("/api/v1/namespaces/natss/persistentvolumeclaims", claim)
        with pytest.raises(AssertionError, match="updates to statefulset spec for fields other"):
            shell.run("kubectl apply -k config/nats-streaming-clustered")
        (script,) = examples("sh", section(DOCUMENT, "From one server to three"))
        shell.run(script.replace("persistentvolumeclaim ", "persistentvolumeclaim --wait=false "))
    stateful_set = cluster.get("/apis/apps/v1/namespaces/natss/statefulsets/nats-streaming")
    assert stateful_set["spec"]["replicas"] == 3
    assert stateful_set["spec"]["serviceName"] == "nats-streaming-servers"


def the_credentials_come_before_the_url(server: KubernetesServer) -> None:
    """Check the order: a value takes only variables before it, and two lists were merged."""
    spec = server.get(f"{DEPLOYMENTS}/natss-dispatcher")["spec"]["template"]["spec"]
    names = [each["name"] for each in spec["containers"][0]["env"]]
    assert len(names) == len(set(names))
    assert names.index("EB_USER") < names.index("DEFAULT_NATSS_URL") > names.index("EB_PASS")


def the_check_finds_an_address_that_has_changed(shell: Shell, keep: str, check: str) -> None:
    addresses, _, _ = keep.partition("\n")  # the variable that both use
    before = (shell.folder / "before.txt").read_text()
    assert STATUS["address"]["hostname"] in before
    (shell.folder / "before.txt").write_text(before.replace("x7k2p", "other"))
    with pytest.raises(AssertionError, match="< kyma-system orders orders-channel-other"):
        shell.run(f"{addresses}\n{check}")


@pytest.mark.parametrize("heading", ["The image", "Secure it"])
def test_overlays_of_one_s_own(kubernetes: KubernetesServer, tmp_path: Path, heading: str) -> None:
    text, *_ = examples("yaml", section(DOCUMENT, heading))
    default = os.path.relpath(CONFIG / "default", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(text.replace("../config/default", default))
    apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-o", "json"]
    applied = json.loads(kubernetes.kubectl(*apply, "-k", tmp_path))["items"]
    found = {
        (each["kind"], each["metadata"]["name"]): each["spec"] for each in applied if "spec" in each
    }
    (container,) = found["Deployment", "natss-dispatcher"]["template"]["spec"]["containers"]
    if heading == "The image":
        assert container["image"] == "registry.example/natss-channel:0.1.0"
        return
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = found["Deployment", "natss-dispatcher"]["template"]["spec"]["volumes"]
    assert mounts["/etc/nats"] in {each["name"] for each in volumes}
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    files = {value for name, value in variables.items() if name.endswith("_FILE")}
    assert files == {"/etc/nats/password", "/etc/nats/ca.crt"}
    events = found["NetworkPolicy", "natss-dispatcher"]["ingress"][0]
    assert events["ports"][0]["port"] == 8080
    assert events["from"]


def test_the_secret_has_the_keys_that_are_mounted(
    kubernetes: KubernetesServer, tmp_path: Path
) -> None:
    shell = Shell(kubernetes, tmp_path / "shell")
    for name in ("password", "ca.crt"):
        (shell.folder / name).write_text("x")
    (command,) = examples("sh", section(DOCUMENT, "Secure it"))
    shell.run(command)
    path = "/api/v1/namespaces/knative-eventing/secrets/nats-dispatcher"
    assert kubernetes.get(path)["data"].keys() == {"password", "ca.crt"}
    kubernetes.delete(path)


def test_a_channel_goes_without_a_dispatcher(
    kubernetes: KubernetesServer, namespace: str, tmp_path: Path
) -> None:
    path = f"/apis/{API}/namespaces/{namespace}/channels"
    finalizers = [DISPATCHER_FINALIZER]
    kubernetes.create(path, {
        "apiVersion": API, "kind": "Channel",
        "metadata": {"name": "orders", "finalizers": finalizers},
        "spec": {"provisioner": {"name": "natss"}},
    })  # fmt: skip
    kubernetes.delete(f"{path}/orders")
    assert kubernetes.get(path)["items"]
    heading = "Remove it when the dispatcher is gone already"
    (command,) = examples("sh", section(DOCUMENT, heading))
    Shell(kubernetes, tmp_path / "shell").run(command.replace("-n shop", f"-n {namespace}"))
    until(lambda: not kubernetes.get(path)["items"])
