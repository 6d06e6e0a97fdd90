"""Reviews as the API server asks for them, with ``config/admission`` and its accounts.

On an API of its own, because all its Channels are reviewed. It finds the webhook by the Service
of the manifests, which leads to this machine: its type and port are all that is changed.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from structlog.typing import EventDict

from natss.document import Document
from natss.kube import KubeClient, connection_info
from natss.process.kinds import ListenAddress
from natss_provisioner import webhook as webhook_module
from natss_provisioner.certificates import Certificate
from natss_provisioner.settings import OPTIONS, ProvisionerSettings
from natss_provisioner.webhook import Webhook
from tests.conftest import CONFIG, installed
from tests.natss_provisioner.conftest import Shop
from tests.security.marks import Marks
from tests.support.kubernetes import KUBECTL, ApiAnswer, KubernetesServer, until
from tests.support.provisioner_process import ACCOUNT, NAMESPACE, ProvisionerProcess
from tests.support.servers import free_port

HOST = "natss-admission.knative-eventing.svc"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/natss-admission"
_REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
VALIDATING = f"{_REGISTRATION}/validatingwebhookconfigurations/natss-admission"
MUTATING = f"{_REGISTRATION}/mutatingwebhookconfigurations/natss-admission"


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an overlay of a user's own, as ``docs/provisioner.md`` says."""
    folder = tmp_path_factory.mktemp("overlay")
    document = (CONFIG.parent / "docs" / "provisioner.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    (text,) = (each for each in examples if "components:" in each)
    (folder / "kustomization.yaml").write_text(
        text.replace("../config", os.path.relpath(CONFIG, folder))
    )
    return folder


@pytest.fixture(scope="module")
def kubernetes(
    overlay: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubernetesServer]:
    with installed(tmp_path_factory.mktemp("kubernetes"), overlay) as server:
        yield server


def test_the_component_gives_the_pods_what_they_need(overlay: Path) -> None:
    command = [str(KUBECTL), "kustomize", str(overlay)]
    made = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    objects = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(made)}
    pod = objects["Deployment", "natss-controller"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    known = {variable for option in OPTIONS for variable in option.variables}
    assert {each["name"] for each in container["env"]} <= known
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports["admission"] == ProvisionerSettings().admission_listen.port
    service = objects["Service", "natss-admission"]["spec"]
    assert service["ports"][0]["targetPort"] == "admission"
    labels = objects["Deployment", "natss-controller"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    (rule,) = objects["NetworkPolicy", "natss-controller"]["spec"]["ingress"]
    assert rule == {"ports": [{"port": ports["admission"]}]}
    assert container["volumeMounts"] == [{"name": "certificates", "mountPath": "/tmp"}]


class Reviewed:
    """A provisioner that reviews, and the way in which the API server reaches it."""

    def __init__(self, kubernetes: KubernetesServer, log: Path, pod: str = "one") -> None:
        self.kubernetes = kubernetes
        self.port = free_port()
        flags = ["--admission=on", f"--admission-listen=127.0.0.1:{self.port}"]
        self.process = ProvisionerProcess(kubernetes, log, flags, pod=pod)

    def lead_here(self) -> None:
        """Have the API server send its reviews to this one."""
        service = f"/api/v1/namespaces/{NAMESPACE}/services/natss-admission"
        self.kubernetes.patch(
            service,
            {"spec": {"type": "ExternalName", "externalName": "localhost", "clusterIP": None}},
        )
        for path in (VALIDATING, MUTATING):
            webhooks = self.kubernetes.get(path)["webhooks"]
            for each in webhooks:
                each["clientConfig"]["service"]["port"] = self.port
            self.kubernetes.patch(path, {"webhooks": webhooks})


@pytest.fixture(scope="module")
def reviewed(
    kubernetes: KubernetesServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reviewed]:
    """Run one that already answers, for tests that do not change it."""
    found = Reviewed(kubernetes, tmp_path_factory.mktemp("provisioner") / "log")
    found.lead_here()
    found.process.start()
    kubernetes.create("/api/v1/namespaces", {"metadata": {"name": "warm-up"}})
    until(lambda: _is_reviewed(Shop(kubernetes, "warm-up")), 30.0)
    yield found
    found.process.kill()


def _is_reviewed(shop: Shop) -> bool:
    """Return whether the API server sends reviews yet; it takes a moment to get a configuration."""
    with contextlib.suppress(ApiAnswer):
        shop.create("probe", provisioner={"name": "natss"}, arguments={"retry": -1})
        shop.kubernetes.delete(f"{shop.channels}/probe")
        return False
    return True


def apply(kubernetes: KubernetesServer, namespace: str, document: Document) -> tuple[int, str]:
    """Run ``kubectl apply``; return its exit status and its output."""
    result = subprocess.run(
        [KUBECTL, "apply", "-n", namespace, "-f", "-"],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "KUBECONFIG": str(kubernetes.kubeconfig)},
    )
    return result.returncode, result.stderr


def channel(name: str = "orders", /, **spec: object) -> Document:
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {"name": name},
        "spec": {"provisioner": {"name": "natss"}, **spec},
    }


@pytest.mark.usefixtures("reviewed")
class TestReviews:
    def test_a_bad_channel_is_refused_with_clear_words(self, shop: Shop) -> None:
        status, words = apply(
            shop.kubernetes, shop.namespace, channel(arguments={"retry": -1, "start": "frist"})
        )
        assert status != 0
        assert "spec.arguments.retry: the number -1; must be a whole number from 0 to 1000" in words
        assert "spec.arguments.start: the text 'frist'; must be new, first, last" in words
        assert shop.kubernetes.get(shop.channels)["items"] == []

    def test_what_is_ignored_is_a_warning(self, shop: Shop) -> None:
        status, words = apply(shop.kubernetes, shop.namespace, channel(arguments={"rety": 3}))
        assert status == 0
        warning = 'Warning: spec.arguments.rety: unknown, ignored (did you mean "retry"?)'
        assert warning in words

    def test_a_channel_without_provisioner_gets_natss(self, shop: Shop) -> None:
        created = shop.create(arguments={"retry": 1})
        assert created["spec"] == {
            "arguments": {"retry": 1},
            "provisioner": {
                "apiVersion": "eventing.knative.dev/v1alpha1",
                "kind": "ClusterChannelProvisioner",
                "name": "natss",
            },
        }
        shop.ready()

    def test_a_name_may_be_generated(self, shop: Shop) -> None:
        metadata = {"generateName": "orders-"}
        created = shop.kubernetes.create(shop.channels, {**channel(), "metadata": metadata})
        shop.ready(created["metadata"]["name"])
        bad = {**channel(arguments={"retry": -1}), "metadata": metadata}
        with pytest.raises(ApiAnswer, match=r"spec\.arguments\.retry"):
            shop.kubernetes.create(shop.channels, bad)

    def test_other_provisioners_are_let_alone(self, shop: Shop) -> None:
        spec: Document = {"provisioner": {"name": "in-memory"}, "arguments": {"retry": "any"}}
        created = shop.create(**spec)
        assert created["spec"] == spec

    @pytest.mark.parametrize(
        ("path", "change", "words"),
        [
            ("channels/orders", {"provisioner": {"name": "x"}}, "spec.provisioner: cannot be"),
            ("channels/orders", {"arguments": {"retry": "3"}}, "without quotes"),
            (
                "channels/orders",
                {"subscribable": {"subscribers": [{"uid": "u"}]}},
                "has neither subscriberURI nor replyURI",
            ),
            ("subscriptions/mail", {"channel": {"name": "x"}}, "spec.channel: cannot be changed"),
            ("subscriptions/mail", {"subscriber": None}, "has neither a subscriber nor a reply"),
        ],
    )
    def test_a_bad_change_is_refused(
        self, shop: Shop, path: str, change: Document, words: str
    ) -> None:
        shop.create()
        shop.ready()
        shop.subscribe()
        shop.subscribed()  # with all that the provisioner itself changes meanwhile
        with pytest.raises(ApiAnswer, match=words) as refused:
            shop.kubernetes.patch(f"{shop.channels.rpartition('/')[0]}/{path}", {"spec": change})
        assert refused.value.code == 422
        assert shop.channel()["spec"]["provisioner"] == {"name": "natss"}
        assert len(shop.entries()) == 1

    def test_a_bad_subscription_is_refused(self, shop: Shop) -> None:
        with pytest.raises(ApiAnswer, match=r"spec.subscriber.uri: the text 'ftp://x/'"):
            shop.subscribe(subscriber={"uri": "ftp://x/"})

    def test_all_is_removed_as_without_reviews(self, shop: Shop) -> None:
        shop.create()
        shop.subscribe()
        shop.subscribed()
        shop.kubernetes.delete(f"{shop.subscriptions}/mail")
        until(lambda: shop.kubernetes.get(shop.subscriptions)["items"] == [], 20.0)
        assert shop.entries() == []


def certificate_of(port: int, bundle: str, host: str = "127.0.0.1") -> bytes:
    """Return the webhook's certificate in DER; raise SSLError if this bundle does not trust it."""
    trusting = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
    with (
        socket.create_connection((host, port), 10) as connection,
        trusting.wrap_socket(connection, server_hostname=HOST) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def bundle_of(kubernetes: KubernetesServer) -> str:
    return str(kubernetes.get(VALIDATING)["webhooks"][0]["clientConfig"]["caBundle"])


def test_the_key_is_in_its_secret_and_nowhere_else(
    kubernetes: KubernetesServer, reviewed: Reviewed
) -> None:
    secret = kubernetes.get(SECRET)["data"]
    marks = Marks()
    values = [base64.b64decode(each).decode() for each in secret.values()]
    (key,) = (each for each in values if "PRIVATE KEY" in each)
    marks.add("key", key.splitlines()[1])
    seen = {path: json.dumps(kubernetes.get(path)) for path in (VALIDATING, MUTATING)}
    assert marks.found({"log": reviewed.process.log.read_text(), **seen}) == []


def test_replicas_agree_on_a_certificate(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    kubernetes.patch(SECRET, {"data": None})
    replicas = [Reviewed(kubernetes, tmp_path / f"log-{i}", pod=f"pod-{i}") for i in range(2)]
    try:
        with ThreadPoolExecutor() as pool:  # at the same time
            list(pool.map(lambda each: each.process.start(), replicas))
        until(lambda: all(each.process.readiness().get("ready") for each in replicas), 30.0)
        bundle = bundle_of(kubernetes)
        assert len({certificate_of(each.port, bundle) for each in replicas}) == 1
        assert kubernetes.get(MUTATING)["webhooks"][0]["clientConfig"]["caBundle"] == bundle
    finally:
        for each in replicas:
            each.process.kill()


def test_while_nobody_answers_all_is_admitted_and_told_in_status(
    kubernetes: KubernetesServer, shop: Shop, tmp_path: Path
) -> None:
    absent = Reviewed(kubernetes, tmp_path / "log", pod="two")
    absent.lead_here()
    shop.create(provisioner={"name": "natss"}, arguments={"retry": -1})
    absent.process.start()
    try:
        assert shop.ready()
        assert until(lambda: shop.condition("SpecAccepted"))["reason"] == "Refused"
    finally:
        absent.process.kill()


@pytest.fixture
async def client(
    kubernetes: KubernetesServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[KubeClient]:
    """Return a client with the service account of the provisioner."""
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig_of(NAMESPACE, ACCOUNT)))
    client = KubeClient(connection_info, field_manager="natss-provisioner")
    yield client
    await client.close()


@contextlib.asynccontextmanager
async def running(client: KubeClient, port: int, host: str = "127.0.0.1") -> AsyncIterator[Webhook]:
    settings = ProvisionerSettings(admission=True, admission_listen=ListenAddress(host, port))
    webhook = Webhook(client, settings, look_again=0.1)
    task = asyncio.create_task(webhook.run())
    try:
        yield webhook
    finally:
        task.cancel()
        await asyncio.wait([task])


async def shows(kubernetes: KubernetesServer, port: int, wanted: bytes) -> None:
    """Wait until the webhook shows a certificate (PEM) that is trusted."""

    def is_shown() -> bool:
        try:
            return certificate_of(port, bundle_of(kubernetes)) == ssl.PEM_cert_to_DER_cert(
                wanted.decode()
            )
        except (OSError, KeyError):
            return False

    await asyncio.to_thread(until, is_shown, 30.0)


def stored(kubernetes: KubernetesServer) -> Certificate:
    found = Certificate.of_secret(kubernetes.get(SECRET).get("data"))
    assert found is not None
    return found


async def test_an_old_certificate_is_replaced_and_trusted_a_while_longer(
    kubernetes: KubernetesServer, client: KubeClient
) -> None:
    old = Certificate.make([HOST], datetime.now(UTC) - timedelta(days=300))
    kubernetes.patch(SECRET, {"data": old.secret_data()})
    port = free_port()
    async with running(client, port):
        await asyncio.to_thread(until, lambda: stored(kubernetes).certificate != old.certificate)
        new = stored(kubernetes)
        await shows(kubernetes, port, new.certificate)
        assert old.certificate in base64.b64decode(bundle_of(kubernetes))


async def test_by_default_it_serves_ipv4_and_ipv6(
    kubernetes: KubernetesServer, client: KubeClient
) -> None:
    port = free_port()
    async with running(client, port, ProvisionerSettings().admission_listen.host) as webhook:
        await asyncio.to_thread(until, lambda: webhook.failure is None, 20.0)
        wanted = stored(kubernetes).certificate
        await shows(kubernetes, port, wanted)
        shown = await asyncio.to_thread(certificate_of, port, bundle_of(kubernetes), "::1")
        assert shown == ssl.PEM_cert_to_DER_cert(wanted.decode())


async def test_what_somebody_else_changes_is_put_right_while_it_serves(
    kubernetes: KubernetesServer, client: KubeClient, overlay: Path
) -> None:
    port = free_port()
    async with running(client, port) as webhook:
        await asyncio.to_thread(until, lambda: webhook.failure is None, 20.0)
        await shows(kubernetes, port, stored(kubernetes).certificate)
        before = bundle_of(kubernetes), stored(kubernetes)
        kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-k", overlay)
        assert (bundle_of(kubernetes), stored(kubernetes)) == before, "to apply it again is no harm"
        webhooks = kubernetes.get(VALIDATING)["webhooks"]
        del webhooks[0]["clientConfig"]["caBundle"]
        kubernetes.patch(VALIDATING, {"webhooks": webhooks})
        other = Certificate.make([HOST], datetime.now(UTC))  # as another replica may
        kubernetes.patch(SECRET, {"data": other.secret_data()})
        await shows(kubernetes, port, other.certificate)


async def test_without_its_manifests_it_says_so_and_waits(
    kubernetes: KubernetesServer, client: KubeClient, logged: list[EventDict]
) -> None:
    def is_told() -> bool:
        return any("is config/admission applied?" in each["event"] for each in logged)

    secret = kubernetes.get(SECRET)
    kubernetes.delete(SECRET)
    try:
        async with running(client, free_port()) as webhook:
            await asyncio.to_thread(until, is_told)
            assert webhook.failure is not None
            for changing in ("resourceVersion", "uid", "creationTimestamp"):
                del secret["metadata"][changing]
            kubernetes.create(SECRET.rpartition("/")[0], secret)
            await asyncio.to_thread(until, lambda: webhook.failure is None, 20.0)
    finally:
        with contextlib.suppress(ApiAnswer):
            kubernetes.create(SECRET.rpartition("/")[0], secret)


async def test_at_rest_nothing_is_written(kubernetes: KubernetesServer, client: KubeClient) -> None:
    async with running(client, free_port()) as webhook:
        await asyncio.to_thread(until, lambda: webhook.failure is None, 20.0)
        paths = (SECRET, VALIDATING, MUTATING)
        before = [kubernetes.get(path)["metadata"]["resourceVersion"] for path in paths]
        await asyncio.sleep(0.5)  # in which it checks several times
        after = [kubernetes.get(path)["metadata"]["resourceVersion"] for path in paths]
        assert after == before


async def test_silent_connections_keep_nobody_from_asking(
    kubernetes: KubernetesServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_module, "_HANDSHAKE_SECONDS", 0.3)
    port = free_port()
    async with running(client, port) as webhook:
        await asyncio.to_thread(until, lambda: webhook.failure is None, 20.0)
        bundle = bundle_of(kubernetes)
        trusting = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
        trusting.check_hostname = False
        silent = [await asyncio.open_connection("127.0.0.1", port)]  # before its handshake
        silent += [
            await asyncio.open_connection("127.0.0.1", port, ssl=trusting) for _ in range(150)
        ]
        await asyncio.to_thread(certificate_of, port, bundle)
        for reader, _ in silent[:20]:
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
        for _, writer in silent:
            writer.transport.abort()


def test_an_address_that_cannot_be_listened_on_ends_it(
    kubernetes: KubernetesServer, tmp_path: Path
) -> None:
    flags = ["--admission=on", "--admission-listen=192.0.2.1:8443"]
    process = ProvisionerProcess(kubernetes, tmp_path / "log", flags, pod="three")
    process.start()
    until(lambda: '"cannot start"' in process.end_of_log(), 20.0)
    told = "--admission-listen: cannot listen on 192.0.2.1:8443: this machine has no such address"
    assert told in process.end_of_log()
    assert "Traceback" not in process.end_of_log()
    process.stop()
